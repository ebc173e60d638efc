//! LinkRequest: what the engine sends to a process that keeps doors. All of one size, with every field at a fixed place; behind what opens
//! comes a note.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use postern_core::{Act, Client, DoorId, IpNet, OpeningNote, Order, Release};

use crate::bytes::{are_zero, get, get_u32, get_u64, put};
use crate::hello::{HELLO_END, Hello};
use crate::malformed::Malformed;
use crate::noted::{self, NotedBytes};

/// The size of a request, in bytes.
pub const REQUEST_SIZE: usize = 64;

/// The longest time in a request: ten years, in milliseconds.
pub const LONGEST_MS: u64 = 10 * 366 * 24 * 60 * 60 * 1000;

pub(crate) const AT_KIND: usize = 0;
const AT_ACT: usize = 1;
const AT_FAMILY: usize = 2;
const AT_PREFIX: usize = 3;
pub(crate) const AT_TABLE: usize = 4;
pub(crate) const AT_SERIAL: usize = 8;
pub(crate) const AT_DOOR: usize = 16;
const AT_LINK: usize = 20;
pub(crate) const AT_MILLISECONDS: usize = 24;
pub(crate) const AT_OCCURRENCE: usize = 32;
const AT_ADDRESS: usize = 40;
pub(crate) const AT_RULE: usize = 56;
const AT_PROCESSOR: usize = 60;

const HELLO: u8 = 1;
const ORDER: u8 = 2;
const PUT_IN_PLACE: u8 = 3;
const LIST: u8 = 4;
const PROBE: u8 = 5;
const PACKETS: u8 = 6;

const OPEN: u8 = 1;
const EXTEND: u8 = 2;
const CLOSE: u8 = 3;
const EXPIRE: u8 = 4;

const IPV4: u8 = 4;
const IPV6: u8 = 6;

/// Something that the engine asks of a process that keeps doors. Numbers are little-endian; bytes without a meaning are zero.
///
/// ```text
///  0  u8   kind: 1 hello, 2 order, 3 put in place, 4 list, 5 probe, 6 packets
///  1  u8   act: 1 open, 2 extend, 3 close, 4 expire; of 3: 1 release now, 2 later
///  2  u8   family of the address: 4 or 6
///  3  u8   how many of its bits count
///  4  u32  number of the doors table
///  8  u64  serial of an order, ticket of anything else
/// 16  u32  door
/// 20  u32  link: index of an interface, 0 if it does not matter
/// 24  u64  milliseconds, for open and extend: 1 to ten years
/// 32  u64  occurrence
/// 40  16 × u8  address, an IPv4 one in the first four
/// 56  u32  zero; a rule in a [`crate::RunnerRequest`]
/// 60  u32  processor that the sender ran on, plus 1; 0 if it does not say
/// 64       of open and extend: the note that is kept with the opening, as many bytes as it has
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkRequest {
    /// The first of all.
    Hello(Hello),
    /// Do this to a door; a receipt answers.
    Order {
        /// The number of the doors table that the sender goes by.
        table: u32,
        /// The processor that the sender ran on, from 0.
        processor: Option<u32>,
        /// What. Its time is in whole milliseconds, at least one.
        order: Order,
    },
    /// Have the doors of a table in place from now on.
    PutInPlace {
        /// The answer carries the same number.
        ticket: u64,
        /// Which table. The receiver has it from the supervisor.
        table: u32,
        /// What becomes of ports that it does not guard.
        release: Release,
    },
    /// Say what is open.
    List {
        /// The answer carries the same number, which is not 0.
        ticket: u64,
    },
    /// Answer, once everything before is done.
    Probe {
        /// The answer carries the same number.
        ticket: u64,
    },
    /// Say how many packets came through an opening.
    Packets {
        /// The answer carries the same number.
        ticket: u64,
        /// The number of the doors table that the sender goes by.
        table: u32,
        /// Which door.
        door: DoorId,
        /// For whom it is open.
        client: Client,
    },
}

impl LinkRequest {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; REQUEST_SIZE] {
        let mut bytes = [0; REQUEST_SIZE];
        bytes[AT_KIND] = self.kind();
        match self {
            Self::Hello(hello) => hello.write(&mut bytes),
            Self::Order { table, processor, order } => {
                write_order(&mut bytes, *table, *processor, order);
            }
            Self::PutInPlace { ticket, table, release } => {
                bytes[AT_ACT] = match release {
                    Release::Now => 1,
                    Release::Later => 2,
                };
                put(&mut bytes, AT_TABLE, table.to_le_bytes());
                put(&mut bytes, AT_SERIAL, ticket.to_le_bytes());
            }
            Self::List { ticket } | Self::Probe { ticket } => {
                put(&mut bytes, AT_SERIAL, ticket.to_le_bytes());
            }
            Self::Packets { ticket, table, door, client } => {
                put(&mut bytes, AT_TABLE, table.to_le_bytes());
                put(&mut bytes, AT_SERIAL, ticket.to_le_bytes());
                put(&mut bytes, AT_DOOR, door.0.to_le_bytes());
                write_client(&mut bytes, *client);
            }
        }
        bytes
    }

    /// Its bytes with a note behind them, for an order that opens or extends.
    #[must_use]
    pub fn encode_noted(&self, note: &OpeningNote) -> NotedBytes {
        NotedBytes::new(&self.encode(), note)
    }

    /// What bytes say, and the note behind them.
    ///
    /// # Errors
    /// The first thing that is wrong with them, or [`Malformed::Size`] if there is a note and nothing is opened.
    pub fn decode_noted(bytes: &[u8]) -> Result<(Self, OpeningNote), Malformed> {
        let (request, note) = noted::split(bytes)?;
        let request = Self::decode(request)?;
        let opens = |order: &Order| matches!(order.act, Act::Open(_) | Act::Extend(_));
        match &request {
            Self::Order { order, .. } if opens(order) => Ok((request, note)),
            _ if note.is_empty() => Ok((request, note)),
            _ => Err(Malformed::Size(bytes.len())),
        }
    }

    /// What bytes say.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes: &[u8; REQUEST_SIZE] = bytes.try_into().map_err(|_| Malformed::Size(bytes.len()))?;
        let (ticket, table) = (get_u64(bytes, AT_SERIAL), get_u32(bytes, AT_TABLE));
        let request = match bytes[AT_KIND] {
            HELLO => Self::Hello(Hello::read(bytes)),
            ORDER => {
                let (table, processor, order) = read_order(bytes)?;
                Self::Order { table, processor, order }
            }
            PUT_IN_PLACE => {
                let release = match bytes[AT_ACT] {
                    1 => Release::Now,
                    2 => Release::Later,
                    other => return Err(Malformed::Act(other)),
                };
                Self::PutInPlace { ticket, table, release }
            }
            LIST => Self::List { ticket },
            PROBE => Self::Probe { ticket },
            PACKETS => {
                let door = DoorId(get_u32(bytes, AT_DOOR));
                Self::Packets { ticket, table, door, client: read_client(bytes)? }
            }
            other => return Err(Malformed::Kind(other)),
        };
        // What it means has these bytes and no others.
        if request.encode() == *bytes { Ok(request) } else { Err(Malformed::Unused) }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => HELLO,
            Self::Order { .. } => ORDER,
            Self::PutInPlace { .. } => PUT_IN_PLACE,
            Self::List { .. } => LIST,
            Self::Probe { .. } => PROBE,
            Self::Packets { .. } => PACKETS,
        }
    }
}

const _: () = assert!(HELLO_END <= REQUEST_SIZE);

/// Writes an order but for its kind.
pub(crate) fn write_order(bytes: &mut [u8; REQUEST_SIZE], table: u32, processor: Option<u32>, order: &Order) {
    let Order { serial, door, client, occurrence, act } = order;
    let (act, lasts) = match act {
        Act::Open(lasts) => (OPEN, Some(lasts)),
        Act::Extend(lasts) => (EXTEND, Some(lasts)),
        Act::Close => (CLOSE, None),
        Act::Expire => (EXPIRE, None),
    };
    bytes[AT_ACT] = act;
    put(bytes, AT_TABLE, table.to_le_bytes());
    put(bytes, AT_SERIAL, serial.to_le_bytes());
    put(bytes, AT_DOOR, door.0.to_le_bytes());
    put(bytes, AT_MILLISECONDS, lasts.map_or(0, |lasts| milliseconds(*lasts)).to_le_bytes());
    put(bytes, AT_OCCURRENCE, occurrence.to_le_bytes());
    put(bytes, AT_PROCESSOR, processor.map_or(0, |number| number.saturating_add(1)).to_le_bytes());
    write_client(bytes, *client);
}

/// Writes for whom something is.
pub(crate) fn write_client(bytes: &mut [u8; REQUEST_SIZE], client: Client) {
    bytes[AT_PREFIX] = client.width();
    put(bytes, AT_LINK, client.link().to_le_bytes());
    match client.address() {
        IpAddr::V4(address) => {
            bytes[AT_FAMILY] = IPV4;
            put(bytes, AT_ADDRESS, address.octets());
        }
        IpAddr::V6(address) => {
            bytes[AT_FAMILY] = IPV6;
            put(bytes, AT_ADDRESS, address.octets());
        }
    }
}

/// The table, the processor that the sender ran on, and the order.
pub(crate) fn read_order(bytes: &[u8; REQUEST_SIZE]) -> Result<(u32, Option<u32>, Order), Malformed> {
    let time = get_u64(bytes, AT_MILLISECONDS);
    let act = match bytes[AT_ACT] {
        OPEN => Act::Open(read_time(time)?),
        EXTEND => Act::Extend(read_time(time)?),
        CLOSE | EXPIRE if time != 0 => return Err(Malformed::Time(time)),
        CLOSE => Act::Close,
        EXPIRE => Act::Expire,
        other => return Err(Malformed::Act(other)),
    };
    let order = Order {
        serial: get_u64(bytes, AT_SERIAL),
        door: DoorId(get_u32(bytes, AT_DOOR)),
        client: read_client(bytes)?,
        occurrence: get_u64(bytes, AT_OCCURRENCE),
        act,
    };
    let processor = get_u32(bytes, AT_PROCESSOR).checked_sub(1);
    Ok((get_u32(bytes, AT_TABLE), processor, order))
}

/// Reads for whom something is.
pub(crate) fn read_client(bytes: &[u8; REQUEST_SIZE]) -> Result<Client, Malformed> {
    let octets: [u8; 16] = get(bytes, AT_ADDRESS);
    client_of(bytes[AT_FAMILY], bytes[AT_PREFIX], octets, get_u32(bytes, AT_LINK))
}

/// The client that these fields say, in the one way that it can be said.
pub(crate) fn client_of(family: u8, prefix: u8, octets: [u8; 16], link: u32) -> Result<Client, Malformed> {
    let address = match family {
        IPV4 if !are_zero(&octets[4..]) => return Err(Malformed::HostBits),
        IPV4 => IpAddr::V4(Ipv4Addr::from(get::<4>(&octets, 0))),
        IPV6 => IpAddr::V6(Ipv6Addr::from(octets)),
        other => return Err(Malformed::Family(other)),
    };
    let net = IpNet::new(address, prefix).map_err(|_| Malformed::Prefix(prefix))?;
    if net.network() != address {
        return Err(Malformed::HostBits);
    }
    match Client::prefix(net) {
        client if link == 0 => Ok(client),
        client if client.is_link_local() => Ok(Client::on_link(address, link)),
        _ => Err(Malformed::Link),
    }
}

/// The family of a client, as a message says it.
pub(crate) const fn family(client: &Client) -> u8 {
    if client.address().is_ipv4() { IPV4 } else { IPV6 }
}

/// Whole milliseconds, at least one and at most [`LONGEST_MS`].
pub(crate) fn milliseconds(lasts: Duration) -> u64 {
    u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX).clamp(1, LONGEST_MS)
}

/// The time of an opening.
pub(crate) fn read_time(milliseconds: u64) -> Result<Duration, Malformed> {
    match milliseconds {
        1..=LONGEST_MS => Ok(Duration::from_millis(milliseconds)),
        other => Err(Malformed::Time(other)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(client: &str, act: Act) -> LinkRequest {
        let client = client.parse().unwrap();
        let order =
            Order { serial: 0x0102_0304_0506_0708, door: DoorId(0x1112_1314), client, occurrence: 9, act };
        LinkRequest::Order { table: 0x2122_2324, processor: Some(5), order }
    }

    fn hexadecimal(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn check(request: LinkRequest, expected: &[&str]) {
        let bytes = request.encode();
        assert_eq!(hexadecimal(&bytes), expected.concat());
        assert_eq!(LinkRequest::decode(&bytes), Ok(request));
    }

    #[test]
    fn every_field_has_its_place() {
        check(
            order("fe80::7%3", Act::Open(Duration::from_millis(1500))),
            &[
                "02010680",
                "24232221",
                "0807060504030201",
                "14131211",
                "03000000",
                "dc05000000000000",
                "0900000000000000",
                "fe800000000000000000000000000007",
                "00000000",
                "06000000",
            ],
        );
        check(
            order("192.0.2.0/24", Act::Close),
            &[
                "02030418",
                "24232221",
                "0807060504030201",
                "14131211",
                "00000000",
                "0000000000000000",
                "0900000000000000",
                "c0000200000000000000000000000000",
                "00000000",
                "06000000",
            ],
        );
        let nothing = "00".repeat(48);
        check(
            LinkRequest::PutInPlace { ticket: 3, table: 2, release: Release::Later },
            &["03020000", "02000000", "0300000000000000", &nothing],
        );
        check(LinkRequest::List { ticket: 3 }, &["04000000", "00000000", "0300000000000000", &nothing]);
        check(LinkRequest::Probe { ticket: 3 }, &["05000000", "00000000", "0300000000000000", &nothing]);
        let client = "fe80::7%3".parse().unwrap();
        check(
            LinkRequest::Packets { ticket: 3, table: 2, door: DoorId(9), client },
            &[
                "06000680",
                "02000000",
                "0300000000000000",
                "09000000",
                "03000000",
                &"00".repeat(16),
                "fe800000000000000000000000000007",
                "0000000000000000",
            ],
        );
    }

    #[test]
    fn hello_has_its_places() {
        let mut bytes = [0; REQUEST_SIZE];
        bytes[0] = 1;
        for (at, value) in [(4, 1), (8, 2), (16, 3), (24, 4), (32, 5)] {
            bytes[at] = value;
        }
        let request = LinkRequest::decode(&bytes).unwrap();
        assert!(matches!(request, LinkRequest::Hello(Hello { layout: 1, .. })), "{request:?}");
        assert_eq!(request.encode(), bytes);
    }

    #[test]
    fn what_is_odd_is_refused_by_name() {
        let good = order("fe80::7%3", Act::Open(Duration::from_secs(1))).encode();
        let check = |at: usize, byte: u8, expected: Malformed| {
            let mut bytes = good;
            bytes[at] = byte;
            assert_eq!(LinkRequest::decode(&bytes), Err(expected), "{at}: {byte}");
        };
        check(0, 0, Malformed::Kind(0));
        check(0, 99, Malformed::Kind(99));
        check(1, 0, Malformed::Act(0));
        check(1, 5, Malformed::Act(5));
        check(1, 3, Malformed::Time(1000));
        check(2, 5, Malformed::Family(5));
        check(2, 4, Malformed::HostBits);
        check(3, 129, Malformed::Prefix(129));
        check(3, 64, Malformed::HostBits);
        check(31, 1, Malformed::Time((1 << 56) + 1000));
        check(40, 0x20, Malformed::Link);
        check(56, 1, Malformed::Unused);
        assert_eq!(LinkRequest::decode(&good[..63]), Err(Malformed::Size(63)));
        assert_eq!(LinkRequest::decode(&[]), Err(Malformed::Size(0)));
        let mut timeless = good;
        timeless[24..32].fill(0);
        assert_eq!(LinkRequest::decode(&timeless), Err(Malformed::Time(0)));
    }

    #[test]
    fn a_note_comes_behind_what_opens_and_nothing_else() {
        let note = OpeningNote::from_bytes(&[7; postern_core::MOST_NOTE]).unwrap();
        let open = order("192.0.2.7", Act::Open(Duration::from_secs(1)));
        let extend = order("192.0.2.7", Act::Extend(Duration::from_secs(1)));
        for request in [open, extend, order("192.0.2.7", Act::Close), LinkRequest::List { ticket: 3 }] {
            let bytes = request.encode_noted(&note);
            assert_eq!(
                (&bytes[..REQUEST_SIZE], &bytes[REQUEST_SIZE..]),
                (&request.encode()[..], note.as_bytes())
            );
            let takes_it = [open, extend].contains(&request);
            let expected = if takes_it {
                Ok((request, note.clone()))
            } else {
                Err(Malformed::Size(REQUEST_SIZE + postern_core::MOST_NOTE))
            };
            assert_eq!(LinkRequest::decode_noted(&bytes), expected);
            let bare = request.encode_noted(&OpeningNote::default());
            assert_eq!(LinkRequest::decode_noted(&bare), Ok((request, OpeningNote::default())));
        }
        let mut long = open.encode().to_vec();
        long.resize(crate::LARGEST_REQUEST + 1, 7);
        assert_eq!(LinkRequest::decode_noted(&long), Err(Malformed::Size(crate::LARGEST_REQUEST + 1)));
        assert_eq!(LinkRequest::decode_noted(&long[..63]), Err(Malformed::Size(63)));
    }

    proptest! {
        /// Random bytes are refused or mean exactly one thing.
        #[test]
        fn no_bytes_are_misread(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(request) = LinkRequest::decode(&bytes) {
                prop_assert_eq!(&request.encode()[..], &bytes[..]);
            }
        }

        /// The same, close to what is right.
        #[test]
        fn no_byte_that_changed_is_misread(at in 0..REQUEST_SIZE, byte: u8, is_ipv6: bool) {
            let client = if is_ipv6 { "2001:db8::/64" } else { "192.0.2.7" };
            let mut bytes = order(client, Act::Extend(Duration::from_secs(7))).encode();
            bytes[at] = byte;
            if let Ok(request) = LinkRequest::decode(&bytes) {
                prop_assert_eq!(request.encode(), bytes);
            }
        }
    }
}

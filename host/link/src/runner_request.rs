//! RunnerRequest: what the engine sends to the runner. All of one size, with every field at a fixed place; behind what is written down comes
//! a note.

use std::time::Duration;

use postern_core::{DoorId, OpeningKey, OpeningNote, Order};

use crate::bytes::{get_u32, get_u64, put};
use crate::hello::Hello;
use crate::malformed::Malformed;
use crate::noted::{self, NotedBytes};
use crate::request::{
    AT_DOOR, AT_KIND, AT_MILLISECONDS, AT_OCCURRENCE, AT_RULE, AT_SERIAL, AT_TABLE, REQUEST_SIZE,
    milliseconds, read_client, read_order, read_time, write_client, write_order,
};

const HELLO: u8 = 1;
const RUN: u8 = 6;
const RECORD: u8 = 7;
const STRIKE_OUT: u8 = 8;
const NOTE: u8 = 9;
const ABANDON: u8 = 10;

/// Something that the engine asks of the runner. Its fields are where those of a [`crate::LinkRequest`] are.
///
/// ```text
///  0  u8   kind: 1 hello, 6 run, 7 record, 8 strike out, 9 note, 10 abandon
///  1  u8   act, of 6: 1 open, 2 extend, 3 close, 4 expire
///  2  u8   family of the address: 4 or 6
///  3  u8   how many of its bits count
///  4  u32  number of the table, of 6 and 7
///  8  u64  serial, of 6 and 7
/// 16  u32  door
/// 20  u32  link: index of an interface, 0 if it does not matter
/// 24  u64  milliseconds, for open, extend, record and note: 1 to ten years
/// 32  u64  occurrence
/// 40  16 × u8  address, an IPv4 one in the first four
/// 56  u32  rule by its number in the table, plus 1, of 6 and 7; 0 if there is none
/// 60  u32  zero
/// 64       of record and note: whose the opening is, as many bytes as that has
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunnerRequest {
    /// The first of all.
    Hello(Hello),
    /// Do this to a door of commands; a receipt answers.
    Run {
        /// The number of the table that the sender goes by.
        table: u32,
        /// The rule that asked for it, by its number in the table.
        rule: Option<u32>,
        /// What. Its time is in whole milliseconds, at least one.
        order: Order,
    },
    /// Write into the journal how an opening is closed; [`crate::RunnerAnswer::Recorded`] answers.
    Record {
        /// The number of the table that the sender goes by.
        table: u32,
        /// The rule that asked for it, by its number in the table.
        rule: Option<u32>,
        /// The answer carries the same number.
        serial: u64,
        /// Which opening.
        key: OpeningKey,
        /// For how long, in whole milliseconds, at least one.
        lasts: Duration,
    },
    /// Strike out of the journal what was recorded and will not be ordered. Nobody answers.
    StrikeOut(OpeningKey),
    /// Write into the journal for how long an opening lasts from now. Nobody answers.
    Note {
        /// Which opening.
        key: OpeningKey,
        /// In whole milliseconds, at least one.
        lasts: Duration,
    },
    /// Keep what is in the journal of an opening that nobody tries to close any more; [`crate::RunnerAnswer::Abandoned`] answers.
    Abandon(OpeningKey),
}

impl RunnerRequest {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; REQUEST_SIZE] {
        let mut bytes = [0; REQUEST_SIZE];
        bytes[AT_KIND] = self.kind();
        match self {
            Self::Hello(hello) => hello.write(&mut bytes),
            Self::Run { table, rule, order } => {
                write_order(&mut bytes, *table, None, order);
                write_rule(&mut bytes, *rule);
            }
            Self::Record { table, rule, serial, key, lasts } => {
                put(&mut bytes, AT_TABLE, table.to_le_bytes());
                put(&mut bytes, AT_SERIAL, serial.to_le_bytes());
                put(&mut bytes, AT_MILLISECONDS, milliseconds(*lasts).to_le_bytes());
                write_key(&mut bytes, key);
                write_rule(&mut bytes, *rule);
            }
            Self::StrikeOut(key) | Self::Abandon(key) => write_key(&mut bytes, key),
            Self::Note { key, lasts } => {
                put(&mut bytes, AT_MILLISECONDS, milliseconds(*lasts).to_le_bytes());
                write_key(&mut bytes, key);
            }
        }
        bytes
    }

    /// Its bytes with a note behind them, for what is written into the journal.
    #[must_use]
    pub fn encode_noted(&self, note: &OpeningNote) -> NotedBytes {
        NotedBytes::new(&self.encode(), note)
    }

    /// What bytes say, and the note behind them.
    ///
    /// # Errors
    /// The first thing that is wrong with them, or [`Malformed::Size`] if there is a note and nothing is written down.
    pub fn decode_noted(bytes: &[u8]) -> Result<(Self, OpeningNote), Malformed> {
        let (request, note) = noted::split(bytes)?;
        let request = Self::decode(request)?;
        match request {
            Self::Record { .. } | Self::Note { .. } => Ok((request, note)),
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
        let lasts = || read_time(get_u64(bytes, AT_MILLISECONDS));
        let request = match bytes[AT_KIND] {
            HELLO => Self::Hello(Hello::read(bytes)),
            RUN => {
                let (table, _, order) = read_order(bytes)?;
                Self::Run { table, rule: read_rule(bytes), order }
            }
            RECORD => Self::Record {
                table: get_u32(bytes, AT_TABLE),
                rule: read_rule(bytes),
                serial: get_u64(bytes, AT_SERIAL),
                key: read_key(bytes)?,
                lasts: lasts()?,
            },
            STRIKE_OUT => Self::StrikeOut(read_key(bytes)?),
            NOTE => Self::Note { key: read_key(bytes)?, lasts: lasts()? },
            ABANDON => Self::Abandon(read_key(bytes)?),
            other => return Err(Malformed::Kind(other)),
        };
        // What it means has these bytes and no others.
        if request.encode() == *bytes { Ok(request) } else { Err(Malformed::Unused) }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => HELLO,
            Self::Run { .. } => RUN,
            Self::Record { .. } => RECORD,
            Self::StrikeOut(_) => STRIKE_OUT,
            Self::Note { .. } => NOTE,
            Self::Abandon(_) => ABANDON,
        }
    }
}

fn write_rule(bytes: &mut [u8; REQUEST_SIZE], rule: Option<u32>) {
    put(bytes, AT_RULE, rule.map_or(0, |number| number.saturating_add(1)).to_le_bytes());
}

fn read_rule(bytes: &[u8; REQUEST_SIZE]) -> Option<u32> {
    get_u32(bytes, AT_RULE).checked_sub(1)
}

fn write_key(bytes: &mut [u8; REQUEST_SIZE], key: &OpeningKey) {
    put(bytes, AT_DOOR, key.door.0.to_le_bytes());
    put(bytes, AT_OCCURRENCE, key.occurrence.to_le_bytes());
    write_client(bytes, key.client);
}

fn read_key(bytes: &[u8; REQUEST_SIZE]) -> Result<OpeningKey, Malformed> {
    let door = DoorId(get_u32(bytes, AT_DOOR));
    Ok(OpeningKey { door, client: read_client(bytes)?, occurrence: get_u64(bytes, AT_OCCURRENCE) })
}

#[cfg(test)]
mod tests {
    use postern_core::Act;
    use proptest::prelude::*;

    use super::*;

    const LASTS: Duration = Duration::from_millis(1500);

    fn key() -> OpeningKey {
        OpeningKey { door: DoorId(0x1112_1314), client: "fe80::7%3".parse().unwrap(), occurrence: 9 }
    }

    fn all() -> [RunnerRequest; 5] {
        let OpeningKey { door, client, occurrence } = key();
        let serial = 0x0102_0304_0506_0708;
        let order = Order { serial, door, client, occurrence, act: Act::Open(LASTS) };
        let table = 0x2122_2324;
        [
            RunnerRequest::Run { table, rule: Some(6), order },
            RunnerRequest::Record { table, rule: None, serial, key: key(), lasts: LASTS },
            RunnerRequest::StrikeOut(key()),
            RunnerRequest::Note { key: key(), lasts: LASTS },
            RunnerRequest::Abandon(key()),
        ]
    }

    #[test]
    fn every_field_has_its_place() {
        let (numbers, none) = ("242322210807060504030201", "000000000000000000000000");
        let (time, timeless) = ("dc05000000000000", "0000000000000000");
        let (rule, ruleless) = ("0700000000000000", "0000000000000000");
        let expected = [
            ("06010680", numbers, time, rule),
            ("07000680", numbers, time, ruleless),
            ("08000680", none, timeless, ruleless),
            ("09000680", none, time, ruleless),
            ("0a000680", none, timeless, ruleless),
        ];
        for (request, (head, numbers, time, rule)) in all().into_iter().zip(expected) {
            let bytes = request.encode();
            let said: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let address = "fe800000000000000000000000000007";
            assert_eq!(said, format!("{head}{numbers}1413121103000000{time}0900000000000000{address}{rule}"));
            assert_eq!(RunnerRequest::decode(&bytes), Ok(request));
        }
    }

    #[test]
    fn what_is_odd_is_refused_by_name() {
        let check = |place: usize, at: usize, byte: u8, expected: Malformed| {
            let mut bytes = all()[place].encode();
            bytes[at] = byte;
            assert_eq!(RunnerRequest::decode(&bytes), Err(expected), "{place} {at}: {byte}");
        };
        // An order for the doorman, and its other requests.
        for kind in [0, 2, 3, 4, 5, 11] {
            check(0, 0, kind, Malformed::Kind(kind));
        }
        check(0, 1, 9, Malformed::Act(9));
        check(1, 1, 1, Malformed::Unused);
        check(1, 31, 1, Malformed::Time((1 << 56) + 1500));
        check(2, 2, 5, Malformed::Family(5));
        check(2, 24, 1, Malformed::Unused);
        check(3, 8, 1, Malformed::Unused);
        check(4, 56, 1, Malformed::Unused);
        check(4, 40, 0x20, Malformed::Link);
        assert_eq!(RunnerRequest::decode(&[6; 63]), Err(Malformed::Size(63)));
    }

    #[test]
    fn a_note_comes_behind_what_is_written_down_and_nothing_else() {
        let note = OpeningNote::from_bytes(&[7; postern_core::MOST_NOTE]).unwrap();
        for request in all() {
            let bytes = request.encode_noted(&note);
            let is_written = matches!(request, RunnerRequest::Record { .. } | RunnerRequest::Note { .. });
            let expected = if is_written {
                Ok((request, note.clone()))
            } else {
                Err(Malformed::Size(crate::LARGEST_REQUEST))
            };
            assert_eq!(RunnerRequest::decode_noted(&bytes), expected);
            let bare = request.encode_noted(&OpeningNote::default());
            assert_eq!(*bare, request.encode());
            assert_eq!(RunnerRequest::decode_noted(&bare), Ok((request, OpeningNote::default())));
        }
    }

    proptest! {
        /// Bytes close to what is right are refused or mean exactly one thing.
        #[test]
        fn no_byte_that_changed_is_misread(place in 0_usize..5, at in 0..REQUEST_SIZE, byte: u8) {
            let mut bytes = all()[place].encode();
            bytes[at] = byte;
            if let Ok(request) = RunnerRequest::decode(&bytes) {
                prop_assert_eq!(request.encode(), bytes);
            }
        }

        /// Any others as well.
        #[test]
        fn no_bytes_are_misread(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(request) = RunnerRequest::decode(&bytes) {
                prop_assert_eq!(&request.encode()[..], &bytes[..]);
            }
        }
    }
}

//! LocalAddresses: this machine's addresses, and the broadcast addresses of its networks.
//!
//! A list of one moment; [`crate::local_network`] keeps it up to date. The far ends of tunnels are not this machine's; nor are addresses
//! that only a `local` route makes so.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::links::{LOOPBACK, is_link_local};
use crate::rtnetlink::{self, DumpKind, RtnetlinkMessage, RtnetlinkRequests, attributes, word};

/// The addresses of this machine at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LocalAddresses {
    /// All lists are sorted.
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    /// Link-local ones, with the index of their interface: the same one may be another machine's on another link.
    link_local: Vec<(Ipv6Addr, u32)>,
    /// Broadcast addresses. The kernel drops packets that have one as their source.
    broadcast: Vec<Ipv4Addr>,
}

impl LocalAddresses {
    /// Asks the kernel.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) fn read(requests: &mut RtnetlinkRequests) -> io::Result<Self> {
        Ok(Self::new(requests.read_all(DumpKind::Addresses, Assigned::read)?))
    }

    /// Those that a person states, without their networks.
    pub(crate) fn stated(addresses: &[IpAddr]) -> Self {
        let assigned = |address: &IpAddr| Assigned {
            address: *address,
            network: None,
            prefix_length: 0,
            broadcast: None,
            interface: 0,
        };
        Self::new(addresses.iter().map(assigned))
    }

    fn new(assigned: impl IntoIterator<Item = Assigned>) -> Self {
        let mut all = Self::default();
        for Assigned { address, network, prefix_length, broadcast, interface } in assigned {
            match address {
                IpAddr::V4(v4) => {
                    all.v4.push(v4);
                    all.broadcast.extend(broadcast);
                    all.broadcast.extend(highest(network, prefix_length));
                }
                IpAddr::V6(v6) if is_link_local(address) => all.link_local.push((v6, interface)),
                IpAddr::V6(v6) => all.v6.push(v6),
            }
        }
        sort(&mut all.v4);
        sort(&mut all.v6);
        sort(&mut all.link_local);
        sort(&mut all.broadcast);
        all
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.v4.len() + self.v6.len() + self.link_local.len()
    }

    /// Whether `address` is one of this machine's. All of 127.0.0.0/8 is.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => v4.is_loopback() || self.v4.binary_search(&v4).is_ok(),
            IpAddr::V6(v6) if is_link_local(address) => {
                self.link_local.binary_search_by_key(&v6, |(known, _)| *known).is_ok()
            }
            IpAddr::V6(v6) => self.v6.binary_search(&v6).is_ok(),
        }
    }

    /// Whether a packet that came in on `interface` can have `source`: not if that is an address of this machine, unless it comes by
    /// loopback, and not if it is a broadcast address. `link` is where IP sees the packet, for link-local sources; with 0 (not known) they
    /// are compared with the addresses of all links. An IPv4-compatible address is treated as the IPv4 address in it.
    ///
    /// Sources that are impossible on every machine are refused by [`crate::decode`].
    pub(crate) fn can_send(&self, source: IpAddr, interface: u32, link: u32) -> bool {
        let is_own = match source {
            IpAddr::V4(v4) => return self.can_send_v4(v4, interface),
            IpAddr::V6(v6) if is_link_local(source) && link != 0 => {
                self.link_local.binary_search(&(v6, link)).is_ok()
            }
            IpAddr::V6(v6) => {
                if let [0, 0, 0, 0, 0, 0, ..] = v6.segments()
                    && v6 != Ipv6Addr::LOCALHOST
                    && v6.to_ipv4().is_some_and(|v4| !self.can_send_v4(v4, interface))
                {
                    return false;
                }
                self.contains(source)
            }
        };
        !is_own || interface == LOOPBACK
    }

    fn can_send_v4(&self, source: Ipv4Addr, interface: u32) -> bool {
        if self.v4.binary_search(&source).is_ok() {
            return interface == LOOPBACK;
        }
        self.broadcast.binary_search(&source).is_err()
    }
}

fn sort<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}

/// The highest address of a network, which the kernel takes for its broadcast address, whether one was assigned or not.
fn highest(network: Option<Ipv4Addr>, prefix_length: u8) -> Option<Ipv4Addr> {
    // A network of two addresses has no broadcast address (RFC 3021).
    if prefix_length >= 31 {
        return None;
    }
    Some(Ipv4Addr::from_bits(network?.to_bits() | u32::MAX >> prefix_length))
}

/// An address as it was given to an interface.
#[derive(Clone, Copy, Debug)]
struct Assigned {
    address: IpAddr,
    /// Of a tunnel the far end: what the prefix is of.
    network: Option<Ipv4Addr>,
    prefix_length: u8,
    broadcast: Option<Ipv4Addr>,
    interface: u32,
}

impl Assigned {
    /// From struct ifaddrmsg and what follows it (linux/if_addr.h).
    fn read(message: &RtnetlinkMessage<'_>) -> Option<Self> {
        const HEADER: usize = 8;
        /// The address, or of a tunnel the far end.
        const ADDRESS: u16 = 1;
        /// The address of this end, if it is another one.
        const LOCAL: u16 = 2;
        const BROADCAST: u16 = 4;
        if message.kind != rtnetlink::NEW_ADDRESS {
            return None;
        }
        let prefix_length = *message.body.get(1)?;
        let interface = word(message.body, 4)?;
        let (mut address, mut local, mut broadcast) = (None, None, None);
        for (kind, value) in attributes(message.body.get(HEADER..)?) {
            match kind {
                ADDRESS => address = ip(value),
                LOCAL => local = ip(value),
                BROADCAST => broadcast = v4(ip(value)),
                _ => {}
            }
        }
        let network = v4(address.or(local));
        Some(Self { address: local.or(address)?, network, prefix_length, broadcast, interface })
    }
}

fn v4(address: Option<IpAddr>) -> Option<Ipv4Addr> {
    match address? {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH: u32 = 2;
    const WIFI: u32 = 3;

    fn given(address: &str, prefix_length: u8, interface: u32) -> Assigned {
        let address = address.parse().unwrap();
        Assigned { address, network: v4(Some(address)), prefix_length, broadcast: None, interface }
    }

    fn machine() -> LocalAddresses {
        LocalAddresses::new([
            given("127.0.0.1", 8, LOOPBACK),
            given("::1", 128, LOOPBACK),
            given("192.0.2.7", 24, ETH),
            given("2001:db8::7", 64, ETH),
            given("fe80::1", 64, ETH),
            Assigned { broadcast: Some([10, 1, 255, 255].into()), ..given("10.1.2.3", 24, WIFI) },
            given("198.51.100.4", 31, WIFI),
            // The end of a tunnel, with the other end as a network of one.
            Assigned { network: Some([203, 0, 113, 2].into()), ..given("203.0.113.1", 32, 9) },
        ])
    }

    #[track_caller]
    fn check(source: &str, interface: u32, link: u32, expected: bool) {
        assert_eq!(
            machine().can_send(source.parse().unwrap(), interface, link),
            expected,
            "{source} on {interface}"
        );
    }

    #[test]
    fn own_addresses_come_by_loopback_alone() {
        for own in [
            "192.0.2.7",
            "2001:db8::7",
            "10.1.2.3",
            "198.51.100.4",
            "203.0.113.1",
            "::192.0.2.7",
            "127.0.0.1",
            "::1",
        ] {
            check(own, ETH, 0, false);
            check(own, 0, 0, false);
            check(own, LOOPBACK, 0, true);
        }
        for other in ["192.0.2.8", "2001:db8::8", "198.51.100.5", "203.0.113.2", "::192.0.2.8"] {
            check(other, ETH, 0, true);
            check(other, LOOPBACK, 0, true);
        }
    }

    #[test]
    fn a_broadcast_address_is_no_source() {
        // Assigned, and what follows from the prefix.
        for broadcast in ["10.1.255.255", "10.1.2.255", "192.0.2.255", "::192.0.2.255"] {
            check(broadcast, ETH, 0, false);
            check(broadcast, LOOPBACK, 0, false);
        }
        // Of networks that this machine is not on nothing is known.
        check("198.51.100.255", ETH, 0, true);
        check("203.0.113.255", ETH, 0, true);
    }

    #[test]
    fn a_link_local_address_may_be_another_machines_on_another_link() {
        check("fe80::1", ETH, ETH, false);
        check("fe80::1", WIFI, WIFI, true);
        check("fe80::1", 0, 0, false);
        check("fe80::1", LOOPBACK, LOOPBACK, true);
        check("fe80::2", ETH, ETH, true);
        assert!(machine().contains("fe80::1".parse().unwrap()));
        assert!(!machine().contains("fe80::2".parse().unwrap()));
    }

    #[test]
    fn highest_addresses_of_networks_of_all_sizes() {
        let of = |prefix_length| highest(Some([192, 0, 2, 7].into()), prefix_length).map(|it| it.to_string());
        assert_eq!(of(0).as_deref(), Some("255.255.255.255"));
        assert_eq!(of(8).as_deref(), Some("192.255.255.255"));
        assert_eq!(of(30).as_deref(), Some("192.0.2.7"));
        assert_eq!([of(31), of(32), of(33), of(255)], [None, None, None, None]);
        assert_eq!(highest(None, 8), None);
    }
}

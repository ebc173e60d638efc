//! StatedAddresses: this machine's addresses as a person states them, for the packets of a file.

use std::net::IpAddr;

use postern_core::{Direction, DropReason, Knock};

use crate::decode::arrival;
use crate::frame::Frame;
use crate::links::LOOPBACK;
use crate::local_addresses::LocalAddresses;

/// Which addresses are those of the machine that captured a file. Nobody states its links: which one a link-local source is on is never known.
#[derive(Debug)]
pub struct StatedAddresses {
    /// None: every destination is an address of the machine, and no source is.
    addresses: Option<LocalAddresses>,
}

impl StatedAddresses {
    /// These; if there are none, every destination counts as an address of the machine.
    #[must_use]
    pub fn new(addresses: &[IpAddr]) -> Self {
        Self { addresses: (!addresses.is_empty()).then(|| LocalAddresses::stated(addresses)) }
    }

    /// Whether `address` is one of the machine's. All of 127.0.0.0/8 is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.addresses.as_ref().is_none_or(|addresses| addresses.contains(address))
    }

    /// Says of a knock that leaves the machine that it does: it comes from an address of the machine and goes to another. Checks otherwise that the
    /// source is none of the machine's own addresses, as [`crate::View::place`] does.
    ///
    /// # Errors
    /// [`DropReason::ImpossibleSource`] if no other machine can have sent it.
    pub fn place(&self, knock: &mut Knock, frame: &Frame<'_>) -> Result<(), DropReason> {
        let Some(addresses) = &self.addresses else { return Ok(()) };
        if addresses.contains(knock.source) && !addresses.contains(knock.destination) {
            knock.direction = Direction::Outgoing;
        }
        let from = match knock.direction {
            Direction::Incoming => arrival::interface(frame),
            Direction::Outgoing => LOOPBACK,
        };
        if addresses.can_send(knock.source, from, knock.link) {
            Ok(())
        } else {
            Err(DropReason::ImpossibleSource)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use postern_core::{Detail, Timestamp};
    use postern_tests::frame::udp;

    use super::*;
    use crate::decode::decode;
    use crate::frame::LinkType;

    /// The way of a datagram at a machine with these addresses, that captured it on the interface with this index.
    fn way(local: &[&str], index: u32, source: &str, destination: &str) -> Result<Direction, DropReason> {
        let local: Vec<IpAddr> = local.iter().map(|address| address.parse().unwrap()).collect();
        let end = |address: &str| SocketAddr::new(address.parse().unwrap(), 7000);
        let (bytes, interface) = (udp(end(source), end(destination), b""), Arc::from("eth0"));
        let frame = Frame {
            time: Timestamp(0),
            link: LinkType::Ethernet,
            length: 0,
            interface: &interface,
            index,
            direction: Direction::Incoming,
            bytes: &bytes,
        };
        let mut knock = decode(&frame, Detail::LEAST)?;
        StatedAddresses::new(&local).place(&mut knock, &frame)?;
        Ok(knock.direction)
    }

    #[test]
    fn what_comes_from_a_stated_address_leaves_the_machine() {
        const HERE: [&str; 2] = ["198.51.100.1", "2001:db8::1"];
        assert_eq!(way(&HERE, 0, "192.0.2.7", "198.51.100.1"), Ok(Direction::Incoming));
        assert_eq!(way(&HERE, 0, "198.51.100.1", "192.0.2.7"), Ok(Direction::Outgoing));
        assert_eq!(way(&HERE, 0, "2001:db8::1", "2001:db8::2"), Ok(Direction::Outgoing));
        assert_eq!(way(&HERE, 0, "192.0.2.7", "192.0.2.8"), Ok(Direction::Incoming), "seen in passing");
        assert_eq!(way(&[], 0, "198.51.100.1", "192.0.2.7"), Ok(Direction::Incoming), "nothing is stated");
    }

    #[test]
    fn from_here_to_here_only_the_loopback_interface_brings_it() {
        const HERE: [&str; 1] = ["198.51.100.1"];
        let way = |index| way(&HERE, index, "198.51.100.1", "198.51.100.1");
        assert_eq!(way(0), Err(DropReason::ImpossibleSource));
        assert_eq!(way(LOOPBACK), Ok(Direction::Incoming));
    }

    #[test]
    fn every_destination_is_local_unless_some_are_stated() {
        let [here, there] = ["198.51.100.1", "192.0.2.7"].map(|address| address.parse().unwrap());
        assert!(StatedAddresses::new(&[]).contains(there));
        let stated = StatedAddresses::new(&[here]);
        assert_eq!([here, there].map(|address| stated.contains(address)), [true, false]);
    }
}

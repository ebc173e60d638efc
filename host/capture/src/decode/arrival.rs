//! Arrival: the interface that a frame came in on, and its VLAN tags.

use etherparse::{Ethernet2HeaderSlice, SingleVlanHeaderSlice};

use super::link::{self, ETHER_IPV4, ETHER_IPV6, ETHER_VLAN, MAX_VLAN_TAGS};
use crate::frame::{Frame, LinkType};
use crate::links::{LOOPBACK, Tag};

/// Where a cooked header of version 1 has the kind of hardware, and which kind loopback is (ARPHRD_LOOPBACK in linux/if_arp.h).
const COOKED_HARDWARE: usize = 2;
const HARDWARE_LOOPBACK: u16 = 772;
/// Which way a packet was going is said in the first two bytes of a cooked header of version 1, and in this one of version 2; and what left the
/// machine (PACKET_OUTGOING in linux/if_packet.h).
const COOKED_V2_WAY: usize = 10;
const OUTGOING: u8 = 4;
/// Where one of version 2 has the index of the interface.
const COOKED_V2_INDEX: usize = 4;

/// The index of the interface that the frame came in on; 0 if neither the capture nor the frame says it. A cooked header of version 1
/// says no more than whether it was the loopback interface.
pub(crate) fn interface(frame: &Frame<'_>) -> u32 {
    let said = match frame.link {
        LinkType::Cooked => {
            let hardware = frame.bytes.get(COOKED_HARDWARE..).and_then(|bytes| bytes.first_chunk());
            (hardware.copied().map(u16::from_be_bytes) == Some(HARDWARE_LOOPBACK)).then_some(LOOPBACK)
        }
        LinkType::CookedV2 => {
            let index = frame.bytes.get(COOKED_V2_INDEX..).and_then(|bytes| bytes.first_chunk());
            index.copied().map(u32::from_be_bytes)
        }
        _ => Some(frame.index),
    };
    said.unwrap_or(frame.index)
}

/// Whether the frame says that it left the machine: only cooked headers can.
pub(crate) fn is_outgoing(frame: &Frame<'_>) -> bool {
    match frame.link {
        LinkType::Cooked => frame.bytes.starts_with(&[0, OUTGOING]),
        LinkType::CookedV2 => frame.bytes.get(COOKED_V2_WAY) == Some(&OUTGOING),
        _ => false,
    }
}

/// The VLAN tags of a frame, the outermost first; none if that cannot be told.
pub(crate) fn tags(frame: &Frame<'_>) -> Option<Vec<Tag>> {
    match frame.link {
        LinkType::Ethernet => {
            let header = Ethernet2HeaderSlice::from_slice(frame.bytes).ok()?;
            Some(in_front_of_ip(header.ether_type().0, &frame.bytes[header.slice().len()..])?.0)
        }
        LinkType::Cooked => in_cooked(frame.bytes, link::COOKED_PROTOCOL, link::COOKED_LENGTH),
        LinkType::CookedV2 => in_cooked(frame.bytes, link::COOKED_V2_PROTOCOL, link::COOKED_V2_LENGTH),
        LinkType::Ip | LinkType::Ipv4 | LinkType::Ipv6 | LinkType::Null | LinkType::Loop => Some(Vec::new()),
        LinkType::Other(_) => None,
    }
}

/// The tags behind a cooked header. None if the first byte is not that of the IP version that the header says: then an inner tag is in
/// front of the packet, and the outer one, which the kernel took out, is not known.
fn in_cooked(bytes: &[u8], protocol: usize, length: usize) -> Option<Vec<Tag>> {
    let (header, rest) = bytes.split_at_checked(length)?;
    let protocol = u16::from_be_bytes([header[protocol], header[protocol + 1]]);
    let (tags, ether_type, packet) = in_front_of_ip(protocol, rest)?;
    let version = if ether_type == ETHER_IPV4 { 4 } else { 6 };
    (packet.first()? >> 4 == version).then_some(tags)
}

/// The tags, and the protocol and the bytes behind them; none if there is no IP packet.
fn in_front_of_ip(mut ether_type: u16, mut bytes: &[u8]) -> Option<(Vec<Tag>, u16, &[u8])> {
    let mut tags = Vec::new();
    while ETHER_VLAN.contains(&ether_type) && tags.len() < MAX_VLAN_TAGS {
        let header = SingleVlanHeaderSlice::from_slice(bytes).ok()?;
        tags.push(Tag { protocol: ether_type, id: header.vlan_identifier().value() });
        ether_type = header.ether_type().0;
        bytes = &bytes[header.slice().len()..];
    }
    [ETHER_IPV4, ETHER_IPV6].contains(&ether_type).then_some((tags, ether_type, bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use postern_core::{Direction, Timestamp};
    use postern_tests::frame::from_hex;

    use super::*;

    const IPV4: &str = "4500";
    const IPV6: &str = "6000";
    const MACS: &str = "020000000002 020000000001";
    const TAG_5: Tag = Tag { protocol: 0x8100, id: 5 };
    const TAG_6: Tag = Tag { protocol: 0x88a8, id: 6 };

    /// What `read` says of a frame that was captured on interface 9.
    fn of<T>(link: LinkType, parts: &[&str], read: impl Fn(&Frame<'_>) -> T) -> T {
        let bytes = from_hex(&parts.concat());
        let interface: Arc<str> = "test0".into();
        read(&Frame {
            time: Timestamp(0),
            link,
            length: 0,
            interface: &interface,
            index: 9,
            direction: Direction::Incoming,
            bytes: &bytes,
        })
    }

    #[test]
    fn the_interface_is_the_captures_or_the_frames() {
        let interface = |link, parts: &[&str]| of(link, parts, interface);
        assert_eq!(interface(LinkType::Ethernet, &[MACS, "0800", IPV4]), 9);
        assert_eq!(interface(LinkType::Ip, &[IPV4]), 9);
        assert_eq!(
            interface(LinkType::CookedV2, &["86dd 0000 00000003 0001 00 06 0200000000010000", IPV6]),
            3
        );
        assert_eq!(
            interface(LinkType::CookedV2, &["86dd 0000 00000001 0304 00 06 0000000000000000", IPV6]),
            1
        );
        assert_eq!(interface(LinkType::CookedV2, &["86dd 0000 0000"]), 9);
        assert_eq!(interface(LinkType::Cooked, &["0000 0001 0006 0200000000010000 0800", IPV4]), 9);
        assert_eq!(interface(LinkType::Cooked, &["0000 0304 0006 0000000000000000 0800", IPV4]), 1);
        assert_eq!(interface(LinkType::Cooked, &["0000 03"]), 9);
    }

    #[test]
    fn a_cooked_header_says_what_left_the_machine() {
        let leaves = |link, parts: &[&str]| of(link, parts, is_outgoing);
        assert!(leaves(LinkType::Cooked, &["0004 0001 0006 0200000000010000 0800", IPV4]));
        assert!(!leaves(LinkType::Cooked, &["0000 0001 0006 0200000000010000 0800", IPV4]));
        assert!(leaves(LinkType::CookedV2, &["86dd 0000 00000003 0001 04 06 0200000000010000", IPV6]));
        assert!(!leaves(LinkType::CookedV2, &["86dd 0000 00000003 0001 00 06 0200000000010000", IPV6]));
        assert!(!leaves(LinkType::Ip, &["0004", IPV4]));
        for link in [LinkType::Cooked, LinkType::CookedV2] {
            assert!(!leaves(link, &["00"]), "it was cut");
        }
    }

    #[test]
    fn tags_are_told_from_the_outermost_on() {
        let tags = |link, parts: &[&str]| of(link, parts, tags);
        assert_eq!(tags(LinkType::Ethernet, &[MACS, "86dd", IPV6]), Some(vec![]));
        assert_eq!(tags(LinkType::Ethernet, &[MACS, "8100 0005 86dd", IPV6]), Some(vec![TAG_5]));
        // Priority and the bit behind it are not the number's.
        assert_eq!(
            tags(LinkType::Ethernet, &[MACS, "88a8 f006 8100 e005 86dd", IPV6]),
            Some(vec![TAG_6, TAG_5])
        );
        assert_eq!(
            tags(LinkType::CookedV2, &["86dd 0000 00000003 0001 00 06 0200000000010000", IPV6]),
            Some(vec![])
        );
        assert_eq!(
            tags(LinkType::Cooked, &["0000 0001 0006 0200000000010000 8100 0005 86dd", IPV6]),
            Some(vec![TAG_5])
        );
        assert_eq!(tags(LinkType::Ip, &[IPV6]), Some(vec![]));
    }

    #[test]
    fn what_cannot_be_told_is_not_guessed() {
        let tags = |link, parts: &[&str]| of(link, parts, tags);
        // The inner one of two tags is in front of the IP header, and nothing is said of the outer one.
        assert_eq!(
            tags(LinkType::CookedV2, &["86dd 0000 00000003 0001 00 06 0200000000010000 0006 86dd", IPV6]),
            None
        );
        assert_eq!(tags(LinkType::Ethernet, &[MACS, "0806"]), None);
        assert_eq!(tags(LinkType::Ethernet, &[MACS, &"8100 0005".repeat(5), "86dd", IPV6]), None);
        assert_eq!(tags(LinkType::Ethernet, &[MACS, "8100 00"]), None);
        assert_eq!(tags(LinkType::Other(127), &[IPV6]), None);
    }
}

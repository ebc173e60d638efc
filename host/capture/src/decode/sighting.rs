//! Sighting: the fingerprint by which copies of a packet on other interfaces are recognised.
//!
//! Bridges, bonds and VLAN devices pass the bytes from the IP header on unchanged, so a keyed hash of them identifies copies. Link-layer
//! headers, tags and padding are not hashed. Of a long packet the hash covers the beginning and everything that rules may be shown, so an
//! attacker cannot send a packet that rules see differently and that is still taken for a copy.

use std::hash::{BuildHasher, Hash as _, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postern_core::{Direction, Knock, Likeness, Sighting};

use super::link;
use crate::frame::{Frame, LinkType};

/// Bytes of a packet that are always hashed; fewer than any capture keeps.
const BEGINNING: usize = 256;
/// The shortest IP header of either version, and the offsets of the fields that routers change: time to live and checksum, or hop limit.
const HEAD: usize = 20;
const TTL: usize = 8;
const CHECKSUM: [usize; 2] = [10, 11];
const HOP_LIMIT: usize = 7;

/// Added to an interface's index for packets that leave there; the kernel's indexes are lower.
const OUTGOING: u32 = 1 << 31;

/// Makes sightings; those of one and its clones can be compared.
#[derive(Clone, Debug)]
pub struct Sightings {
    key: RandomState,
    likeness: Likeness,
    are_wanted: Arc<AtomicBool>,
}

impl Sightings {
    /// It makes none until [`Sightings::begin`].
    #[must_use]
    pub fn new(likeness: Likeness) -> Self {
        Self { key: RandomState::new(), likeness, are_wanted: Arc::default() }
    }

    /// From now on there may be copies. This cannot be undone: after captures have ended, copies of earlier packets may still be queued.
    pub fn begin(&self) {
        self.are_wanted.store(true, Ordering::Relaxed);
    }

    /// Of a knock whose link is known, and the frame that it was read from. None if there can be no copies, or if it is not known on which
    /// interface it was.
    pub fn of(&self, frame: &Frame<'_>, knock: &Knock) -> Option<Sighting> {
        if !self.are_wanted.load(Ordering::Relaxed) {
            return None;
        }
        let interface = match (knock.interface_index, knock.direction) {
            (0, _) => return None,
            (interface, Direction::Incoming) => interface,
            (interface, Direction::Outgoing) => interface | OUTGOING,
        };
        // A cooked header of version 1 has no index: without the capture's own, the interface is not known.
        if frame.link == LinkType::Cooked && frame.index == 0 {
            return None;
        }
        let (_, packet) = link::network_packet(frame.link, frame.bytes).ok()?;
        let whole = usize::try_from(knock.packet_length).unwrap_or(usize::MAX);
        let packet = &packet[..packet.len().min(whole).min(BEGINNING)];
        let mut hasher = self.key.build_hasher();
        // The same link-local address on another link is another client, whatever it sends.
        let ports = u32::from(knock.source_port) << 16 | u32::from(knock.destination_port);
        hasher.write_u64(u64::from(ports) << 32 | u64::from(knock.link));
        hasher.write_u8(knock.tcp_flags.0);
        match self.likeness {
            Likeness::Exact => hasher.write(packet),
            Likeness::AcrossRouters => {
                let (head, rest) = packet.split_first_chunk::<HEAD>()?;
                hasher.write(&without_hops(*head, knock.source.is_ipv4()));
                hasher.write(rest);
            }
        }
        // A shorter packet was hashed as a whole.
        if packet.len() == BEGINNING {
            hasher.write(&knock.payload);
            if let Some(header) = &knock.tcp_header {
                header.hash(&mut hasher);
            }
        }
        Some(Sighting { fingerprint: hasher.finish(), interface })
    }
}

fn without_hops(mut head: [u8; HEAD], is_v4: bool) -> [u8; HEAD] {
    if is_v4 {
        for place in [TTL].into_iter().chain(CHECKSUM) {
            head[place] = 0;
        }
    } else {
        head[HOP_LIMIT] = 0;
    }
    head
}

#[cfg(test)]
mod tests {
    use postern_core::{Detail, Timestamp};
    use postern_tests::frame::from_hex;

    use super::super::decode;
    use super::*;

    const MACS: &str = "020000000002 020000000001";
    const OTHER_MACS: &str = "020000000002 020000000003";
    /// UDP to port 2222 with 3 bytes.
    const UDP4: &str = "4500 001f 0001 0000 3f 11 b6cd c0000201 c6336402 1234 08ae 000b 0000 616263";
    const UDP6: &str = "60000000 000b 11 39 20010db8000000000000000000000001 20010db8000000000000000000000002
        1234 08ae 000b 0000 616263";
    const COOKED_V2: &str = "0000 00000003 0001 00 06 0200000000010000";

    struct Case<'a> {
        link: LinkType,
        parts: &'a [&'a str],
        index: u32,
        direction: Direction,
    }

    fn on(link: LinkType, parts: &[&str], index: u32) -> Option<Sighting> {
        of(&sightings(Likeness::Exact), &Case { link, parts, index, direction: Direction::Incoming })
    }

    fn of(sightings: &Sightings, case: &Case<'_>) -> Option<Sighting> {
        of_shown(sightings, case, Detail::LEAST)
    }

    /// Where so much of the packet may be shown to rules.
    fn of_shown(sightings: &Sightings, case: &Case<'_>, shown: Detail) -> Option<Sighting> {
        let (bytes, interface) = (from_hex(&case.parts.concat()), Arc::from("test0"));
        let Case { link, index, direction, .. } = *case;
        let frame = Frame {
            time: Timestamp(0),
            link,
            length: 0,
            interface: &interface,
            index,
            direction,
            bytes: &bytes,
        };
        sightings.of(&frame, &decode(&frame, shown).unwrap())
    }

    /// All with the same key.
    fn sightings(likeness: Likeness) -> Sightings {
        static KEY: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::new);
        let sightings = Sightings { key: KEY.clone(), ..Sightings::new(likeness) };
        sightings.begin();
        sightings
    }

    #[test]
    fn what_link_layers_add_does_not_count() {
        for (kind, packet) in [("0800", UDP4), ("86dd", UDP6)] {
            let plain = on(LinkType::Ethernet, &[MACS, kind, packet], 2).unwrap();
            assert_eq!(plain.interface, 2);
            let copies = [
                on(LinkType::Ethernet, &[OTHER_MACS, kind, packet], 5),
                on(LinkType::Ethernet, &[MACS, "8100 0005", kind, packet], 5),
                on(LinkType::Ethernet, &[MACS, kind, packet, "000000 000000"], 5),
                on(LinkType::Ip, &[packet], 5),
            ];
            for copy in copies {
                assert_eq!(copy, Some(Sighting { interface: 5, ..plain }));
            }
            let cooked = on(LinkType::CookedV2, &[kind, COOKED_V2, packet], 0);
            assert_eq!(cooked, Some(Sighting { interface: 3, ..plain }), "the header says where");
        }
    }

    #[test]
    fn any_byte_of_the_packet_counts() {
        let fingerprint =
            |packet: &str| on(LinkType::Ethernet, &[MACS, "0800", packet], 2).unwrap().fingerprint;
        for (from, to) in [("0001 0000", "0002 0000"), ("3f 11 b6cd", "3e 11 b7cd"), ("616263", "616264")] {
            assert_ne!(fingerprint(&UDP4.replace(from, to)), fingerprint(UDP4), "{to}");
        }
    }

    #[test]
    fn a_router_makes_another_packet_of_it_unless_that_is_looked_through() {
        let routed = [
            ("0800", UDP4, UDP4.replace("3f 11 b6cd", "3e 11 b7cd")),
            ("86dd", UDP6, UDP6.replace("11 39", "11 38")),
        ];
        for (kind, came, left) in &routed {
            for (likeness, is_same) in [(Likeness::Exact, false), (Likeness::AcrossRouters, true)] {
                let sightings = sightings(likeness);
                let seen = |packet: &str, direction| {
                    let parts = &[MACS, kind, packet][..];
                    of(&sightings, &Case { link: LinkType::Ethernet, parts, index: 2, direction }).unwrap()
                };
                let (came, left) = (seen(came, Direction::Incoming), seen(left, Direction::Outgoing));
                assert_eq!(came.fingerprint == left.fingerprint, is_same, "{likeness:?}");
                assert_ne!(came.interface, left.interface, "in and out are two places");
            }
        }
    }

    /// A datagram of 1000 bytes of which so many were captured; all but one are alike.
    fn long(kept: usize, other: usize, shown: usize) -> Option<Sighting> {
        let header = "4500 0404 0001 0000 3f 11 0000 c0000201 c6336402 1234 08ae 03f0 0000";
        let payload: String = (0..kept).map(|n| if n == other { "62" } else { "61" }).collect();
        let parts = &[MACS, "0800", header, &payload][..];
        let case = Case { link: LinkType::Ethernet, parts, index: 2, direction: Direction::Incoming };
        of_shown(&sightings(Likeness::Exact), &case, Detail::payload(shown))
    }

    #[test]
    fn of_a_long_packet_the_beginning_counts_and_what_rules_are_shown() {
        let plain = |shown| long(1000, usize::MAX, shown);
        assert_ne!(long(1000, 200, 0), plain(0));
        assert_ne!(long(1000, 300, 301), plain(301));
        assert_eq!(long(1000, 300, 300), plain(300), "no rule can tell them apart");
    }

    /// A segment behind so many extension headers of 48 bytes each, where only the sequence number may differ.
    #[test]
    fn a_tcp_header_far_behind_counts_if_rules_are_shown_it() {
        let fingerprint = |sequence: &str, tcp_header| {
            let extension = |next: &str| format!("{next} 05 01 2c {}", "00".repeat(44));
            let chain = [extension("3c").repeat(4), extension("06")].concat();
            let head =
                "60000000 0104 3c 39 20010db8000000000000000000000001 20010db8000000000000000000000002";
            let tcp = ["1234 0457", sequence, "00000000 50 02 ffff 0000 0000"].concat();
            let parts = &[MACS, "86dd", head, &chain, &tcp][..];
            let case = Case { link: LinkType::Ethernet, parts, index: 2, direction: Direction::Incoming };
            let shown = Detail { payload_limit: 0, tcp_header };
            of_shown(&sightings(Likeness::Exact), &case, shown).unwrap().fingerprint
        };
        assert_ne!(fingerprint("00000001", true), fingerprint("00000002", true));
        assert_eq!(
            fingerprint("00000001", false),
            fingerprint("00000002", false),
            "no rule can tell them apart"
        );
    }

    #[test]
    fn where_captures_keep_different_lengths_the_same_bytes_count() {
        for shown in [0, 700] {
            assert_eq!(long(1000, usize::MAX, shown), long(800, usize::MAX, shown));
        }
    }

    #[test]
    fn none_where_none_can_be_compared() {
        let cooked =
            |hardware| on(LinkType::Cooked, &["0000", hardware, "0006 0200000000010000 0800", UDP4], 0);
        assert_eq!([cooked("0001"), cooked("0304")], [None, None], "it says no interface");
        assert_eq!(on(LinkType::Ip, &[UDP4], 0), None);
        let off = Sightings::new(Likeness::Exact);
        let case = Case { link: LinkType::Ip, parts: &[UDP4], index: 2, direction: Direction::Incoming };
        assert_eq!(of(&off, &case), None);
        assert!(of(&sightings(Likeness::Exact), &case).is_some());
    }
}

//! Frames: packets that are odd below their ports, and whether they count.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_tests::{Lab, SERVER4, SERVER6, eventually, frame, tool};

use super::hit::{Hit, client, client6};
use super::pair::{Listener, Pair};
use super::{Deviation, Outcome, section};

/// The first packet of a knock is odd; the others are plain and go to the server's own address.
struct Vector {
    what: &'static str,
    knock: &'static str,
    /// Where the odd one goes.
    to: IpAddr,
    odd: fn(&[u8]) -> Vec<u8>,
    outcome: Outcome,
}

/// `a` and `u` open if, and only if, the odd packet counted. `last` always does: by then everything before it was seen.
const DOORS: [&str; 3] = ["a=7000,8000 syn", "u=7000:udp,8000:udp", "last=9000:udp"];
const TCP: &str = "7000 8000 9000/udp";
const UDP: &str = "7000/udp 8000/udp 9000/udp";

const COUNTS: &str = "a1 a2 a! last1 last!";
const COUNTS_UDP: &str = "u1 u2 u! last1 last!";
const DOES_NOT: &str = "last1 last!";

/// A door with the wire's broadcast address as its target.
const FOR_ALL: &str = "all=7001:udp";
const ALL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 255));
const ALL_MAC: [u8; 6] = [0xff; 6];
/// An address of the server on that network, without which nothing would be broadcast there.
const SERVER4_OF_ALL: &str = "10.9.0.1/24";

const LINK_LOCAL: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
const GROUP4: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1));
const GROUP4_MAC: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 1];
const GROUP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
const GROUP6_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

const VECTORS: [Vector; 26] = [
    vector("nothing odd", TCP, SERVER4, <[u8]>::to_vec, Outcome::Both(COUNTS)),
    vector("nothing odd", TCP, SERVER6, <[u8]>::to_vec, Outcome::Both(COUNTS)),
    vector("nothing odd", UDP, SERVER4, <[u8]>::to_vec, Outcome::Both(COUNTS_UDP)),
    vector("IP options", TCP, SERVER4, frame::with_options, Outcome::Both(COUNTS)),
    vector("another MAC", TCP, SERVER4, |it| frame::to_mac(it, [2, 0, 0, 0, 0, 9]), Outcome::Both(COUNTS)),
    vector("first fragment", UDP, SERVER4, |it| frame::fragment(it, 0, true), Outcome::Both(COUNTS_UDP)),
    vector("fragment", UDP, SERVER4, |it| frame::fragment(it, 16, true), Outcome::Both(DOES_NOT)),
    vector("last fragment", UDP, SERVER4, |it| frame::fragment(it, 16, false), Outcome::Both(DOES_NOT)),
    vector("link-local", TCP, LINK_LOCAL, <[u8]>::to_vec, Outcome::Both(COUNTS)),
    vector(
        "VLAN",
        TCP,
        SERVER4,
        |it| frame::tagged(it, 7),
        Outcome::Apart(Deviation::VlanTags, DOES_NOT, COUNTS),
    ),
    vector(
        "VLAN in a VLAN",
        TCP,
        SERVER6,
        |it| frame::tagged(&frame::tagged(it, 8), 7),
        Outcome::Apart(Deviation::VlanTags, DOES_NOT, COUNTS),
    ),
    vector(
        "extension header",
        TCP,
        SERVER6,
        frame::with_extension_header,
        Outcome::Apart(Deviation::ExtensionHeaders, DOES_NOT, COUNTS),
    ),
    vector("a packet that is longer than what came", TCP, SERVER4, longer, Outcome::Both(COUNTS)),
    vector("a datagram that is longer than what came", UDP, SERVER4, longer, Outcome::Both(COUNTS_UDP)),
    lie("IP without the ports", UDP, SERVER4, |it| frame::with_total_length(it, 20), COUNTS_UDP),
    lie("IPv6 without anything", TCP, SERVER6, |it| frame::with_payload_length(it, 0), COUNTS),
    lie("UDP beyond IP", UDP, SERVER4, |it| frame::with_udp_length(it, 1000), COUNTS_UDP),
    lie("UDP below its header", UDP, SERVER4, |it| frame::with_udp_length(it, 7), COUNTS_UDP),
    lie("TCP beyond IP", TCP, SERVER4, |it| frame::with_tcp_header_length(it, 15), COUNTS),
    lie("TCP below its header", TCP, SERVER4, |it| frame::with_tcp_header_length(it, 4), COUNTS),
    lie("cut behind the ports", UDP, SERVER4, |it| frame::cut(it, 4), COUNTS_UDP),
    vector("broadcast", UDP, ALL, |it| frame::to_mac(it, ALL_MAC), Outcome::Both(DOES_NOT)),
    vector(
        "broadcast to everywhere",
        UDP,
        IpAddr::V4(Ipv4Addr::BROADCAST),
        |it| frame::to_mac(it, ALL_MAC),
        Outcome::Both(DOES_NOT),
    ),
    vector("multicast", UDP, GROUP4, |it| frame::to_mac(it, GROUP4_MAC), Outcome::Both(DOES_NOT)),
    vector("multicast", UDP, GROUP6, |it| frame::to_mac(it, GROUP6_MAC), Outcome::Both(DOES_NOT)),
    vector(
        "broadcast to a target",
        "7001/udp 9000/udp",
        ALL,
        |it| frame::to_mac(it, ALL_MAC),
        Outcome::Both("all1 all! last1 last!"),
    ),
];

const fn vector(
    what: &'static str,
    knock: &'static str,
    to: IpAddr,
    odd: fn(&[u8]) -> Vec<u8>,
    outcome: Outcome,
) -> Vector {
    Vector { what, knock, to, odd, outcome }
}

/// A packet that counts for knockd alone.
const fn lie(
    what: &'static str,
    knock: &'static str,
    to: IpAddr,
    odd: fn(&[u8]) -> Vec<u8>,
    of_knockd: &'static str,
) -> Vector {
    vector(what, knock, to, odd, Outcome::Apart(Deviation::Lengths, of_knockd, DOES_NOT))
}

/// Of a packet of 1000 bytes the beginning.
fn longer(frame: &[u8]) -> Vec<u8> {
    frame::with_total_length(frame, 1000)
}

#[test]
fn odd_packets() {
    let (Some(knockd), Some(lab)) = (tool("knockd"), Lab::if_possible()) else { return };
    let more = format!(
        "addr add {LINK_LOCAL}/64 dev eth0 nodad\naddr add {SERVER4_OF_ALL} broadcast {ALL} dev eth0\n"
    );
    lab.server().feed(&["ip", "-batch", "-"], &more);
    let mut conf = section(FOR_ALL, Some(&ALL.to_string()));
    conf.extend(DOORS.map(|door| section(door, None)));
    let mut pair = Pair::start(&lab, &knockd, &conf);
    pair.anchor();
    for (number, vector) in (1..).zip(&VECTORS) {
        let (from, home) = vector.way(number);
        let [first, plain @ ..] = &Hit::all(vector.knock)[..] else {
            panic!("{} without a knock", vector.what)
        };
        pair.send(&(vector.odd)(&first.frame(from, vector.to)));
        plain.iter().for_each(|hit| pair.send(&hit.frame(from, home)));
    }
    pair.settle();
    for (number, vector) in (1..).zip(&VECTORS) {
        let (of_knockd, of_postern) = vector.outcome.stories();
        vector.expect(number, &pair.knockd, of_knockd);
        vector.expect(number, &pair.postern, of_postern);
    }
}

impl Vector {
    /// From where it comes, and where its plain packets go.
    fn way(&self, number: u8) -> (IpAddr, IpAddr) {
        if self.to.is_ipv4() { (client(number, 1), SERVER4) } else { (client6(number, 1), SERVER6) }
    }

    #[track_caller]
    fn expect(&self, number: u8, listener: &Listener, story: &str) {
        let told = || listener.accounts().remove(&self.way(number).0).unwrap_or_default();
        eventually(&format!("{} to {}: `{story}`, but {:?}", self.what, self.to, told()), || {
            let told = told();
            (told.story.join(" ") == story && told.is_complete()).then_some(())
        });
    }
}

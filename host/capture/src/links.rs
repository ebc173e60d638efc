//! Links: this machine's interfaces, and on which of them IP sees a packet that was captured on one.
//!
//! A list of one moment; [`crate::local_network`] keeps it up to date. A packet goes from interface to interface before IP sees it, as
//! `__netif_receive_skb_core` in the kernel has it: first to the VLAN device of its outermost tag, else to the bridge or bond that the
//! interface belongs to, and so on. Where that is not known, the link is 0: an opening for the wrong link would be worse than none.

use std::fmt;
use std::io;
use std::net::IpAddr;

use postern_core::Client;

use crate::interface_name;
use crate::rtnetlink::{self, DumpKind, RtnetlinkMessage, RtnetlinkRequests, attributes, half, word};

/// The index of the loopback interface, the same in every network namespace.
pub const LOOPBACK: u32 = 1;

/// 802.1Q and 802.1ad, the two kinds of tags that the kernel looks for.
pub const TAG_8021Q: u16 = 0x8100;
/// See [`TAG_8021Q`].
pub const TAG_8021AD: u16 = 0x88a8;

/// Interfaces that a packet may pass: the kernel stacks no more than 8 of a kind, and what is beyond is not followed.
const MAX_STACKED: usize = 32;

/// Whether an address means something only together with a link (RFC 4291 section 2.5.6).
#[must_use]
pub const fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// A client as people write it: a link-local address with the name of its link behind it, `fe80::1%eth0`, or with its index if it is gone.
#[derive(Clone, Copy, Debug)]
pub struct Shown(pub Client);

impl Shown {
    /// Opens the socket on which the kernel is asked for names, for a process that may open none later. [`crate::LocalNetwork`] does it, too.
    pub fn prepare() {
        interface_name::prepare();
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(client) = self;
        let name = match client.link() {
            0 => None,
            link => interface_name::of(link),
        };
        match name {
            Some(name) => write!(f, "{}%{name}", client.address()),
            None => client.fmt(f),
        }
    }
}

/// A VLAN tag of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// [`TAG_8021Q`], [`TAG_8021AD`], or what else announced it.
    pub protocol: u16,
    /// The VLAN, 0 to 4095; 0 is none, and the tag is for its priority only.
    pub id: u16,
}

/// The interfaces of this machine at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// By index.
    all: Vec<Link>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    index: u32,
    name: Box<str>,
    kind: LinkKind,
    /// The index of what it belongs to; 0 for none.
    master: u32,
}

/// How an interface changes where IP sees a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LinkKind {
    /// A bridge, bond or team: IP sees packets of its ports on the device itself.
    Bundle,
    /// A VRF: IP sees packets of its members on the members.
    RoutingTable,
    /// A VLAN device: IP sees here the packets with this tag that come in on the interface below, in this network namespace.
    Vlan {
        below: u32,
        protocol: u16,
        id: u16,
    },
    Other,
}

impl Links {
    /// Asks the kernel.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) fn read(requests: &mut RtnetlinkRequests) -> io::Result<Self> {
        Ok(Self::new(requests.read_all(DumpKind::Links, Link::read)?))
    }

    fn new(mut all: Vec<Link>) -> Self {
        all.sort_unstable();
        Self { all }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The name of the interface with this index.
    #[must_use]
    pub fn name(&self, index: u32) -> Option<&str> {
        self.link(index).map(|link| &*link.name)
    }

    /// The index of the interface on which IP sees a packet that was captured on the one with this index, with these VLAN tags, the
    /// outermost first. 0 if IP does not see it, because its VLAN has no device here, or if it cannot be told.
    ///
    /// Bridges that filter VLANs may add and take away tags of their own; of them only the default is known, that what has no tag
    /// arrives at the bridge.
    #[must_use]
    pub fn seen_by_ip(&self, index: u32, mut tags: &[Tag]) -> u32 {
        let mut at = index;
        for _ in 0..MAX_STACKED {
            let Some(link) = self.link(at) else { return 0 };
            if let [tag, inner @ ..] = tags
                && let Some(vlan) = self.vlan(at, *tag)
            {
                (at, tags) = (vlan, inner);
                continue;
            }
            match self.link(link.master).map(|master| master.kind) {
                Some(LinkKind::Bundle) => {
                    at = link.master;
                    continue;
                }
                Some(LinkKind::RoutingTable) => {}
                // Such as Open vSwitch, whose forwarding is not known here.
                Some(LinkKind::Other | LinkKind::Vlan { .. }) => return 0,
                None if link.master != 0 => return 0,
                None => {}
            }
            match tags {
                [] => return at,
                [Tag { protocol: TAG_8021Q | TAG_8021AD, id: 0 }, inner @ ..] => tags = inner,
                _ => return 0,
            }
        }
        0
    }

    fn link(&self, index: u32) -> Option<&Link> {
        let at = self.all.binary_search_by_key(&index, |link| link.index).ok()?;
        self.all.get(at)
    }

    fn vlan(&self, interface: u32, tag: Tag) -> Option<u32> {
        let wanted = LinkKind::Vlan { below: interface, protocol: tag.protocol, id: tag.id };
        self.all.iter().find(|link| link.kind == wanted).map(|link| link.index)
    }
}

impl Link {
    /// From struct ifinfomsg and what follows it (linux/if_link.h).
    fn read(message: &RtnetlinkMessage<'_>) -> Option<Self> {
        const HEADER: usize = 16;
        const NAME: u16 = 3;
        const BELOW: u16 = 5;
        const MASTER: u16 = 10;
        const INFO: u16 = 18;
        /// The interface below is in another network namespace, where indexes mean other interfaces.
        const BELOW_ELSEWHERE: u16 = 37;
        if message.kind != rtnetlink::NEW_LINK {
            return None;
        }
        let index = word(message.body, 4)?;
        let (mut name, mut below, mut master) = (None, None, 0);
        let (mut info, mut is_below_here) = (&[][..], true);
        for (kind, value) in attributes(message.body.get(HEADER..)?) {
            match kind {
                NAME => name = text(value),
                BELOW => below = word(value, 0),
                MASTER => master = word(value, 0).unwrap_or(0),
                INFO => info = value,
                BELOW_ELSEWHERE => is_below_here = false,
                _ => {}
            }
        }
        let kind = LinkKind::read(info, below.filter(|_| is_below_here));
        Some(Self { index, name: name?.into(), kind, master })
    }
}

impl LinkKind {
    /// From IFLA_LINKINFO.
    fn read(info: &[u8], below: Option<u32>) -> Self {
        const KIND: u16 = 1;
        const DATA: u16 = 2;
        let (mut kind, mut data) = (None, &[][..]);
        for (attribute, value) in attributes(info) {
            match attribute {
                KIND => kind = text(value),
                DATA => data = value,
                _ => {}
            }
        }
        match kind {
            Some("bridge" | "bond" | "team") => Self::Bundle,
            Some("vrf") => Self::RoutingTable,
            Some("vlan") => Self::vlan(data, below).unwrap_or(Self::Other),
            _ => Self::Other,
        }
    }

    fn vlan(data: &[u8], below: Option<u32>) -> Option<Self> {
        const ID: u16 = 1;
        const PROTOCOL: u16 = 5;
        let (mut id, mut protocol) = (None, TAG_8021Q);
        for (attribute, value) in attributes(data) {
            match attribute {
                ID => id = half(value, 0),
                // In network order, unlike all other numbers.
                PROTOCOL => protocol = half(value, 0).map_or(protocol, u16::from_be),
                _ => {}
            }
        }
        Some(Self::Vlan { below: below?, protocol, id: id? })
    }
}

/// Up to the NUL that ends it.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.split(|byte| *byte == 0).next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: LinkKind, master: u32) -> Link {
        Link { index, name: name.into(), kind, master }
    }

    fn vlan(below: u32, protocol: u16, id: u16) -> LinkKind {
        LinkKind::Vlan { below, protocol, id }
    }

    fn q(id: u16) -> Tag {
        Tag { protocol: TAG_8021Q, id }
    }

    fn ad(id: u16) -> Tag {
        Tag { protocol: TAG_8021AD, id }
    }

    /// eth2 and eth3 are a bond with VLAN 5; eth4 is a port of a bridge that has VLAN 6 and is VLAN 7 of eth5; 8 in 7 is on eth6.
    fn machine() -> Links {
        Links::new(vec![
            link(40, "br0.6", vlan(20, TAG_8021Q, 6), 0),
            link(LOOPBACK, "lo", LinkKind::Other, 0),
            link(2, "eth2", LinkKind::Other, 10),
            link(3, "eth3", LinkKind::Other, 10),
            link(4, "eth4", LinkKind::Other, 20),
            link(5, "eth5", LinkKind::Other, 0),
            link(6, "eth6", LinkKind::Other, 0),
            link(7, "eth7", LinkKind::Other, 30),
            link(8, "eth8", LinkKind::Other, 31),
            link(9, "eth9", LinkKind::Other, 999),
            link(10, "bond0", LinkKind::Bundle, 0),
            link(11, "bond0.5", vlan(10, TAG_8021Q, 5), 0),
            link(20, "br0", LinkKind::Bundle, 0),
            link(21, "eth5.7", vlan(5, TAG_8021Q, 7), 20),
            link(22, "eth6.7", vlan(6, TAG_8021AD, 7), 0),
            link(23, "eth6.7.8", vlan(22, TAG_8021Q, 8), 0),
            link(24, "eth6.9", vlan(6, TAG_8021Q, 9), 0),
            link(30, "vrf0", LinkKind::RoutingTable, 0),
            link(31, "ovs-system", LinkKind::Other, 0),
        ])
    }

    #[track_caller]
    fn check(name: &str, tags: &[Tag], expected: &str) {
        let links = machine();
        let index = links.all.iter().find(|link| &*link.name == name).unwrap().index;
        let seen = links.seen_by_ip(index, tags);
        assert_eq!(links.name(seen).unwrap_or("nowhere"), expected, "{name} {tags:?}");
    }

    #[test]
    fn a_packet_arrives_where_ip_sees_it() {
        check("lo", &[], "lo");
        check("eth5", &[], "eth5");
        check("eth4", &[], "br0");
        check("br0", &[], "br0");
        check("eth2", &[], "bond0");
        check("eth2", &[q(5)], "bond0.5");
        check("bond0", &[q(5)], "bond0.5");
        check("bond0.5", &[], "bond0.5");
        check("eth4", &[q(6)], "br0.6");
        // A VLAN's device may be a port itself, and so may one with a tag in a tag.
        check("eth5", &[q(7)], "br0");
        check("eth5", &[q(7), q(6)], "br0.6");
        check("eth6", &[ad(7)], "eth6.7");
        check("eth6", &[ad(7), q(8)], "eth6.7.8");
        check("eth6", &[q(9)], "eth6.9");
        check("eth7", &[], "eth7");
    }

    #[test]
    fn what_ip_does_not_see_is_nowhere() {
        for (name, tags) in [
            ("eth5", &[q(8)][..]),
            // The right number with another kind of tag, and in another place.
            ("eth6", &[q(7)]),
            ("eth6", &[q(8), ad(7)]),
            ("eth6", &[ad(7), q(9)]),
            ("bond0.5", &[q(5)]),
            // Tags that the kernel does not look for.
            ("eth5", &[Tag { protocol: 0x9100, id: 7 }]),
            ("eth5", &[Tag { protocol: 0x9100, id: 0 }]),
            // Belongs to what decides by itself, and to what is not there.
            ("eth8", &[]),
            ("eth9", &[]),
        ] {
            check(name, tags, "nowhere");
        }
        assert_eq!(machine().seen_by_ip(0, &[]), 0);
        assert_eq!(machine().seen_by_ip(77, &[]), 0);
    }

    #[test]
    fn a_tag_for_priority_only_is_none() {
        check("eth5", &[q(0)], "eth5");
        check("eth4", &[q(0)], "br0");
        check("eth6", &[ad(0), q(9)], "eth6.9");
        check("eth5", &[q(0), q(8)], "nowhere");
    }

    #[test]
    fn a_circle_ends() {
        let links = Links::new(vec![link(2, "a", LinkKind::Bundle, 3), link(3, "b", LinkKind::Bundle, 2)]);
        assert_eq!(links.seen_by_ip(2, &[]), 0);
    }

    #[test]
    fn clients_are_shown_with_the_link_that_they_need() {
        let show = |address: &str, link| Shown(Client::on_link(address.parse().unwrap(), link)).to_string();
        assert_eq!(show("fe80::1", LOOPBACK), "fe80::1%lo");
        assert_eq!(show("fe80::1", u32::MAX), "fe80::1%4294967295");
        assert_eq!(show("fe80::1", 0), "fe80::1");
        assert_eq!(show("2001:db8::1", LOOPBACK), "2001:db8::1");
        assert_eq!(Shown(Client::prefix("2001:db8::/64".parse().unwrap())).to_string(), "2001:db8::/64");
    }

    /// An attribute; of several, one in the other.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn links_are_read_as_the_kernel_says_them() {
        let said = |attributes: &[Vec<u8>]| {
            let header = [&[0; 4][..], &7_u32.to_ne_bytes(), &[0; 8]].concat();
            let body = [header, attributes.concat()].concat();
            Links::new(rtnetlink::tests::one(rtnetlink::NEW_LINK, &body, Link::read)).all.pop()
        };
        let name = attribute(3, b"eth0.5\0");
        let below = attribute(5, &2_u32.to_ne_bytes());
        let data = [attribute(1, &5_u16.to_ne_bytes()), attribute(5, &TAG_8021AD.to_be_bytes())].concat();
        let info = attribute(18 | 0x8000, &[attribute(1, b"vlan\0"), attribute(2 | 0x8000, &data)].concat());
        let elsewhere = attribute(37, &0_u32.to_ne_bytes());
        assert_eq!(
            said(&[name.clone(), below.clone(), info.clone(), attribute(10, &9_u32.to_ne_bytes())]),
            Some(link(7, "eth0.5", vlan(2, TAG_8021AD, 5), 9))
        );
        // What is below is in another namespace; a kind that means nothing here; no name.
        assert_eq!(
            said(&[name.clone(), below.clone(), info.clone(), elsewhere]),
            Some(link(7, "eth0.5", LinkKind::Other, 0))
        );
        assert_eq!(
            said(&[name.clone(), attribute(18, &attribute(1, b"veth\0"))]),
            Some(link(7, "eth0.5", LinkKind::Other, 0))
        );
        for bundle in ["bridge", "bond", "team"] {
            let info = attribute(18, &attribute(1, bundle.as_bytes()));
            assert_eq!(said(&[name.clone(), info]), Some(link(7, "eth0.5", LinkKind::Bundle, 0)), "{bundle}");
        }
        assert_eq!(said(&[below]), None);
    }
}

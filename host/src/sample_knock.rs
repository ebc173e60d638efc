//! SampleKnock: a knock made up for a rule, such as it asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_core::{Destination, Direction, Interest, Knock, TcpHeader, Timestamp, Transport, Watch};
use postern_lines::{THIS_HOST_V4, THIS_HOST_V6};

/// Bytes of payload of a knock, if the rule wants to see so many.
const PAYLOAD: usize = 64;

/// A knock of the `source`-th client for the watch at `place` of what the rule asked for, where there must be one.
pub(crate) fn sample_knock(interest: &Interest, place: usize, source: u32, time: Timestamp) -> Knock {
    let Watch { transport, first_port, set, .. } = interest.watches[place];
    let local: IpAddr =
        if transport == Transport::Icmpv6 { THIS_HOST_V6.into() } else { THIS_HOST_V4.into() };
    let destination = match &interest.destination {
        Destination::Within(prefixes) => prefixes.first().map_or(local, |prefix| prefix.addr()),
        Destination::ThisHost | Destination::Anywhere => local,
    };
    let source = match destination {
        IpAddr::V4(_) => Ipv4Addr::from_bits(0xcb00_0000 | source).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(source)).into(),
    };
    Knock {
        time,
        source,
        source_port: 40_000,
        destination,
        destination_port: first_port,
        transport,
        tcp_flags: set,
        hop_limit: 64,
        packet_length: 40,
        tcp_header: (transport == Transport::Tcp).then(|| Box::new(TcpHeader::default())),
        interface: "sample".into(),
        interface_index: 2,
        link: 0,
        direction: Direction::Incoming,
        sighting: None,
        payload: vec![b'x'; interest.detail.payload_limit.min(PAYLOAD)].into(),
    }
}

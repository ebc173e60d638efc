//! Hit: one packet of a knock, as tests write it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use postern_tests::frame;

/// TCP flags that knocks have, by name.
const FLAGS: [(&str, u8); 6] = [
    ("fin", frame::FIN),
    ("syn", frame::SYN),
    ("rst", frame::RST),
    ("psh", 8),
    ("ack", frame::ACK),
    ("urg", 32),
];

/// A packet to one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// Which of a knock's clients sends it.
    pub(super) client: u8,
    pub(super) port: u16,
    /// TCP flags; none for UDP.
    pub(super) flags: Option<u8>,
}

impl Hit {
    /// The hits of a knock: `7000 8000/udp 9000/ack 2:7000`, a SYN if it does not say, and from client 1.
    #[track_caller]
    pub(super) fn all(knock: &str) -> Vec<Self> {
        knock.split_whitespace().map(Self::parse).collect()
    }

    #[track_caller]
    fn parse(text: &str) -> Self {
        let (client, rest) = text.split_once(':').unwrap_or(("1", text));
        let (port, kind) = rest.split_once('/').unwrap_or((rest, "syn"));
        let bit = |name| FLAGS.iter().find(|flag| flag.0 == name).unwrap_or_else(|| panic!("{text}")).1;
        let flags = match kind {
            "udp" => None,
            "none" => Some(0),
            names => Some(names.split('+').map(bit).fold(0, |flags, flag| flags | flag)),
        };
        Self { client: client.parse().expect("a number"), port: port.parse().expect("a port"), flags }
    }

    /// As a frame.
    pub(super) fn frame(self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        // Another source port each time: knocks are by address.
        let (from, to) =
            (SocketAddr::new(source, 40_000 + self.port % 1000), SocketAddr::new(destination, self.port));
        match self.flags {
            Some(flags) => frame::tcp(from, to, flags),
            // Of a length that a fragment may have.
            None => frame::udp(from, to, b"anything"),
        }
    }
}

/// A client's address. No machine has a route to 198.18.0.0/15, which is for tests (RFC 2544), so the server answers nothing.
pub(super) fn client(number: u8, client: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 18, number, client))
}

/// The same over IPv6, and no machine has a route there either.
pub(super) fn client6(number: u8, client: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd98, 0, 0, 0, 0, 0, number.into(), client.into()))
}

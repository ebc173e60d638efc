//! Knock: what a rule may know of one packet.

use std::fmt;
use std::net::IpAddr;
use std::ops::BitOr;

use crate::Timestamp;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knock {
    /// When it was captured. A rule has no other clock.
    pub time: Timestamp,
    /// The source address as the packet claims it: UDP and a lone SYN are easily spoofed.
    /// An IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) stays IPv6, as it was on the wire.
    pub source: IpAddr,
    /// Of a link-local source its zone (RFC 4007), the index of the interface on whose link the sender is: the same address in another zone
    /// is another machine. 0 for any other source, and if the zone is not known. What is remembered is kept by source and zone.
    pub source_zone: u32,
    /// Source port; for ICMP and ICMPv6 the message code.
    pub source_port: u16,
    /// Where it was going.
    pub destination: IpAddr,
    /// Destination port; for ICMP and ICMPv6 the message type.
    pub destination_port: u16,
    /// What carried it.
    pub transport: Transport,
    /// Flags of the TCP header; empty unless the transport is TCP.
    pub tcp_flags: TcpFlags,
    /// IPv4 time to live or IPv6 hop limit, as it arrived.
    pub hop_limit: u8,
    /// Bytes of the IP packet, headers included, as its header says.
    pub packet_length: u32,
    /// The kernel's index of the interface that captured it; 0 if it is not known. It tells interfaces apart, but is no good for settings:
    /// a new start of the machine may number them anew.
    pub interface_index: u32,
    /// Only if [`crate::Interest::tcp_header`] asked for it and the transport is TCP.
    pub tcp_header: Option<TcpHeader>,
    /// The first bytes behind the transport header, at most as many as [`crate::Interest::payload_limit`] asked for.
    pub payload: Vec<u8>,
}

/// What a TCP header says beyond ports and flags (RFC 9293, section 3.1). A client can choose all of it in a single SYN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpHeader {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number. Without the flag ACK it means nothing to TCP, and may be anything.
    pub acknowledgment: u32,
    /// Window as it stands there, without the scale that an option may give it.
    pub window: u16,
    /// Urgent pointer. Without the flag URG it means nothing to TCP, and may be anything.
    pub urgent_pointer: u16,
    /// Options as they were on the wire, padding included; at most 40 bytes.
    pub options: Vec<u8>,
}

/// What carries a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 792.
    Icmp,
    /// RFC 4443.
    Icmpv6,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
        })
    }
}

/// A set of the flag bits of a TCP header (RFC 9293, section 3.1), as they stand in its 14th byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(u8);

impl TcpFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The sender has sent its last byte.
    pub const FIN: Self = Self(0x01);
    /// Opens a connection.
    pub const SYN: Self = Self(0x02);
    /// Breaks a connection.
    pub const RST: Self = Self(0x04);
    /// Hand over what is there.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts; every packet but the first of a connection has it.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// Congestion was met (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// The sender slowed down (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// All flags with their names in lower case, as settings and [`crate::testing`] write them.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("fin", Self::FIN),
        ("syn", Self::SYN),
        ("rst", Self::RST),
        ("psh", Self::PSH),
        ("ack", Self::ACK),
        ("urg", Self::URG),
        ("ece", Self::ECE),
        ("cwr", Self::CWR),
    ];

    /// The flags of this byte of a TCP header.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The byte of a TCP header with these flags.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The flag of this name in lower case, such as `syn`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, flag)| flag)
    }

    /// Whether all flags of `others` are here.
    #[must_use]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether any flag of `others` is here.
    #[must_use]
    pub const fn intersects(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

impl BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

//! Knock: what a rule may know of one packet, and what the host must know besides.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most bytes of payload that a knock carries: what fits an Ethernet frame.
pub const MAX_PAYLOAD: usize = 1500;

/// The most bytes of options that a TCP header has.
pub const MAX_TCP_OPTIONS: usize = 40;

/// One packet, with everything that a rule may know of it. What the host alone needs is [`Knock::interface`], [`Knock::direction`]
/// and [`Knock::sighting`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knock {
    /// When the packet was captured.
    pub time: Timestamp,
    /// The source address, which may be spoofed.
    pub source: IpAddr,
    /// Source port; for ICMP and ICMPv6 the message code.
    pub source_port: u16,
    /// Where it was going.
    pub destination: IpAddr,
    /// Destination port; for ICMP and ICMPv6 the message type.
    pub destination_port: u16,
    /// What carried it.
    pub transport: Transport,
    /// Flags of the TCP header; empty for other transports.
    pub tcp_flags: TcpFlags,
    /// IPv4 time to live or IPv6 hop limit.
    pub hop_limit: u8,
    /// Bytes of the IP packet, headers included, as its header says.
    pub packet_length: u32,
    /// What else the TCP header says; none for other transports, and if no rule asked for it.
    pub tcp_header: Option<Box<TcpHeader>>,
    /// Name of the interface that captured it; `any` for a capture on all of them.
    pub interface: Arc<str>,
    /// Index of the interface that it was captured on, also of a capture on all of them; 0 if it is not known.
    pub interface_index: u32,
    /// Index of the interface that IP sees the packet on (the bridge for its port, the VLAN device for a tagged frame); 0 if it is not known.
    pub link: u32,
    /// Whether it came in or went out there.
    pub direction: Direction,
    /// Identifies copies of it on other interfaces; none if there can be no copies.
    pub sighting: Option<Sighting>,
    /// The first bytes behind the transport header, at most [`MAX_PAYLOAD`].
    pub payload: Box<[u8]>,
}

/// Which way a packet was going when it was captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// To this machine, as far as the interface can tell.
    #[default]
    Incoming,
    /// Away from it: this machine made it or forwards it.
    Outgoing,
}

/// One packet on one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// A keyed hash of its bytes, so that an attacker cannot find another packet with the same one.
    pub fingerprint: u64,
    /// The index of the interface, and which way it was going there; never 0.
    pub interface: u32,
}

/// When a packet was captured: microseconds since 1970-01-01 UTC by the machine's clock.
///
/// Wall-clock time, since rules with one-time codes need it; it may step. Openings live on [`crate::Moment`] instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time and so much more; stays at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; nothing if it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// What carries a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

impl Transport {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Icmp, Self::Icmpv6];

    /// The protocol number in an IP header (IANA "Assigned Internet Protocol Numbers").
    #[must_use]
    pub const fn protocol_number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp => 1,
            Self::Icmpv6 => 58,
        }
    }
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

/// What a TCP header says beyond ports and flags (RFC 9293, section 3.1). It is not checked against any connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpHeader {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number, whether or not the flag ACK is set.
    pub acknowledgment: u32,
    /// Window as it stands there, without any scale.
    pub window: u16,
    /// Urgent pointer, whether or not the flag URG is set.
    pub urgent_pointer: u16,
    /// Options with their padding, at most [`MAX_TCP_OPTIONS`] bytes.
    pub options: Box<[u8]>,
}

/// How much of a packet is read beyond what every rule is shown: each part costs time, so it is read only if a rule asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Bytes of payload, at most [`MAX_PAYLOAD`].
    pub payload_limit: usize,
    /// Whether [`Knock::tcp_header`] is read.
    pub tcp_header: bool,
}

impl Detail {
    /// Nothing of the packet but what every rule is shown.
    pub const LEAST: Self = Self { payload_limit: 0, tcp_header: false };

    /// So much of the payload, and nothing else.
    #[must_use]
    pub const fn payload(limit: usize) -> Self {
        Self { payload_limit: limit, ..Self::LEAST }
    }

    /// So much of a knock's payload, which may have been read for others that want more.
    #[must_use]
    pub fn payload_of(self, knock: &Knock) -> &[u8] {
        &knock.payload[..knock.payload.len().min(self.payload_limit)]
    }

    /// A knock's TCP header, if it is wanted.
    #[must_use]
    pub fn tcp_header_of(self, knock: &Knock) -> Option<&TcpHeader> {
        knock.tcp_header.as_deref().filter(|_| self.tcp_header)
    }

    /// Whatever one of the two asks for.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            payload_limit: self.payload_limit.max(other.payload_limit),
            tcp_header: self.tcp_header || other.tcp_header,
        }
    }
}

/// The flag bits of a TCP header, as they stand in its 14th byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: Self = Self(0x01);
    /// SYN.
    pub const SYN: Self = Self(0x02);
    /// RST.
    pub const RST: Self = Self(0x04);
    /// PSH.
    pub const PSH: Self = Self(0x08);
    /// ACK.
    pub const ACK: Self = Self(0x10);
    /// URG.
    pub const URG: Self = Self(0x20);
    /// ECE (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// CWR (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all flags of `set` are here and none of `clear` is.
    #[must_use]
    pub const fn satisfy(self, set: Self, clear: Self) -> bool {
        self.0 & set.0 == set.0 && self.0 & clear.0 == 0
    }
}

/// The names of those that are set, such as `syn,ack`; nothing if none is.
impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
        let is_set = |bit: &usize| self.0 >> bit & 1 == 1;
        for (n, bit) in (0..NAMES.len()).filter(is_set).enumerate() {
            f.write_str(if n > 0 { "," } else { "" })?;
            f.write_str(NAMES[bit])?;
        }
        Ok(())
    }
}

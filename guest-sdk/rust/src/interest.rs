//! Interest: what a rule asks to see. The host checks it; nothing here does.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::{Knock, TcpFlags, Transport};

/// The most bytes of payload that a rule may ask for.
pub const MAX_PAYLOAD: u32 = 1500;

/// What a rule asks for when it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    pub(crate) watches: Vec<Watch>,
    pub(crate) destination: Destination,
    pub(crate) payload_limit: u32,
    pub(crate) tcp_header: bool,
    pub(crate) memory_format: u32,
}

impl Interest {
    /// These packets, sent to this host, without their payload. 1 to 1024 watches; the host refuses any other number.
    #[must_use]
    pub fn new(watches: impl IntoIterator<Item = Watch>) -> Self {
        Self {
            watches: watches.into_iter().collect(),
            destination: Destination::ThisHost,
            payload_limit: 0,
            tcp_header: false,
            memory_format: 0,
        }
    }

    /// Where the packets must be going; default: [`Destination::ThisHost`].
    #[must_use]
    pub fn destination(self, destination: Destination) -> Self {
        Self { destination, ..self }
    }

    /// Bytes of payload wanted with each knock, at most [`MAX_PAYLOAD`]; default: 0, which is fastest.
    #[must_use]
    pub fn payload_limit(self, bytes: u32) -> Self {
        Self { payload_limit: bytes, ..self }
    }

    /// Asks for what TCP headers say beyond ports and flags: [`crate::Knock::tcp_header`]. Default: not asked for, which is faster.
    #[must_use]
    pub fn tcp_header(self) -> Self {
        Self { tcp_header: true, ..self }
    }

    /// A number for what the rule's memory means; default: 0. When a rule is reloaded with another number, half-finished
    /// knocks start over; with the same number they go on. Give another one when the module or its settings change the meaning.
    #[must_use]
    pub fn memory_format(self, number: u32) -> Self {
        Self { memory_format: number, ..self }
    }
}

/// Packets that a rule asks to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    pub(crate) transport: Transport,
    pub(crate) ports: Ports,
    pub(crate) set: TcpFlags,
    pub(crate) clear: TcpFlags,
}

impl Watch {
    /// TCP packets to this port, or to a range `first..=last`, whatever their flags.
    #[must_use]
    pub fn tcp(ports: impl Into<Ports>) -> Self {
        Self::new(Transport::Tcp, ports)
    }

    /// UDP packets to this port, or to a range `first..=last`.
    #[must_use]
    pub fn udp(ports: impl Into<Ports>) -> Self {
        Self::new(Transport::Udp, ports)
    }

    /// ICMP messages of this type (8 is an echo request), or of a range `first..=last`, 0 to 255.
    #[must_use]
    pub fn icmp(types: impl Into<Ports>) -> Self {
        Self::new(Transport::Icmp, types)
    }

    /// ICMPv6 messages of this type (128 is an echo request), or of a range `first..=last`, 0 to 255.
    #[must_use]
    pub fn icmpv6(types: impl Into<Ports>) -> Self {
        Self::new(Transport::Icmpv6, types)
    }

    /// Packets of any transport.
    #[must_use]
    pub fn new(transport: Transport, ports: impl Into<Ports>) -> Self {
        Self { transport, ports: ports.into(), set: TcpFlags::NONE, clear: TcpFlags::NONE }
    }

    /// Only with all of these flags. No meaning but for TCP.
    #[must_use]
    pub fn with(self, flags: TcpFlags) -> Self {
        Self { set: flags, ..self }
    }

    /// Only with none of these flags. No meaning but for TCP.
    #[must_use]
    pub fn without(self, flags: TcpFlags) -> Self {
        Self { clear: flags, ..self }
    }

    /// Whether a knock is one that this watch asks for. A rule that shares a group with others is shown knocks that only they asked for.
    #[must_use]
    pub fn matches(&self, knock: &Knock) -> bool {
        self.transport == knock.transport
            && (self.ports.first..=self.ports.last).contains(&knock.destination_port)
            && (self.transport != Transport::Tcp
                || knock.tcp_flags.contains(self.set) && !knock.tcp_flags.intersects(self.clear))
    }
}

/// Destination ports, or ICMP message types: a number, or a range `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl From<u16> for Ports {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

impl From<RangeInclusive<u16>> for Ports {
    fn from(ports: RangeInclusive<u16>) -> Self {
        Self { first: *ports.start(), last: *ports.end() }
    }
}

/// Where a packet must be going to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An address of this machine. What most rules want.
    ThisHost,
    /// Anything that the interface captures, other machines' traffic included.
    Anywhere,
    /// An address in one of these prefixes, at most 64.
    Within(Vec<Prefix>),
}

/// All addresses that share their first bits with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub(crate) address: IpAddr,
    pub(crate) length: u8,
}

impl Prefix {
    /// The prefix of this length that holds `address`; bits behind it are cleared. A length beyond the address's own, 32 or
    /// 128 bits, is cut to that.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Self {
        match address {
            IpAddr::V4(address) => {
                let length = length.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                Self { address: IpAddr::V4((address.to_bits() & mask).into()), length }
            }
            IpAddr::V6(address) => {
                let length = length.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                Self { address: IpAddr::V6((address.to_bits() & mask).into()), length }
            }
        }
    }

    /// The first of them.
    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.address
    }

    /// Whether `address` is one of them. IPv4 addresses are in no IPv6 prefix.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && Self::new(address, self.length) == *self
    }
}

/// The one address.
impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self::new(address, 128)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_what_shares_its_bits() {
        let check = |prefix: &str, length: u8, address: &str, expected: bool| {
            let prefix = Prefix::new(prefix.parse().unwrap(), length);
            assert_eq!(prefix.contains(address.parse().unwrap()), expected, "{prefix:?} {address}");
        };
        check("10.1.2.3", 8, "10.255.0.1", true);
        check("10.1.2.3", 8, "11.1.2.3", false);
        check("10.1.2.3", 0, "203.0.113.7", true);
        check("10.1.2.3", 0, "::1", false);
        check("10.1.2.3", 200, "10.1.2.3", true);
        check("10.1.2.3", 32, "10.1.2.2", false);
        check("2001:db8::1", 64, "2001:db8::ffff", true);
        check("2001:db8::1", 128, "2001:db8::", false);
        check("::", 0, "ffff::", true);
    }
}

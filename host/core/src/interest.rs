//! Interest: what a rule asks to see.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::knock::{Detail, Knock, TcpFlags, Transport};

/// The name that stands for all interfaces of the machine.
pub const ANY_INTERFACE: &str = "any";

/// What a rule asks for when it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Packets to be shown: those that any of these matches.
    pub watches: Vec<Watch>,
    /// Where the packets must be going.
    pub destination: Destination,
    /// What is wanted of each packet beyond what every rule is shown.
    pub detail: Detail,
    /// The meaning of the rule's remembered bytes; a rule that comes back with another number starts without memory.
    pub memory_format: u32,
}

/// A range of ports on one transport, with requirements on TCP flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// What carries the packet.
    pub transport: Transport,
    /// First destination port (ICMP: message type).
    pub first_port: u16,
    /// Last destination port, included; not below the first.
    pub last_port: u16,
    /// TCP flags that must be set.
    pub set: TcpFlags,
    /// TCP flags that must be clear.
    pub clear: TcpFlags,
}

impl Watch {
    /// Whether this watch asks for the packet, its destination address aside.
    #[must_use]
    pub fn matches(&self, knock: &Knock) -> bool {
        self.transport == knock.transport
            && (self.first_port..=self.last_port).contains(&knock.destination_port)
            && (self.transport != Transport::Tcp || knock.tcp_flags.satisfy(self.set, self.clear))
    }
}

/// Where a packet must be going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An address of this machine.
    ThisHost,
    /// Whatever the interface captures.
    Anywhere,
    /// An address in one of these prefixes.
    Within(Vec<IpNet>),
}

impl Destination {
    /// Whether a packet to `address` is meant; `is_local` says whether an address is one of this machine's.
    pub fn includes(&self, address: IpAddr, is_local: impl FnOnce(IpAddr) -> bool) -> bool {
        match self {
            Self::ThisHost => is_local(address),
            Self::Anywhere => true,
            Self::Within(prefixes) => prefixes.iter().any(|prefix| prefix.contains(&address)),
        }
    }
}

//! FirstPacket: the first packet of a connection to a port and the answer to it, with what is known of them whoever sends the first.

use std::net::IpAddr;

use postern_core::GuardProtocol;

use super::bits::{Byte, known};
use super::hook::Hook;

/// Flags of TCP.
const SYN: u8 = 2;
const ACK: u8 = 1 << 4;
/// From which port on clients send: what systems take by themselves has the first bit set.
pub(super) const CLIENTS: u16 = 1 << 15;
/// RTN_UNICAST and RTN_LOCAL.
const ELSEWHERE: u32 = 1;
const HERE: u32 = 2;
/// NF_CT_STATE_BIT, as nftables and iptables write the state of a connection, of IP_CT_NEW and IP_CT_ESTABLISHED, and of what
/// belongs to none.
const NEW: u16 = 1 << 3;
const ESTABLISHED: u16 = 1 << 1;
const INVALID: u16 = 1 << 0;

/// The first packet of a connection, from anywhere but this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstPacket {
    /// By which interface it comes, as IP sees it; the answer leaves there.
    pub interface: String,
    /// That interface's index.
    pub link: u32,
    /// Whether it is one of IPv6.
    pub is_ipv6: bool,
    /// Who sends it; none: anybody, and then what asks for the source may apply or not.
    pub source: Option<IpAddr>,
    /// What carries it.
    pub protocol: GuardProtocol,
    /// To which port it was sent.
    pub dialled: u16,
    /// To which port it goes behind a redirection; `dialled` if there is none.
    pub arrives_at: u16,
    /// To which machine a redirection leads it; none: it is for this one.
    pub forwarded_to: Option<IpAddr>,
}

/// A packet's bytes and what the kernel knows beside them, at one hook.
pub(super) struct Headers {
    pub(super) network: Vec<Byte>,
    pub(super) transport: Vec<Byte>,
    pub(super) protocol: u8,
    pub(super) is_ipv6: bool,
    /// Where it came in, and where it goes out; none if that is not known.
    pub(super) arrived_by: Option<PacketLink>,
    pub(super) leaves_by: Option<PacketLink>,
    pub(super) dialled: u16,
    /// None: the client's, [`CLIENTS`] or a higher one.
    pub(super) source_port: Option<u16>,
    pub(super) port: Option<u16>,
    /// Of TCP.
    pub(super) flags: u8,
    /// Whether it is the answer to the first packet.
    pub(super) is_answer: bool,
    /// Whether it belongs to a connection already.
    pub(super) is_tracked: bool,
    /// Whether a redirection has changed where the first packet goes.
    pub(super) is_redirected: bool,
    /// What kind of address the destination is (RTN_); none if that is not known.
    pub(super) destination: Option<u32>,
}

/// An interface that a packet passes.
#[derive(Clone, Copy)]
pub(super) struct PacketLink {
    pub(super) name: [u8; 16],
    pub(super) index: u32,
}

impl FirstPacket {
    /// What a chain at this hook sees of it; none if it does not come there.
    pub(super) fn headers(&self, hook: Hook, priority: i32) -> Option<Headers> {
        let is_behind = hook.is_behind_redirections(priority);
        let is_here = match hook {
            Hook::Prerouting => true,
            Hook::Input => self.forwarded_to.is_none(),
            Hook::Forward => self.forwarded_to.is_some(),
            Hook::Output | Hook::Postrouting => false,
        };
        let port = if is_behind { self.arrives_at } else { self.dialled };
        let to = self.forwarded_to.filter(|_| is_behind);
        is_here.then(|| Headers {
            network: self.network([self.source, to]),
            transport: self.transport([None, Some(port)], SYN),
            arrived_by: Some(self.packet_link()),
            leaves_by: None,
            source_port: None,
            port: Some(port),
            flags: SYN,
            is_answer: false,
            is_tracked: hook.is_tracked(priority),
            is_redirected: is_behind && self.is_redirected(),
            destination: Some(if hook == Hook::Forward { ELSEWHERE } else { HERE }),
            ..self.common()
        })
    }

    /// The same of the answer to it.
    pub(super) fn answer(&self, hook: Hook, priority: i32) -> Option<Headers> {
        let is_here = match hook {
            Hook::Prerouting | Hook::Input => false,
            Hook::Forward => self.forwarded_to.is_some(),
            Hook::Output => self.forwarded_to.is_none(),
            Hook::Postrouting => true,
        };
        let is_changed_back = hook.is_changed_back(priority);
        let port = if is_changed_back { self.dialled } else { self.arrives_at };
        let from = self.forwarded_to.filter(|_| !is_changed_back);
        is_here.then(|| Headers {
            network: self.network([from, self.source]),
            transport: self.transport([Some(port), None], SYN | ACK),
            arrived_by: None,
            leaves_by: Some(self.packet_link()),
            source_port: Some(port),
            port: None,
            flags: SYN | ACK,
            is_answer: true,
            is_tracked: hook.is_tracked(priority),
            is_redirected: self.is_redirected(),
            destination: None,
            ..self.common()
        })
    }

    /// What is the same at all hooks.
    fn common(&self) -> Headers {
        Headers {
            network: Vec::new(),
            transport: Vec::new(),
            protocol: self.protocol.number(),
            is_ipv6: self.is_ipv6,
            arrived_by: None,
            leaves_by: None,
            dialled: self.dialled,
            source_port: None,
            port: None,
            flags: 0,
            is_answer: false,
            is_tracked: false,
            is_redirected: false,
            destination: None,
        }
    }

    fn is_redirected(&self) -> bool {
        self.arrives_at != self.dialled || self.forwarded_to.is_some()
    }

    fn packet_link(&self) -> PacketLink {
        let mut name = [0; 16];
        let bytes = self.interface.as_bytes();
        let length = bytes.len().min(name.len() - 1);
        name[..length].copy_from_slice(&bytes[..length]);
        PacketLink { name, index: self.link }
    }

    /// A header of TCP or UDP with what is known of its ports.
    fn transport(&self, ports: [Option<u16>; 2], flags: u8) -> Vec<Byte> {
        let mut bytes = vec![Byte::UNKNOWN; if self.protocol == GuardProtocol::Tcp { 20 } else { 8 }];
        let [first, _] = CLIENTS.to_be_bytes();
        for (place, port) in bytes.chunks_exact_mut(2).zip(ports) {
            match port {
                Some(port) => place.copy_from_slice(&known(&port.to_be_bytes())),
                None => place[0] = Byte { value: first, known: first },
            }
        }
        if self.protocol == GuardProtocol::Tcp {
            bytes[13] = Byte::of(flags);
        }
        bytes
    }

    /// A header of IP with what is known of its addresses.
    fn network(&self, addresses: [Option<IpAddr>; 2]) -> Vec<Byte> {
        let (length, version, protocol_at, addresses_at) =
            if self.is_ipv6 { (40, 0x60, 6, 8) } else { (20, 0x40, 9, 12) };
        let mut bytes = vec![Byte::UNKNOWN; length];
        bytes[0] = Byte { value: version, known: 0xf0 };
        bytes[protocol_at] = Byte::of(self.protocol.number());
        let width = if self.is_ipv6 { 16 } else { 4 };
        for (place, address) in bytes[addresses_at..].chunks_exact_mut(width).zip(addresses) {
            match address {
                Some(IpAddr::V4(address)) if !self.is_ipv6 => {
                    place.copy_from_slice(&known(&address.octets()));
                }
                Some(IpAddr::V6(address)) if self.is_ipv6 => {
                    place.copy_from_slice(&known(&address.octets()));
                }
                _ => {}
            }
        }
        bytes
    }
}

impl Headers {
    /// The state of the connection, a bit.
    pub(super) const fn state(&self) -> u16 {
        match (self.is_tracked, self.is_answer) {
            (false, _) => INVALID,
            (true, false) => NEW,
            (true, true) => ESTABLISHED,
        }
    }
}

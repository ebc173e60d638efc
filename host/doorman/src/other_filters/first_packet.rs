//! FirstPacket: the first packet of a connection to a port, with what is known of it whoever sends it.

use std::net::IpAddr;

use postern_core::GuardProtocol;

use super::bits::{Byte, known};

/// The SYN of TCP.
const SYN: u8 = 2;
/// RTN_UNICAST and RTN_LOCAL.
const ELSEWHERE: u32 = 1;
const HERE: u32 = 2;

/// The first packet of a connection, from anywhere but this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstPacket {
    /// By which interface it comes, as IP sees it.
    pub interface: String,
    /// That interface's index.
    pub link: u32,
    /// Whether it is one of IPv6.
    pub is_ipv6: bool,
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
    pub(super) interface: [u8; 16],
    pub(super) link: u32,
    pub(super) dialled: u16,
    pub(super) port: u16,
    /// Whether a redirection has changed where it goes.
    pub(super) is_redirected: bool,
    /// What kind of address the destination is (RTN_).
    pub(super) destination: u32,
}

impl FirstPacket {
    /// What a chain sees of it, behind redirections or before.
    pub(super) fn headers(&self, is_redirected: bool, is_forwarded: bool) -> Headers {
        let port = if is_redirected { self.arrives_at } else { self.dialled };
        let changed = is_redirected && (self.arrives_at != self.dialled || self.forwarded_to.is_some());
        let [high, low] = port.to_be_bytes();
        let mut transport = vec![Byte::UNKNOWN; if self.protocol == GuardProtocol::Tcp { 20 } else { 8 }];
        transport[2..4].copy_from_slice(&known(&[high, low]));
        if self.protocol == GuardProtocol::Tcp {
            transport[13] = Byte::of(SYN);
        }
        let mut interface = [0; 16];
        let name = self.interface.as_bytes();
        let length = name.len().min(interface.len() - 1);
        interface[..length].copy_from_slice(&name[..length]);
        Headers {
            network: self.network(is_redirected),
            transport,
            protocol: self.protocol.number(),
            is_ipv6: self.is_ipv6,
            interface,
            link: self.link,
            dialled: self.dialled,
            port,
            is_redirected: changed,
            destination: if is_forwarded { ELSEWHERE } else { HERE },
        }
    }

    fn network(&self, is_redirected: bool) -> Vec<Byte> {
        let (length, version, protocol_at, address_at) =
            if self.is_ipv6 { (40, 0x60, 6, 24) } else { (20, 0x40, 9, 16) };
        let mut bytes = vec![Byte::UNKNOWN; length];
        bytes[0] = Byte { value: version, known: 0xf0 };
        bytes[protocol_at] = Byte::of(self.protocol.number());
        let address = self.forwarded_to.filter(|_| is_redirected);
        match address {
            Some(IpAddr::V4(address)) if !self.is_ipv6 => {
                bytes[address_at..].copy_from_slice(&known(&address.octets()));
            }
            Some(IpAddr::V6(address)) if self.is_ipv6 => {
                bytes[address_at..].copy_from_slice(&known(&address.octets()));
            }
            _ => {}
        }
        bytes
    }
}

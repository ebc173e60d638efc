//! Listeners: the ports at which programs of this machine wait for clients, as `/proc/net` lists them. It connects to none.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_core::GuardProtocol;

/// All that wait at one moment, in the network that this thread is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listeners(pub(crate) Vec<ListeningSocket>);

/// Where one waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListeningSocket {
    pub(crate) protocol: GuardProtocol,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
}

impl Listeners {
    /// Reads them; none if `/proc` is not there.
    pub(crate) fn read() -> Self {
        let mut all = Vec::new();
        for protocol in [GuardProtocol::Tcp, GuardProtocol::Udp] {
            for version in ["", "6"] {
                let sockets = fs::read_to_string(format!("/proc/thread-self/net/{protocol}{version}"));
                all.extend(listeners(protocol, &sockets.unwrap_or_default()));
            }
        }
        Self(all)
    }

    /// Whether a program waits at this port, at whatever address.
    pub(crate) fn serve(&self, protocol: GuardProtocol, port: u16) -> bool {
        self.at(protocol, port).next().is_some()
    }

    /// Whether one does at an address to which other machines can connect.
    pub(crate) fn serve_others(&self, protocol: GuardProtocol, port: u16) -> bool {
        self.at(protocol, port).any(|listener| !listener.address.is_loopback())
    }

    fn at(&self, protocol: GuardProtocol, port: u16) -> impl Iterator<Item = &ListeningSocket> {
        self.0.iter().filter(move |listener| (listener.protocol, listener.port) == (protocol, port))
    }
}

/// `sockets` as the kernel lists them: a number, the local address and port, the remote ones, the state. A server's have no remote port.
fn listeners(protocol: GuardProtocol, sockets: &str) -> impl Iterator<Item = ListeningSocket> {
    sockets.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_whitespace().skip(1);
        let (address, port) = words.next()?.rsplit_once(':')?;
        let is_server = words.next()?.ends_with(":0000");
        let listener = ListeningSocket {
            protocol,
            address: self::address(address)?,
            port: u16::from_str_radix(port, 16).ok()?,
        };
        (is_server && listener.port != 0).then_some(listener)
    })
}

/// One word of four bytes, or four of them, each as a number of this machine.
fn address(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for at in (0..text.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const TCP: GuardProtocol = GuardProtocol::Tcp;

    #[test]
    fn servers_are_seen() {
        for (address, is_for_others) in
            [("127.0.0.1:0", false), ("0.0.0.0:0", true), ("[::1]:0", false), ("[::]:0", true)]
        {
            // A machine may have no IPv6.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            let found = Listeners::read();
            assert!(found.serve(TCP, port), "{address}: {found:?}");
            assert_eq!(found.serve_others(TCP, port), is_for_others, "{address}: {found:?}");
            drop(listener);
            assert!(!Listeners::read().serve(TCP, port), "{address}");
        }
    }

    #[test]
    fn what_is_no_server_is_left_out() {
        let sockets = "  sl  local_address rem_address   st\n\
            0: 0100007F:0016 00000000:0000 0A\n\
            1: 0100007F:0017 0100007F:8000 01\n\
            2: 0000000000000000FFFF00000100007F:0018 00000000000000000000000000000000:0000 0A\n\
            3: nonsense\n";
        if cfg!(target_endian = "big") {
            return;
        }
        let found: Vec<_> = listeners(TCP, sockets).map(|it| (it.address, it.port)).collect();
        assert_eq!(found, [(Ipv4Addr::LOCALHOST.into(), 0x16), (Ipv4Addr::LOCALHOST.into(), 0x18)]);
    }
}

//! Connection: both ends of a TCP connection of this machine.

use std::net::{IpAddr, SocketAddr};

/// A TCP connection of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Connection {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// The address as it is on the wire: a dual-stack socket shows an IPv4 address as an IPv4-mapped IPv6 one.
pub(crate) fn on_the_wire(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

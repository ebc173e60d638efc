//! Connection: both ends of a TCP connection of this machine.

use std::net::{IpAddr, SocketAddr};

/// A TCP connection of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Connection {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// An IPv4 address that a socket of both families shows as one of IPv6, as what it is on the wire.
pub(crate) fn on_the_wire(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

//! Parking: a packet socket that is open for later sees no packet, and no packet sees it.
//!
//! A filter that rejects everything would do, but the kernel runs it for each packet of the machine, and makes a copy of each that leaves:
//! 400 ns more for one over loopback, of 3.5 us. A socket of a protocol that nobody speaks is not even looked at.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use nix::sys::socket::{SockaddrStorage, bind, getsockname};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

/// Every protocol (ETH_P_ALL in linux/if_ether.h).
const EVERY: u16 = 0x0003;
/// A number for local experiments (IEEE 802, local experimental Ethertype 1). What comes with it all the same is rejected by the filter.
const NOBODY: u16 = 0x88b5;

/// Addresses to bind a packet socket to: those of all interfaces, with a protocol.
pub(super) struct Parking {
    every: SockaddrStorage,
    nobody: SockaddrStorage,
}

impl Parking {
    /// # Errors
    /// If this process may not open packet sockets.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { every: address(EVERY)?, nobody: address(NOBODY)? })
    }

    /// From now on the socket, which sees all interfaces, sees no packet.
    pub(super) fn park(&self, socket: &impl AsFd) -> io::Result<()> {
        Ok(bind(socket.as_fd().as_raw_fd(), &self.nobody)?)
    }

    /// From now on it sees those that its filter passes.
    pub(super) fn drive_off(&self, socket: &impl AsFd) -> io::Result<()> {
        Ok(bind(socket.as_fd().as_raw_fd(), &self.every)?)
    }
}

/// No safe code makes such an address, but the kernel says that of a socket.
fn address(protocol: u16) -> io::Result<SockaddrStorage> {
    let protocol = NonZeroU32::new(u32::from(protocol.to_be())).map(Protocol::from_raw);
    let socket: OwnedFd =
        socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol)?;
    Ok(getsockname(socket.as_raw_fd())?)
}

/// The index of the interface that a packet socket is bound to, and its kind of hardware (ARPHRD in linux/if_arp.h). None if it is not, or
/// no longer: the kernel unbinds it when the interface goes, for good.
pub(super) fn bound_to(socket: &impl AsFd) -> Option<(u32, u16)> {
    let address = getsockname::<SockaddrStorage>(socket.as_fd().as_raw_fd()).ok()?;
    let link = address.as_link_addr()?;
    // Without an interface it is -1, which nix makes a very large number of.
    let index = u32::try_from(link.ifindex()).ok().filter(|index| *index != 0)?;
    Some((index, link.hatype()))
}

//! Packet options: what libpcap sets on a packet socket only when it opens it, or never (linux/if_packet.h). None asks for a capability.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::SetSockOpt as _;
use nix::{libc, setsockopt_impl, sockopt_impl};

sockopt_impl!(
    /// Adds a way in which an interface receives, for as long as both it and the socket are there.
    AddMembership,
    SetOnly,
    libc::SOL_PACKET,
    libc::PACKET_ADD_MEMBERSHIP,
    libc::packet_mreq
);
sockopt_impl!(
    /// Takes one away.
    DropMembership,
    SetOnly,
    libc::SOL_PACKET,
    libc::PACKET_DROP_MEMBERSHIP,
    libc::packet_mreq
);
sockopt_impl!(
    /// Whether the socket is passed over when this machine sends.
    IgnoreOutgoing,
    SetOnly,
    libc::SOL_PACKET,
    libc::PACKET_IGNORE_OUTGOING,
    bool
);

/// Makes the interface of this index show frames for other hardware addresses, or no longer because of this socket.
///
/// # Errors
/// If it is gone, or does not have this mode in the way that is asked for.
pub(super) fn set_promiscuous(socket: &impl AsFd, index: u32, is_wanted: bool) -> io::Result<()> {
    let mr_ifindex = index.try_into().map_err(io::Error::other)?;
    let mr_type = libc::PACKET_MR_PROMISC.try_into().map_err(io::Error::other)?;
    let request = libc::packet_mreq { mr_ifindex, mr_type, mr_alen: 0, mr_address: [0; 8] };
    let done =
        if is_wanted { AddMembership.set(socket, &request) } else { DropMembership.set(socket, &request) };
    Ok(done?)
}

/// Keeps what this machine sends from the socket, or not. Where nothing else listens to it, the kernel makes no copy of it then. The filter
/// and libpcap look at the direction as well, so nothing depends on this: kernels before 4.20 do not have it.
pub(super) fn ignore_outgoing(socket: &impl AsFd, is_ignored: bool) {
    let _ = IgnoreOutgoing.set(socket, &is_ignored);
}

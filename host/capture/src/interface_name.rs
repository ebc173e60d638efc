//! Interface names: which name the kernel has for an index now.
//!
//! The socket that is asked stays open for the life of the process, since this is asked for log lines of confined processes, too.

use std::sync::OnceLock;

use rustix::fd::OwnedFd;
use rustix::net::netdevice::index_to_name;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// The name of the interface with this index; none if it is gone.
pub(crate) fn of(index: u32) -> Option<String> {
    index_to_name(socket()?, index).ok()
}

/// Opens the socket, if it is not open: what may open none later calls this first.
pub(crate) fn prepare() {
    let _ = socket();
}

/// Any socket will do; this kind needs the least.
fn socket() -> Option<&'static OwnedFd> {
    static SOCKET: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let open = || socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok();
    SOCKET.get_or_init(open).as_ref()
}

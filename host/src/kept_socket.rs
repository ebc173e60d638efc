//! KeptSocket: the socket that owns the table with the guarded ports, which systemd keeps from one run of the daemon to the next.
//!
//! As long as any process holds it no other program can remove or change the table, so that a flush of the ruleset while the daemon starts
//! again takes nothing away.

use std::os::fd::AsFd;

use postern_doorman::OwnerSocket;

use crate::systemd::{ServiceManager, take_stored};

/// The name under which systemd keeps it.
pub const NAME: &str = "postern-table";

/// The socket that was kept, or a new one, which is kept from now on; none if none can be opened. To be called once, by the process that
/// systemd started.
#[must_use]
pub fn take_or_open(manager: &ServiceManager) -> Option<OwnerSocket> {
    let stored = take_stored().unwrap_or_default();
    let kept = stored.into_iter().find(|(name, _)| name == NAME);
    if let Some(socket) = kept.and_then(|(_, socket)| OwnerSocket::adopt(socket).ok()) {
        return Some(socket);
    }
    // One that cannot be used would own the table all the same, and nobody could guard.
    manager.forget(NAME);
    let socket = OwnerSocket::open().ok()?;
    if let Ok(copy) = socket.copy() {
        // Else it ends with this process, as without systemd.
        let _ = manager.store(NAME, copy.as_fd());
    }
    Some(socket)
}

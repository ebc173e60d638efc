//! OwnerSocket: the socket that owns the table. The table is owned for as long as any process holds this socket, whether that process uses
//! it or not.

use std::io;
use std::os::fd::OwnedFd;

use crate::socket::Socket;

/// A socket to nf_tables that a doorman works with, and by which the kernel knows the table's owner.
pub struct OwnerSocket(pub(crate) Socket);

impl OwnerSocket {
    /// A new one, in the network namespace of this thread.
    ///
    /// # Errors
    /// If the kernel has no nf_tables, or too many files are open.
    pub fn open() -> io::Result<Self> {
        Socket::open().map(Self)
    }

    /// That of another doorman, which has ended, in whatever state it left it. If it is of no use, a new one: it can own the table once
    /// nobody holds the other any more.
    ///
    /// # Errors
    /// As of [`OwnerSocket::open`].
    pub fn adopt(socket: OwnedFd) -> io::Result<Self> {
        Socket::adopt(socket).map(Self).or_else(|_| Self::open())
    }

    /// The same socket once more, for a process that does nothing but hold it, and pass it to the next doorman.
    ///
    /// # Errors
    /// If too many files are open.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        self.0.copy()
    }
}

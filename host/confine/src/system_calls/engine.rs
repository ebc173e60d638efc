//! The engine's list: packet rings, compiled code from files, its database, its log.

use nix::libc::*;

use super::call::{Call, allow, allow_if_or_fail, bits, fail, is};
use super::groups;

/// All of it.
pub(super) const LIST: &[&[Call]] = &[
    groups::DATA,
    CODE,
    groups::THREADS,
    groups::SIGNALS,
    groups::TIME,
    groups::OPEN_DESCRIPTORS,
    groups::OPEN_SOCKETS,
    groups::RUNTIME,
    groups::SELF,
    groups::READ_FILES,
    groups::NO_STRUCTURED_OPEN,
    groups::NO_CHANGES,
    groups::NO_MEMORY_FILES,
    SOCKETS,
    DATABASE,
    groups::PROVED,
];

/// Compiled code is mapped from a file and made executable.
const CODE: &[Call] = &[
    allow(SYS_mmap),
    allow(SYS_mprotect),
    fail(SYS_pkey_mprotect, EACCES),
    // Code that one thread wrote is seen by the others.
    allow(SYS_membarrier),
    // Are pages of a pool in memory.
    allow(SYS_mincore),
];

/// The bits of a socket's type that say what it is; the others say how it is opened.
const KIND: u32 = 0xf;

/// An open packet socket is bound anew; the kernel is asked about interfaces.
const SOCKETS: &[Call] = &[
    allow(SYS_bind),
    allow_if_or_fail(
        SYS_socket,
        &[
            // The name of an interface is asked for over any socket.
            &[is(0, AF_UNIX.cast_unsigned()), bits(1, KIND, SOCK_DGRAM.cast_unsigned())],
            // Addresses and links of this machine, to be read: a change needs a capability.
            &[is(0, AF_NETLINK.cast_unsigned()), is(2, NETLINK_ROUTE.cast_unsigned())],
        ],
        EPERM,
    ),
    fail(SYS_connect, EPERM),
    // Clients of the control socket.
    allow(SYS_accept4),
];

/// The database in an open file.
const DATABASE: &[Call] =
    &[allow(SYS_ftruncate), allow(SYS_fallocate), allow(SYS_fdatasync), allow(SYS_fsync), allow(SYS_flock)];

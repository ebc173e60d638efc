//! The engine's list: packet rings, compiled code from files, its database, its log.

use nix::libc::*;

use super::call::{Call, Test, allow, allow_if_or_fail, fail, is};
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
    PRIORITY,
    groups::NO_CHANGES,
    SOCKETS,
    DATABASE,
    groups::PROVED,
];

/// Compiled code is mapped from a file and made executable.
const CODE: &[Call] = &[
    allow(SYS_mmap),
    allow(SYS_mprotect),
    fail(SYS_pkey_mprotect, EACCES),
    // The first contents of a guest's memory, shared by all its instances: kept in a file without a name.
    allow(SYS_memfd_create),
    // Code that one thread wrote is seen by the others.
    allow(SYS_membarrier),
    // Are pages of a pool in memory.
    allow(SYS_mincore),
];

/// Addresses and links of this machine, to be read: a change needs a capability. Followed by a thread, which starts behind the confinement.
const ROUTE: &[&[Test]] = &[&[is(0, AF_NETLINK.cast_unsigned()), is(2, NETLINK_ROUTE.cast_unsigned())]];

/// An open packet socket is bound anew; the kernel is asked about interfaces. No UNIX socket: with one of datagrams every service that has a
/// path could be written to.
const SOCKETS: &[Call] = &[
    allow(SYS_bind),
    allow_if_or_fail(SYS_socket, ROUTE, EPERM),
    fail(SYS_connect, EPERM),
    // Clients of the control socket, and of metrics.
    allow(SYS_accept4),
];

/// A thread gives way to the others of this process. Only a capability lets it take precedence.
const PRIORITY: &[Call] = &[allow_if_or_fail(SYS_setpriority, &[&[is(0, PRIO_PROCESS), is(1, 0)]], EPERM)];

/// The database in an open file.
const DATABASE: &[Call] =
    &[allow(SYS_ftruncate), allow(SYS_fallocate), allow(SYS_fdatasync), allow(SYS_fsync), allow(SYS_flock)];

//! The doorman's list: netlink on the sockets that it has.

use nix::libc::*;

use super::call::{Call, Test, allow, allow_if_or_fail, is};
use super::groups;

/// All of it.
pub(super) const LIST: &[&[Call]] = &[
    groups::DATA,
    groups::NO_CODE,
    groups::THREADS,
    groups::SIGNALS,
    groups::TIME,
    groups::OPEN_DESCRIPTORS,
    groups::OPEN_SOCKETS,
    groups::RUNTIME,
    groups::SELF,
    groups::NO_FILES,
    groups::NO_CHANGES,
    groups::NO_MEMORY_FILES,
    groups::PROVED,
    NETLINK,
];

/// The kernel's packet filter, its lists of sockets and of interfaces. What may be done with one is for CAP_NET_ADMIN to say, which this
/// process has.
const FAMILIES: &[&[Test]] = &[
    &[IS_NETLINK, is(2, NETLINK_NETFILTER.cast_unsigned())],
    &[IS_NETLINK, is(2, NETLINK_SOCK_DIAG.cast_unsigned())],
    &[IS_NETLINK, is(2, NETLINK_ROUTE.cast_unsigned())],
];
const IS_NETLINK: Test = is(0, AF_NETLINK.cast_unsigned());

/// Sockets are opened anew when they are out of step with the kernel.
const NETLINK: &[Call] = &[
    allow_if_or_fail(SYS_socket, FAMILIES, EPERM),
    allow(SYS_bind),
    // To the kernel: no socket of another family can be had, and those that were handed over are connected.
    allow(SYS_connect),
];

//! The doorman's list: netlink on the sockets that it has.

use nix::libc::*;

use super::call::{Call, allow};
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
    groups::NO_SOCKETS,
    groups::PROVED,
    OWN,
];

const OWN: &[Call] = &[
    // A netlink socket that was handed over may not be bound yet.
    allow(SYS_bind),
];

//! The list of a compiler: bytes in, bytes out.

use super::call::Call;
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
];

//! The list of a compiler: bytes in, bytes out.

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
    RESULT,
];

/// What was compiled is handed over as a file without a name. It cannot be executed here: nothing can.
const RESULT: &[Call] = &[allow(SYS_memfd_create), allow(SYS_ftruncate)];

//! The list of a reader: opens files for reading, hands over what it read.

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
    groups::READ_FILES,
    BENEATH,
    groups::NO_CHANGES,
    groups::NO_MEMORY_FILES,
    groups::NO_SOCKETS,
    groups::PROVED,
];

const BENEATH: &[Call] = &[
    // Beneath a folder only. Its flags stand in memory, where a filter cannot look: that nothing is written is for Landlock to say, and for
    // the user that it runs as.
    allow(SYS_openat2),
    // Into its folder, and to have a descriptor that is open already told of changes there. What it can name it could also open.
    allow(SYS_fchdir),
    allow(SYS_inotify_add_watch),
];

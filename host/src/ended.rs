//! Ended: how a daemon ends, and what is called when it has begun.

use crate::exit::Exit;

/// How the daemon ended, and which signal made it end.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) signal: Option<i32>,
}

/// Called once, when everything runs and every interface has been tried, with or without success: everything about the start has been
/// reported. The daemon ends if it returns false.
pub(crate) type Tried = Box<dyn FnOnce() -> bool + Send>;

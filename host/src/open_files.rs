//! Open files: how many a process that runs rules may have. It sets its own limit, and no other process's.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many as are of use: a module takes one as long as it is loaded, and there are at most 12,288 instances. Commands that one process starts
/// inherit it, and some programs close every number below it.
const MOST: u64 = 65_536;

/// Raises this process's limit to as much as it may, for each module takes an open file: systemd and shells give 1,024 to begin with, because
/// programs that use `select` can deal with no more.
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(MOST, |maximum| maximum.min(MOST));
    if current.is_some_and(|current| current < wanted) {
        // If it is refused, the first module that is too much says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

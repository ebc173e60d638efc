//! Inotify: whether the daemon will notice that its files change.

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::finding::{Finding, Looked};

pub(super) fn look() -> Looked {
    Ok(judge(attempt()))
}

/// Watches a folder, as the daemon would, for a moment.
fn attempt() -> Result<(), Errno> {
    let watching = inotify::init(CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watching, "/", WatchFlags::DELETE_SELF).map(drop)
}

fn judge(attempt: Result<(), Errno>) -> Vec<Finding> {
    let limit = match attempt {
        Ok(()) => return Vec::new(),
        Err(Errno::MFILE) => "fs.inotify.max_user_instances",
        Err(Errno::NOSPC) => "fs.inotify.max_user_watches",
        Err(errno) => {
            return vec![Finding::problem(
                format!("files cannot be watched ({errno}): the daemon takes a change only at SIGHUP"),
                "reload by hand, with `postern reload`",
            )];
        }
    };
    vec![Finding::problem(
        format!("{limit} is used up: the daemon takes a change of its files only at SIGHUP"),
        format!("raise it: `sysctl {limit}`"),
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_is_named() {
        assert_eq!(judge(Ok(())), []);
        for (errno, limit) in [(Errno::MFILE, "max_user_instances"), (Errno::NOSPC, "max_user_watches")] {
            let found = judge(Err(errno));
            assert!(found[0].what.contains(limit) && found[0].remedy.contains(limit), "{found:?}");
        }
        assert!(judge(Err(Errno::PERM))[0].what.contains("cannot be watched"));
    }
}

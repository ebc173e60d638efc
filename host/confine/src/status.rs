//! What the kernel itself says of this process: `/proc/self/status`, opened while files can still be opened and read again later.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// More than the kernel writes there.
const MOST_BYTES: usize = 16 * 1024;

/// The open file. It stays readable after a change of user, under Landlock and under a list of system calls.
pub(crate) struct Status(File);

impl Status {
    /// `None` where no `/proc` is mounted.
    pub(crate) fn open() -> Option<Self> {
        // Not `self`: a file of the thread, not of the process, is what seccomp and capabilities are told by.
        File::open("/proc/thread-self/status").ok().map(Self)
    }

    /// What stands behind a name, such as `Seccomp`, now.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        let mut bytes = vec![0; MOST_BYTES];
        let length = self.0.read_at(&mut bytes, 0).ok()?;
        let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_this_process_is() {
        let status = Status::open().unwrap();
        assert_eq!(status.value("Pid"), Some(rustix::thread::gettid().as_raw_pid().to_string()));
        assert_eq!(status.value("Seccomp"), Some("0".to_owned()));
        // A part of a name is no name.
        assert_eq!(status.value("Secc"), None);
    }
}

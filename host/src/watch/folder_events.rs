//! FolderEvents: what has happened in a folder since it was last looked at, of which not more is kept than fits into a look.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use postern_config::is_rule_file;
use rustix::fs::inotify::{self, ReadFlags};
use rustix::io::{Errno, read};

/// Buffers of events that are looked at one by one: hundreds of files that are copied at once. Of what comes behind it is known that it was there.
const MOST_LOOKED_AT: usize = 4;
/// Most buffers that are read in all; the kernel keeps 16,384 events if nobody changes that, and two buffers hold about a thousand.
const MOST_READ: usize = 64;

/// What has happened in a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FolderEvents {
    /// The files that matter to which something happened, and whether the last of it was that they were written to.
    pub(super) files: HashMap<OsString, bool>,
    /// Something matters that happened, and was not a write to a file that is still open.
    pub(super) is_changed: bool,
    /// Some of it was not looked at: anything may have changed.
    pub(super) is_lost: bool,
}

impl FolderEvents {
    /// Takes what there is. Beside rule files these `modules` matter, or all files if that is not known.
    pub(super) fn take(
        inotify: &OwnedFd,
        buffer: &mut [MaybeUninit<u8>],
        modules: Option<&HashSet<OsString>>,
    ) -> Self {
        let mut taken = Self::default();
        let matters =
            |name: &OsStr| is_rule_file(name) || modules.is_none_or(|modules| modules.contains(name));
        let mut events = inotify::Reader::new(inotify, buffer);
        let mut buffers = 0;
        while buffers < MOST_LOOKED_AT {
            match events.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    taken.note(event.events(), name, matters);
                }
                Err(Errno::INTR) => {}
                // There is no more.
                Err(_) => return taken,
            }
            buffers += usize::from(events.is_buffer_empty());
        }
        for _ in MOST_LOOKED_AT..MOST_READ {
            match read(inotify, &mut *buffer) {
                Ok((bytes, _)) if !bytes.is_empty() => taken.is_lost = true,
                Err(Errno::INTR) => {}
                _ => break,
            }
        }
        taken
    }

    fn note(&mut self, what: ReadFlags, name: Option<&OsStr>, matters: impl Fn(&OsStr) -> bool) {
        if what.intersects(ReadFlags::QUEUE_OVERFLOW) {
            self.is_lost = true;
            return;
        }
        if what.intersects(ReadFlags::IGNORED) || !name.is_none_or(matters) {
            return;
        }
        let is_write = what == ReadFlags::MODIFY;
        self.is_changed |= !is_write;
        let Some(name) = name else { return };
        match self.files.get_mut(name) {
            Some(is_written) => *is_written = is_write,
            None => drop(self.files.insert(name.to_owned(), is_write)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;

    use rustix::fs::inotify::{CreateFlags, add_watch};
    use tempfile::TempDir;

    use super::super::user_folders::WATCHED;
    use super::*;

    fn watched() -> (TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let inotify = inotify::init(CreateFlags::NONBLOCK).unwrap();
        add_watch(&inotify, dir.path(), WATCHED).unwrap();
        (dir, inotify)
    }

    fn take(inotify: &OwnedFd) -> FolderEvents {
        FolderEvents::take(inotify, &mut vec![MaybeUninit::uninit(); 16 << 10], Some(&HashSet::new()))
    }

    #[test]
    fn of_each_file_the_last_that_happened_counts() {
        let (dir, inotify) = watched();
        let mut file = File::create(dir.path().join("a.toml")).unwrap();
        file.write_all(b"half").unwrap();
        fs::write(dir.path().join("b.toml"), "text").unwrap();
        fs::write(dir.path().join("other"), "text").unwrap();
        let files = [("a.toml".into(), true), ("b.toml".into(), false)].into();
        assert_eq!(take(&inotify), FolderEvents { files, is_changed: true, is_lost: false });
        file.write_all(b"more").unwrap();
        let files = [("a.toml".into(), true)].into();
        assert_eq!(take(&inotify), FolderEvents { files, is_changed: false, is_lost: false });
        drop(file);
        let files = [("a.toml".into(), false)].into();
        assert_eq!(take(&inotify), FolderEvents { files, is_changed: true, is_lost: false });
        assert_eq!(take(&inotify), FolderEvents::default());
    }

    #[test]
    fn what_is_too_much_is_taken_and_not_looked_at() {
        let (dir, inotify) = watched();
        let names = ["a.toml", "b.toml"].map(|name| dir.path().join(name));
        File::create(&names[0]).unwrap();
        for _ in 0..3000 {
            fs::rename(&names[0], &names[1]).unwrap();
            fs::rename(&names[1], &names[0]).unwrap();
        }
        let taken = take(&inotify);
        assert!(taken.is_lost && taken.is_changed && taken.files.len() == 2, "{taken:?}");
        assert_eq!(take(&inotify), FolderEvents::default(), "nothing is left");
    }

    #[test]
    fn what_the_kernel_did_not_keep_is_lost() {
        let mut taken = FolderEvents::default();
        taken.note(ReadFlags::QUEUE_OVERFLOW, None, |_| true);
        assert_eq!(taken, FolderEvents { is_lost: true, ..FolderEvents::default() });
    }
}

//! Noticed: what was noticed about the files that a configuration is read from, until somebody does something about it.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use postern_text::panic::PastPanic;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::folder_events::FolderEvents;

/// Whose a file is: what others than the host change decides nothing about guarded ports, and must not hold them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum FileOwner {
    /// `postern.toml`, and the host's own rules and modules.
    Host,
    /// Those of the other tenants.
    Tenant,
}

/// All of them.
pub(crate) const OWNERS: [FileOwner; 2] = [FileOwner::Host, FileOwner::Tenant];

/// The notifications about files.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    /// One is different now.
    pub(crate) changed: Notify,
    /// A process has begun to write to one.
    pub(crate) written: Notify,
    /// One of the host's is among those that changed, since that was asked last.
    has_host_changed: AtomicBool,
    unfinished: Mutex<HashMap<PathBuf, Unfinished>>,
}

/// A file that is open for writing.
#[derive(Clone, Copy, Debug)]
struct Unfinished {
    owner: FileOwner,
    /// When it was last written to.
    written_at: Instant,
}

/// A file that was not closed for so long after a write will not be closed, or its closing was missed.
const UNFINISHED: Duration = Duration::from_secs(10);
/// Most of tenants' files that are waited for.
const MOST_UNFINISHED: usize = 4096;

impl Noticed {
    /// Whose a file was, at least one, of those that changed since this was called last.
    pub(crate) fn take_owner(&self) -> FileOwner {
        if self.has_host_changed.swap(false, Ordering::AcqRel) { FileOwner::Host } else { FileOwner::Tenant }
    }

    /// Whether a file of the host's was written to and not closed.
    pub(crate) fn is_host_being_written(&self) -> bool {
        self.written_at(FileOwner::Host).is_some()
    }

    /// When to wait no longer for the file whose last write is the oldest.
    pub(crate) fn patience(&self) -> Option<Instant> {
        let oldest = self.lock().values().map(|file| file.written_at).min();
        oldest.map(|written| written + UNFINISHED)
    }

    /// Waits no longer for those that were not written to for too long: anything may have become of them.
    pub(crate) fn give_up(&self, now: Instant) {
        let is_over = |file: &Unfinished| file.written_at + UNFINISHED <= now;
        let given_up: Vec<_> =
            self.lock().extract_if(|_, file| is_over(file)).map(|(_, file)| file).collect();
        for file in given_up {
            self.changed_of(file.owner);
        }
    }

    /// When the file of this owner that is being written and whose last write is the oldest was written to; none if none is being written.
    pub(crate) fn written_at(&self, owner: FileOwner) -> Option<Instant> {
        let unfinished = self.lock();
        unfinished.values().filter(|file| file.owner == owner).map(|file| file.written_at).min()
    }

    /// Is as another process's is: whose file changed there, if one did, and its [`Noticed::written_at`] of each.
    pub(crate) fn replicate(&self, changed: Option<FileOwner>, written_at: &[(FileOwner, Instant)]) {
        {
            let mut unfinished = self.lock();
            unfinished.clear();
            for (n, (owner, written_at)) in written_at.iter().copied().enumerate() {
                // No file of this process.
                unfinished.insert(PathBuf::from(n.to_string()), Unfinished { owner, written_at });
            }
        }
        self.written.notify_one();
        if let Some(owner) = changed {
            self.changed_of(owner);
        }
    }

    /// Anything may have changed.
    pub(super) fn note_loss(&self) {
        self.lock().clear();
        self.changed_of(FileOwner::Host);
    }

    /// These are different now.
    pub(super) fn note_change(&self, owner: FileOwner, paths: &[PathBuf]) {
        self.lock().retain(|path, _| !paths.contains(path));
        self.changed_of(owner);
    }

    /// A process has written to these, and may write more.
    pub(super) fn note_writing(&self, owner: FileOwner, paths: impl IntoIterator<Item = PathBuf>) {
        let written_at = Instant::now();
        let was_none = {
            let mut unfinished = self.lock();
            let was_none = unfinished.is_empty();
            for path in paths {
                if owner == FileOwner::Host || unfinished.len() < MOST_UNFINISHED {
                    unfinished.insert(path, Unfinished { owner, written_at });
                }
            }
            was_none
        };
        if was_none {
            self.written.notify_one();
        }
    }

    /// What has happened in the folder of a tenant.
    pub(super) fn note_in_folder(
        &self,
        dir: &Path,
        FolderEvents { files, is_changed, is_lost }: FolderEvents,
    ) {
        if is_lost {
            self.forget_folder(dir);
        }
        let (written, closed): (Vec<_>, Vec<_>) = files.into_iter().partition(|(_, is_written)| *is_written);
        let paths = |of: Vec<(OsString, bool)>| of.into_iter().map(|(name, _)| dir.join(name)).collect();
        if is_changed || is_lost {
            let closed: HashSet<PathBuf> = paths(closed);
            self.lock().retain(|path, _| !closed.contains(path));
            self.changed_of(FileOwner::Tenant);
        }
        if !written.is_empty() {
            self.note_writing(FileOwner::Tenant, paths(written));
        }
    }

    /// Waits for no file in this folder: it is another one now.
    pub(super) fn forget_folder(&self, dir: &Path) {
        self.lock().retain(|path, _| path.parent() != Some(dir));
    }

    /// Something of this owner's is different now.
    pub(crate) fn changed_of(&self, owner: FileOwner) {
        if owner == FileOwner::Host {
            self.has_host_changed.store(true, Ordering::Release);
        }
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Unfinished>> {
        self.unfinished.lock().past_panic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tenant_changes_and_writes_is_no_change_of_the_host() {
        let noticed = Noticed::default();
        let (ours, theirs) = (PathBuf::from("/etc/a.toml"), PathBuf::from("/srv/a/b.toml"));
        noticed.note_change(FileOwner::Tenant, std::slice::from_ref(&theirs));
        assert_eq!(noticed.take_owner(), FileOwner::Tenant);
        noticed.note_writing(FileOwner::Tenant, [theirs]);
        assert!(noticed.patience().is_some() && !noticed.is_host_being_written());
        noticed.note_writing(FileOwner::Host, [ours.clone()]);
        assert!(noticed.is_host_being_written());
        noticed.note_change(FileOwner::Host, &[ours]);
        noticed.note_change(FileOwner::Tenant, &[]);
        assert!(!noticed.is_host_being_written());
        assert_eq!(noticed.take_owner(), FileOwner::Host);
        assert_eq!(noticed.take_owner(), FileOwner::Tenant);
    }

    #[test]
    fn what_is_not_closed_is_given_up_as_whose_it_is() {
        for owner in [FileOwner::Tenant, FileOwner::Host] {
            let noticed = Noticed::default();
            noticed.note_writing(owner, [PathBuf::from("/a")]);
            noticed.give_up(Instant::now());
            assert!(noticed.patience().is_some());
            noticed.give_up(Instant::now() + UNFINISHED);
            assert_eq!((noticed.patience(), noticed.take_owner()), (None, owner));
        }
    }

    #[test]
    fn a_tenant_does_not_have_files_without_end_waited_for() {
        let noticed = Noticed::default();
        let names = |what: &'static str| (0..2 * MOST_UNFINISHED).map(move |n| format!("/{what}/{n}").into());
        noticed.note_writing(FileOwner::Tenant, names("theirs"));
        assert_eq!(noticed.lock().len(), MOST_UNFINISHED);
        noticed.note_writing(FileOwner::Host, ["/ours".into()]);
        assert!(noticed.is_host_being_written());
    }
}

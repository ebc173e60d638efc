//! Noticed: what was noticed about the files that a configuration is read from, until somebody does something about it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use postern_text::panic::PastPanic;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::folder_events::FolderEvents;

/// The notifications about files.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    /// One is different now.
    pub(crate) changed: Notify,
    /// A process has begun to write to one.
    pub(crate) written: Notify,
    /// Files that are open for writing, and when they were last written to.
    unfinished: Mutex<HashMap<PathBuf, Instant>>,
}

/// A file that was not closed for so long after a write will not be closed, or its closing was missed.
const UNFINISHED: Duration = Duration::from_secs(10);

impl Noticed {
    /// Whether a file was written to and not closed.
    pub(crate) fn is_being_written(&self) -> bool {
        !self.lock().is_empty()
    }

    /// When to wait no longer for the file whose last write is the oldest.
    pub(crate) fn patience(&self) -> Option<Instant> {
        self.written_at().map(|written| written + UNFINISHED)
    }

    /// Waits no longer for those that were not written to for too long.
    pub(crate) fn give_up(&self, now: Instant) {
        self.lock().retain(|_, written| *written + UNFINISHED > now);
    }

    /// When the file that is being written and whose last write is the oldest was written to; none if none is being written.
    pub(crate) fn written_at(&self) -> Option<Instant> {
        self.lock().values().min().copied()
    }

    /// Is as another process's is: whether a file changed there, and its [`Noticed::written_at`].
    pub(crate) fn replicate(&self, is_changed: bool, written_at: Option<Instant>) {
        {
            let mut unfinished = self.lock();
            unfinished.clear();
            unfinished.extend(written_at.map(|at| (PathBuf::new(), at)));
        }
        self.written.notify_one();
        if is_changed {
            self.changed.notify_one();
        }
    }

    /// Anything may have changed.
    pub(super) fn note_loss(&self) {
        self.lock().clear();
        self.changed.notify_one();
    }

    /// These are different now.
    pub(super) fn note_change(&self, paths: &[PathBuf]) {
        self.lock().retain(|path, _| !paths.contains(path));
        self.changed.notify_one();
    }

    /// A process has written to these, and may write more.
    pub(super) fn note_writing(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let now = Instant::now();
        let was_none = self.patience().is_none();
        self.lock().extend(paths.into_iter().map(|path| (path, now)));
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
            self.note_change(&paths(closed));
        }
        let written: Vec<PathBuf> = paths(written);
        if !written.is_empty() {
            self.note_writing(written);
        }
    }

    /// Waits for no file in this folder: it is another one now.
    pub(super) fn forget_folder(&self, dir: &Path) {
        self.lock().retain(|path, _| path.parent() != Some(dir));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Instant>> {
        self.unfinished.lock().past_panic()
    }
}

//! News: what the other threads of a runner's process say to the one that has its links.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use postern_runner::{Journal, JournalError, JournalRecord, RunnerEvent};

/// A journal, and what is in it by number.
type OpenedJournal = (Journal, Vec<(u64, JournalRecord)>);

/// What other threads have to say.
pub(super) enum Heard {
    Runner(RunnerEvent),
    /// What became of the journal that was to be opened.
    Journal(Box<Result<OpenedJournal, JournalError>>),
}

/// Where other threads say it. The queue has no bound of its own: there is an answer for each order under way, and these have one.
#[derive(Clone)]
pub(super) struct News {
    pub(super) sender: Sender<Heard>,
    pub(super) wake: Arc<OwnedFd>,
}

impl News {
    /// False if nobody listens any more.
    pub(super) fn tell(&self, heard: Heard) -> bool {
        let is_heard = self.sender.send(heard).is_ok();
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        is_heard
    }
}

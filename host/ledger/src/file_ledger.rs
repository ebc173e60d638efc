//! FileLedger: the ledger in a file of the state folder, with a thread of its own.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Sender, TrySendError, bounded};
use postern_core::{Claim, ClaimError};

use crate::file::{FILE, LedgerRequest};
use crate::keeper::{Keeper, MOST_WAITING, OpenStore, QueuedClaim};
use crate::wanted::Wanted;
use crate::{Answer, Answers, Ledger, LedgerError, file};

/// The ledger in a file of the state folder.
///
/// The thread opens the file as soon as it starts, if there is one, and makes one for the first claim otherwise: a daemon whose rules
/// use no tokens has no file. Claims that come while others are written are written together. The thread ends when this is dropped, after
/// all pending claims.
pub struct FileLedger {
    asked: Sender<QueuedClaim>,
    answers: Arc<Answers>,
}

impl FileLedger {
    /// Starts the thread, which begins to open the file in this folder, and returns at once.
    ///
    /// # Errors
    /// If the system cannot start another thread.
    pub fn start(folder: &Path, answers: Answers) -> io::Result<Self> {
        let path = folder.join(FILE);
        let folder = folder.to_owned();
        Self::start_with(path, Box::new(move |request| file::open(&folder, request)), answers)
    }

    /// As [`FileLedger::start`], for a process that may open no file: `files` hands out the file, taken by [`crate::take_file`] in another process
    /// that keeps no copy of it; none if there is none and it is not to be made; or why not, in words. It is called on the ledger's thread, may
    /// wait, and is called again when the file cannot be used any more; this process has closed it then. `path` is only for messages.
    ///
    /// # Errors
    /// If the system cannot start another thread.
    pub fn start_remote(
        path: PathBuf,
        mut files: impl FnMut(LedgerRequest) -> Result<Option<OwnedFd>, String> + Send + 'static,
        answers: Answers,
    ) -> io::Result<Self> {
        let said = path.clone();
        let open = move |request| {
            let taken = files(request).map_err(LedgerError::Refused)?;
            taken.map(|descriptor| file::open_descriptor(&said, descriptor)).transpose()
        };
        Self::start_with(path, Box::new(open), answers)
    }

    pub(crate) fn start_with(path: PathBuf, open: OpenStore, answers: Answers) -> io::Result<Self> {
        let (asked, queue) = bounded(MOST_WAITING);
        let answers = Arc::new(answers);
        let mut keeper = Keeper::new(path, open, Arc::clone(&answers));
        thread::Builder::new().name("ledger".to_owned()).spawn(move || keeper.run(&queue))?;
        Ok(Self { asked, answers })
    }
}

impl Ledger for FileLedger {
    fn claim(&self, claim: Claim) {
        let serial = claim.serial;
        let asked = Wanted::of(claim).map(|wanted| QueuedClaim { wanted, since: Instant::now() });
        let error = match asked.map(|asked| self.asked.try_send(asked)) {
            Some(Ok(())) => return,
            Some(Err(TrySendError::Full(_))) => ClaimError::Busy,
            Some(Err(TrySendError::Disconnected(_))) => {
                ClaimError::NotRecorded("the ledger's thread has ended; restart the daemon".to_owned())
            }
            None => ClaimError::NotRecorded("the ledger keeps no one-time sequences".to_owned()),
        };
        (self.answers)(Answer::Claimed { serial, result: Err(error) });
    }
}

#[cfg(test)]
mod tests;

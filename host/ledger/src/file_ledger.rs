//! FileLedger: the ledger in a file of the state folder, with a thread of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Sender, TrySendError, bounded};
use postern_core::{Claim, ClaimError};

use crate::file::FILE;
use crate::keeper::{Keeper, MOST_WAITING, OpenStore, QueuedClaim};
use crate::wanted::Wanted;
use crate::{Answer, Answers, Ledger, file};

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
        Self::start_with(path, Box::new(move |make| file::open(&folder, make)), answers)
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

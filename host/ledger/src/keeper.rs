//! Keeper: the thread of the ledger, and what it does while claims cannot be recorded.
//!
//! After an error the store accepts nothing until it is opened again, which is retried at most once a second, when a claim comes. Claims are
//! refused meanwhile. A refused claim may be on the disk all the same: its token is then used up and has opened nothing, which fails closed.
//! When it was a flush that failed, the file is copied before it is used again: see [`LedgerRequest::copy`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Receiver;
use postern_core::ClaimError;
use postern_text::chain;

use crate::file::{LedgerRequest, OpenLedger};
use crate::store::Results;
use crate::wanted::Wanted;
use crate::{Answer, Answers, LedgerError};

/// Claims that may wait for those before them to be written, and that are then written together.
pub(crate) const MOST_WAITING: usize = 1024;
/// The shortest time between two attempts to open the store again.
const RETRY: Duration = Duration::from_secs(1);
/// The engine does not wait longer for a claim, so an older one is refused and its token is not used up.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Opens the store; none if there is none and it is not to be made.
pub(crate) type OpenStore = Box<dyn FnMut(LedgerRequest) -> Result<Option<OpenLedger>, LedgerError> + Send>;

/// A claim, and when it was made.
#[derive(Debug)]
pub(crate) struct QueuedClaim {
    pub(crate) wanted: Wanted,
    pub(crate) since: Instant,
}

pub(crate) struct Keeper {
    open: OpenStore,
    path: PathBuf,
    /// None before it is needed, and after an error.
    store: Option<OpenLedger>,
    /// Whether the file must be copied before it is opened again, since its disk did not take what was written.
    is_unsure: bool,
    failure: Option<StoreFailure>,
    answers: Arc<Answers>,
}

/// Why nothing can be recorded, and when that was tried last.
struct StoreFailure {
    words: String,
    tried: Instant,
}

impl Keeper {
    /// A keeper of the ledger at `path`; the path is only for messages.
    pub(crate) fn new(path: PathBuf, open: OpenStore, answers: Arc<Answers>) -> Self {
        Self { open, path, store: None, is_unsure: false, failure: None, answers }
    }

    /// Answers claims until the ledger is dropped.
    pub(crate) fn run(&mut self, queue: &Receiver<QueuedClaim>) {
        match self.attempt(|keeper| (keeper.open)(LedgerRequest::default())) {
            Ok(store) => self.store = store,
            Err(words) => self.fail(words),
        }
        while let Ok(first) = queue.recv() {
            let batch = std::iter::once(first).chain(queue.try_iter()).take(MOST_WAITING);
            let (batch, late) = batch.partition(|asked| asked.since.elapsed() < LONGEST_WAIT);
            self.answer(batch);
            late.into_iter()
                .for_each(|asked: QueuedClaim| self.say(asked.wanted.serial, Err(ClaimError::Busy)));
        }
    }

    fn answer(&mut self, batch: Vec<QueuedClaim>) {
        let batch: Vec<_> = batch.into_iter().map(|asked| asked.wanted).collect();
        if batch.is_empty() {
            return;
        }
        let began = Instant::now();
        match self.claim(&batch) {
            Ok(results) => {
                let took = began.elapsed();
                // Else nothing was written.
                let is_written = results.iter().any(Result::is_ok);
                self.recover();
                batch.iter().zip(results).for_each(|(wanted, result)| self.say(wanted.serial, result));
                if is_written {
                    (self.answers)(Answer::Committed { took });
                }
            }
            Err(words) => {
                let refused = || Err(ClaimError::NotRecorded(words.clone()));
                batch.iter().for_each(|wanted| self.say(wanted.serial, refused()));
            }
        }
    }

    fn claim(&mut self, batch: &[Wanted]) -> Result<Results, String> {
        if let Some(failure) = &self.failure
            && failure.tried.elapsed() < RETRY
        {
            return Err(failure.words.clone());
        }
        let claimed = self.attempt(|keeper| {
            let opened = match keeper.store.take() {
                Some(opened) => opened,
                None => {
                    let request = LedgerRequest { make: true, copy: keeper.is_unsure };
                    let missing =
                        || LedgerError::File(keeper.path.clone(), std::io::ErrorKind::NotFound.into());
                    let opened = (keeper.open)(request)?.ok_or_else(missing)?;
                    keeper.is_unsure = false;
                    opened
                }
            };
            let results = opened.store.claim(batch, wall());
            keeper.is_unsure |= (opened.is_unsure)();
            let results = results.map_err(|error| LedgerError::Write(keeper.path.clone(), error))?;
            keeper.store = Some(opened);
            Ok(results)
        });
        // After an error the store stays closed: it was taken out above.
        claimed.inspect_err(|words| self.fail(words.clone()))
    }

    /// Does something that may fail, or even panic: redb may panic on a damaged file.
    fn attempt<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, LedgerError>) -> Result<T, String> {
        match catch_unwind(AssertUnwindSafe(|| act(self))) {
            Ok(done) => done.map_err(|error| chain(&error).to_string()),
            Err(_) => {
                self.store = None;
                let path = self.path.display();
                Err(format!(
                    "the ledger {path} cannot be read; see \"Used tokens\" in config.md before you move it away"
                ))
            }
        }
    }

    fn fail(&mut self, words: String) {
        if self.failure.as_ref().is_none_or(|failure| failure.words != words) {
            (self.answers)(Answer::Fails(words.clone()));
        }
        self.failure = Some(StoreFailure { words, tried: Instant::now() });
    }

    fn recover(&mut self) {
        if self.failure.take().is_some() {
            (self.answers)(Answer::Works(self.path.clone()));
        }
    }

    fn say(&self, serial: u64, result: Result<(), ClaimError>) {
        (self.answers)(Answer::Claimed { serial, result });
    }
}

/// The machine's clock, in microseconds since 1970; it may be wrong, and may step.
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

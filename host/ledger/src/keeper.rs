//! Keeper: the thread of the ledger, and what it does while nothing can be recorded.
//!
//! After an error the store takes nothing until it is opened again, which is tried with the first claim of each second. Claims are refused
//! meanwhile; one that is refused may be on the disk all the same, which is the closed side.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Receiver;
use postern_core::ClaimError;
use postern_text::chain;

use crate::file_ledger::MOST_WAITING;
use crate::store::{Results, Store};
use crate::wanted::Wanted;
use crate::{Answer, Answers, LedgerError};

/// However many claims come while nothing can be recorded, it is tried no more often.
const RETRY: Duration = Duration::from_secs(1);
/// A claim that has waited so long opens nothing any more, so its token is not used up for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the store; none if there is none and it is not to be made.
pub(crate) type OpenStore = Box<dyn FnMut(bool) -> Result<Option<Store>, LedgerError> + Send>;

/// A claim, and since when it waits.
#[derive(Debug)]
pub(crate) struct QueuedClaim {
    pub(crate) wanted: Wanted,
    pub(crate) since: Instant,
}

pub(crate) struct Keeper {
    open: OpenStore,
    path: PathBuf,
    /// None before it is needed, and after an error.
    store: Option<Store>,
    failure: Option<StoreFailure>,
    answers: Arc<Answers>,
}

/// Why nothing can be recorded, and when it was tried last.
struct StoreFailure {
    words: String,
    tried: Instant,
}

impl Keeper {
    /// One for the ledger at `path`, by which it is named.
    pub(crate) fn new(path: PathBuf, open: OpenStore, answers: Arc<Answers>) -> Self {
        Self { open, path, store: None, failure: None, answers }
    }

    /// Answers claims until nobody is left who could make one.
    pub(crate) fn run(&mut self, queue: &Receiver<QueuedClaim>) {
        match self.attempt(|keeper| (keeper.open)(false)) {
            Ok(store) => self.store = store,
            Err(words) => self.fail(words),
        }
        while let Ok(first) = queue.recv() {
            let batch = std::iter::once(first).chain(queue.try_iter()).take(MOST_WAITING);
            let (batch, late) = batch.partition(|asked| asked.since.elapsed() < PATIENCE);
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
        match self.claim(&batch) {
            Ok(results) => {
                self.recover();
                batch.iter().zip(results).for_each(|(wanted, result)| self.say(wanted.serial, result));
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
            let store = match keeper.store.take() {
                Some(store) => store,
                None => (keeper.open)(true)?.ok_or_else(|| {
                    LedgerError::File(keeper.path.clone(), std::io::ErrorKind::NotFound.into())
                })?,
            };
            let results =
                store.claim(batch, wall()).map_err(|error| LedgerError::Write(keeper.path.clone(), error))?;
            keeper.store = Some(store);
            Ok(results)
        });
        // The store was closed, with what it holds of the failure.
        claimed.inspect_err(|words| self.fail(words.clone()))
    }

    /// Does something that may fail, or even panic: what is in a damaged file is not foreseen everywhere.
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

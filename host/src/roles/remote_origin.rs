//! RemoteOrigin: configurations for an engine that opens no file. It asks the supervisor, whose end is
//! [`crate::roles::ReadingService`].

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_config::{Config, ConfigReading, Mistake, OneTime, RuleFile};
use postern_core::{GuardDoor, ModuleSource, RuleId};
use postern_link::{Answered, CallError, RpcClient, Talk};
use postern_sandbox::{ModuleFiles, ReadError};
use postern_text::panic::PastPanic;
use tokio::time::Instant;

use super::reading_messages::{
    FilesNotice, MOST_ANSWER, MOST_RANGES, ModuleAnswer, ReadingAnswer, ReadingRequest,
};
use crate::origin::{NumberedReading, Origin, OriginFacts, Preparation};
use crate::state;
use crate::watch::Noticed;

/// Most requests that wait at once. All that are made have a thread that waits, and there are fewer of these.
const MOST_WAITING: usize = 256;
/// How long the supervisor may take nothing. It has a thread for that, so it is stopped or hangs.
const PATIENCE: Duration = Duration::from_secs(60);

type Client = RpcClient<ReadingRequest, ReadingAnswer>;

/// Where the configurations come from of an engine that opens no file.
pub(crate) struct RemoteOrigin {
    client: Arc<Client>,
    facts: OriginFacts,
    noticed: Arc<Noticed>,
}

/// A configuration that the supervisor reads.
struct RemotePreparation {
    client: Arc<Client>,
    ticket: u64,
    /// The file, for people.
    file: PathBuf,
    reading: Mutex<Option<Receiver<Answered<ReadingAnswer>>>>,
    is_overtaken: AtomicBool,
}

impl RemoteOrigin {
    /// Begins, on a talk that is for this alone. `end` is called once it has ended; every configuration has a mistake from then on.
    ///
    /// # Errors
    /// If there can be no thread, or the supervisor does not answer.
    pub(crate) fn start(talk: Talk, end: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let noticed = Arc::new(Noticed::default());
        let taken = Arc::clone(&noticed);
        let notice = move |FilesNotice { is_changed, written_ago }| {
            let ago = |ms| Instant::now().checked_sub(Duration::from_millis(ms)).unwrap_or_else(Instant::now);
            taken.replicate(is_changed, written_ago.map(ago));
        };
        let client = Client::start(talk.split(Some(PATIENCE))?, MOST_WAITING, MOST_ANSWER, notice, end)?;
        match client.call(&ReadingRequest::Facts) {
            Ok((ReadingAnswer::Facts(facts), _)) => Ok(Self { client: Arc::new(client), facts, noticed }),
            Ok(_) => Err(io::Error::other("the supervisor does not say where the configuration is")),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn ask(&self, request: &ReadingRequest) -> Result<ReadingAnswer, CallError> {
        self.client.call(request).map(|(answer, _)| answer)
    }
}

impl Origin for RemoteOrigin {
    fn facts(&self) -> &OriginFacts {
        &self.facts
    }

    /// They are in place before there is an engine.
    fn guards(&self) -> Vec<GuardDoor> {
        Vec::new()
    }

    fn noticed(&self) -> &Arc<Noticed> {
        &self.noticed
    }

    fn prepare(&self, ticket: u64, avoids: bool) -> Arc<dyn Preparation> {
        // Asked for here and not where it is waited for, so that the supervisor gets tickets in their order.
        let (answer, reading) = sync_channel(1);
        self.client
            .call_then(&ReadingRequest::Read { ticket, avoids }, move |answered| drop(answer.send(answered)));
        Arc::new(RemotePreparation {
            client: Arc::clone(&self.client),
            ticket,
            file: self.facts.file.clone(),
            reading: Mutex::new(Some(reading)),
            is_overtaken: AtomicBool::new(false),
        })
    }

    fn advice(&self, ticket: u64, _config: &Config) -> Vec<String> {
        match self.ask(&ReadingRequest::Advice { ticket }) {
            Ok(ReadingAnswer::Lines(lines)) => lines,
            _ => Vec::new(),
        }
    }

    fn in_force(&self, table: u32, kept: &[u32]) {
        self.client.tell(&ReadingRequest::InForce { table, kept: ranges(kept.to_vec()) });
    }

    fn gone(&self, rules: &[RuleFile]) -> Option<HashSet<RuleId>> {
        let Ok(ReadingAnswer::Gone(gone)) = self.ask(&ReadingRequest::Gone) else { return None };
        let gone: HashSet<u32> = gone.into_iter().collect();
        Some(rules.iter().filter(|rule| gone.contains(&rule.number)).map(|rule| rule.id.clone()).collect())
    }

    fn claim(&self, table: u32, rule: u32, _line: &OneTime) -> Result<(), String> {
        match self.ask(&ReadingRequest::Claim { table, rule }) {
            Ok(ReadingAnswer::Claimed(claimed)) => claimed,
            other => Err(no_answer(other.err())),
        }
    }
}

impl Preparation for RemotePreparation {
    fn read(&self) -> NumberedReading {
        let answered = self.reading.lock().past_panic().take().map(|reading| reading.recv());
        let what = match answered {
            Some(Ok(Ok((ReadingAnswer::Reading(reading), _)))) => return *reading,
            Some(Ok(Ok((ReadingAnswer::Refused(what), _)))) => what,
            Some(Ok(Err(error))) => no_answer(Some(error)),
            _ => no_answer(None),
        };
        let what = format!("is not read: {what}");
        let mistake = Mistake { file: self.file.clone(), line: None, key: String::new(), what };
        let reading = ConfigReading { mistakes: vec![mistake], ..ConfigReading::default() };
        NumberedReading { reading, numbers: None }
    }

    fn modules<'a>(&'a self, config: &Config) -> Box<dyn ModuleFiles + 'a> {
        let places = (0..).zip(&config.rules).filter_map(|(place, rule)| match &rule.module {
            ModuleSource::File(file) => Some((file.clone(), place)),
            ModuleSource::Stock(_) => None,
        });
        Box::new(RemoteModules { preparation: self, places: places.collect() })
    }

    fn open_journal(&self, _config: &Config) -> state::Opened {
        match self.client.call(&ReadingRequest::Journal { ticket: self.ticket }) {
            Ok((ReadingAnswer::Journal { is_there, error }, _)) => {
                state::Opened { is_elsewhere: is_there, error, ..state::Opened::default() }
            }
            other => state::Opened { error: Some(no_answer(other.err())), ..state::Opened::default() },
        }
    }

    fn doing(&self, tell: Box<dyn FnOnce(&[String]) + Send>) {
        self.client.call_then(
            &ReadingRequest::Doing { ticket: self.ticket },
            move |answered| match answered {
                Ok((ReadingAnswer::Lines(lines), _)) => tell(&lines),
                _ => tell(&["waiting for the supervisor".to_owned()]),
            },
        );
    }

    fn overtake(&self) {
        // The supervisor does the same when it is asked for the newer one.
        self.is_overtaken.store(true, Ordering::Relaxed);
    }

    fn is_overtaken(&self) -> bool {
        self.is_overtaken.load(Ordering::Relaxed)
    }
}

/// The modules that the rules of a reading name, by the place of the rule.
struct RemoteModules<'a> {
    preparation: &'a RemotePreparation,
    places: HashMap<PathBuf, u32>,
}

impl ModuleFiles for RemoteModules<'_> {
    fn read(&self, file: &Path, most: u64) -> Result<Vec<u8>, ReadError> {
        let Self { preparation, places } = self;
        let Some(place) = places.get(file) else { return Err(ReadError::Io(io::ErrorKind::NotFound.into())) };
        let request = ReadingRequest::Module { ticket: preparation.ticket, place: *place };
        match preparation.client.call(&request) {
            Ok((ReadingAnswer::Module(answer), descriptors)) => module(answer, descriptors, most),
            Ok((ReadingAnswer::Refused(what), _)) => Err(ReadError::Unfit(format!("is not read: {what}"))),
            other => Err(ReadError::Unfit(format!("is not read: {}", no_answer(other.err())))),
        }
    }

    fn begin_compiling(&self, _file: &Path) {}

    fn end_compiling(&self, _file: &Path) {}

    fn is_overtaken(&self) -> bool {
        self.preparation.is_overtaken()
    }
}

fn module(answer: ModuleAnswer, descriptors: Vec<OwnedFd>, most: u64) -> Result<Vec<u8>, ReadError> {
    match answer {
        ModuleAnswer::Read => {
            let Some(bytes) = descriptors.into_iter().next() else {
                return Err(ReadError::Unfit("is not read: its bytes did not come".to_owned()));
            };
            let mut module = Vec::new();
            File::from(bytes).take(most).read_to_end(&mut module).map_err(ReadError::Io)?;
            Ok(module)
        }
        ModuleAnswer::Os(number) => Err(ReadError::Io(io::Error::from_raw_os_error(number))),
        ModuleAnswer::Unfit(what) => Err(ReadError::Unfit(what)),
        ModuleAnswer::Distrusted { path, what } => Err(ReadError::Distrusted { path, what }),
    }
}

/// Why there is no answer; none if there is one to another request.
fn no_answer(error: Option<CallError>) -> String {
    error.map_or_else(|| "the supervisor answers something else".to_owned(), |error| error.to_string())
}

/// Numbers as ranges, which may have numbers between them if there would be too many.
fn ranges(mut numbers: Vec<u32>) -> Vec<(u32, u32)> {
    numbers.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if number <= last.saturating_add(1) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    while ranges.len() > MOST_RANGES {
        ranges = ranges.chunks(2).map(|pair| (pair[0].0, pair[pair.len() - 1].1)).collect();
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_every_number_and_are_not_too_many() {
        assert_eq!(ranges(vec![3, 1, 2, 7, 2]), [(1, 3), (7, 7)]);
        assert_eq!(ranges(vec![u32::MAX, u32::MAX - 1]), [(u32::MAX - 1, u32::MAX)]);
        let odd: Vec<u32> = (0..5000).map(|n| 2 * n).collect();
        let found = ranges(odd.clone());
        assert!(found.len() <= MOST_RANGES);
        assert!(odd.iter().all(|n| found.iter().any(|(first, last)| (first..=last).contains(&n))));
    }
}

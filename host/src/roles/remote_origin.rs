//! RemoteOrigin: configurations for an engine that opens no file. It asks the supervisor, whose end is
//! [`crate::roles::ReadingService`].

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_config::{Config, ConfigReading, Mistake, OneTime, ProgramAdvice, RuleFile};
use postern_core::{GuardDoor, ModuleSource, RuleId, TenantId};
use postern_link::{Answered, CallError, RpcClient, Talk};
use postern_sandbox::{Artifact, ArtifactCode, CodeKind, CodeSource, FoundModule, LoadError, ModuleDigest};
use postern_text::panic::PastPanic;
use tokio::time::Instant;

use super::reading_messages::{
    FilesNotice, MOST_ANSWER, MOST_RANGES, ModuleAnswer, ReadingAnswer, ReadingRequest,
};
use crate::origin::{NumberedReading, Origin, OriginFacts, Preparation, TellLines};
use crate::state;
use crate::watch::{Noticed, OWNERS};

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
        let notice = move |FilesNotice { changed, written_ago }| {
            let now = Instant::now();
            let at = |ms| now.checked_sub(Duration::from_millis(ms)).unwrap_or(now);
            let written_at: Vec<_> =
                written_ago.into_iter().take(OWNERS.len()).map(|(owner, ms)| (owner, at(ms))).collect();
            taken.replicate(changed, &written_at);
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

    fn program_advice(&self, ticket: u64, _config: &Config) -> Option<Vec<ProgramAdvice>> {
        match self.ask(&ReadingRequest::ProgramAdvice { ticket }) {
            Ok(ReadingAnswer::Programs(programs)) => Some(programs),
            _ => None,
        }
    }

    /// The supervisor knows the modules, too: it found them.
    fn in_force(&self, _config: &Config, _modules: &[(TenantId, ModuleDigest)], table: u32, kept: &[u32]) {
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
    /// They are in place before there is an engine.
    fn guards(&self) -> Vec<GuardDoor> {
        Vec::new()
    }

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

    fn code<'a>(&'a self, _config: &'a Config) -> Box<dyn CodeSource + 'a> {
        Box::new(RemoteCode { preparation: self })
    }

    fn open_journal(&self, _config: &Config) -> state::Opened {
        match self.client.call(&ReadingRequest::Journal { ticket: self.ticket }) {
            Ok((ReadingAnswer::Journal { is_there, error }, _)) => {
                state::Opened { is_elsewhere: is_there, error, ..state::Opened::default() }
            }
            other => state::Opened { error: Some(no_answer(other.err())), ..state::Opened::default() },
        }
    }

    fn doing(&self, tell: TellLines) {
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

/// The code of the modules that the rules of a reading name. A loader asks for each module once.
struct RemoteCode<'a> {
    preparation: &'a RemotePreparation,
}

/// One module.
struct RemoteModule<'a> {
    preparation: &'a RemotePreparation,
    place: u32,
    digest: ModuleDigest,
    signer: Option<Arc<str>>,
}

impl CodeSource for RemoteCode<'_> {
    fn find<'a>(
        &'a self,
        rule: usize,
        _module: &'a ModuleSource,
    ) -> Result<Box<dyn FoundModule + 'a>, LoadError> {
        let Self { preparation } = self;
        let place = u32::try_from(rule).unwrap_or(u32::MAX);
        match preparation.module(&ReadingRequest::FindModule { ticket: preparation.ticket, place })? {
            (ModuleAnswer::Found { digest, signer }, _) => {
                Ok(Box::new(RemoteModule { preparation, place, digest, signer }))
            }
            (other, _) => Err(other.into()),
        }
    }
}

impl FoundModule for RemoteModule<'_> {
    fn digest(&self) -> ModuleDigest {
        self.digest
    }

    fn signer(&self) -> Option<Arc<str>> {
        self.signer.clone()
    }

    fn code(&self, anew: bool) -> Result<Artifact, LoadError> {
        let Self { preparation, place, .. } = *self;
        let request = ReadingRequest::Code { ticket: preparation.ticket, place, anew };
        let (digest, kind, code) = match preparation.module(&request)? {
            (ModuleAnswer::Code { digest, kind }, descriptors) => {
                (digest, CodeKind::of_number(kind), descriptors.into_iter().next())
            }
            (other, _) => return Err(other.into()),
        };
        let (Some(kind), Some(code)) = (kind, code) else {
            return Err(LoadError::File("is not read: its code did not come".to_owned()));
        };
        // Else the file was changed meanwhile; what it is now will be read again.
        let is_same = digest == self.digest;
        is_same
            .then(|| Artifact { kind, code: ArtifactCode::File(File::from(code)) })
            .ok_or(LoadError::Overtaken)
    }
}

impl RemotePreparation {
    /// Asks the supervisor something about a module.
    fn module(&self, request: &ReadingRequest) -> Result<(ModuleAnswer, Vec<OwnedFd>), LoadError> {
        match self.client.call(request) {
            Ok((ReadingAnswer::Module(answer), descriptors)) => Ok((answer, descriptors)),
            Ok((ReadingAnswer::Refused(what), _)) => Err(LoadError::File(format!("is not read: {what}"))),
            other => Err(LoadError::File(format!("is not read: {}", no_answer(other.err())))),
        }
    }
}

/// Why there is no code.
impl From<ModuleAnswer> for LoadError {
    fn from(answer: ModuleAnswer) -> Self {
        match answer {
            ModuleAnswer::Os(number) => Self::Read(io::Error::from_raw_os_error(number)),
            ModuleAnswer::Unfit(what) => Self::File(what),
            ModuleAnswer::Distrusted { path, what } => Self::Distrusted { path, what },
            ModuleAnswer::Refused { what, remedy } => Self::Refused { what, remedy },
            ModuleAnswer::Overtaken => Self::Overtaken,
            ModuleAnswer::Compiling => Self::Compiling,
            ModuleAnswer::Found { .. } | ModuleAnswer::Code { .. } => {
                Self::File(format!("is not read: {}", no_answer(None)))
            }
        }
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

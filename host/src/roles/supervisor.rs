//! Supervisor: starts the daemon's other processes, hands them what they may have, watches them, and starts the next one of each that ends.
//!
//! It is what posternd is started as, with the rights that this was given. It sees no packet and runs no rule, and what an engine asks of it is
//! a number.

mod barriers;
mod engine_needs;
mod guarding;
mod hearing;
mod holders;
mod hook_queue;
mod slot;
mod starting;
mod trying;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use postern_config::{ConfigSource, MetricsListen, ProcessUser};
use postern_core::{ConfigIdentity, Observer, Posture, Report, What};
use postern_link::{FromDoorman, FromRunner, NotInPlace, ToRunner};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::ReadingService;
use super::engine_messages::{FromEngine, ToEngine};
use super::process::FromRole;
use crate::clock::until;
use crate::compile::CompileService;
use crate::control::BoundSocket;
use crate::ended::{Ended, Tried};
use crate::exit::Exit;
use crate::hooks::Hooks;
use crate::kept_socket;
use crate::metrics::MetricsSocket;
use crate::observe::{Gathering, LogOfAll, Overheard, Relay};
use crate::origin::{LocalOrigin, Origin as _};
use crate::pace::Pace;
use crate::patience::PatientReading;
use crate::role::{OwnProgram, Role};
use crate::signals::{Hangups, Signals};
use crate::systemd::{ServiceManager, take_stored};
use crate::try_run::{TryRun, WhyOver};
use barriers::Barriers;
use engine_needs::EngineNeeds;
use holders::Holders;
use hook_queue::HookQueue;
use slot::Slot;

/// How long the engine has to stop: its own grace, and a little.
const LAST: Duration = Duration::from_secs(13);
/// How long the last reports of roles are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What waits to be handled; a role that has more to say waits.
const MOST_HAPPENINGS: usize = 64;
/// How often an engine is given the ledger's file: after a start, and after each failure of the disk.
const LEDGERS: Pace = Pace::one_each(Duration::from_secs(1), 8);

/// What the supervisor hears of its processes, each with the number of the one that said it.
enum Happening {
    Doorman(u64, FromRole<FromDoorman>),
    Runner(u64, FromRole<FromRunner>),
    Engine(u64, FromRole<FromEngine>),
    /// Everything was tried, and nobody wants the daemon any more.
    NotWanted,
}

/// What a supervisor runs.
pub(crate) struct Supervised {
    pub(crate) source: Arc<dyn ConfigSource>,
    pub(crate) log: LogOfAll,
    /// Called once everything was tried.
    pub(crate) tried: Tried,
    pub(crate) signals: Signals,
    /// For how long it is tried; none if it runs for good.
    pub(crate) lasts: Option<Duration>,
}

/// Runs until a signal stops it, or the configuration is refused at the start.
///
/// # Errors
/// If the system does not let it work.
pub(crate) async fn supervise(supervised: Supervised) -> anyhow::Result<Ended> {
    let (events, happenings) = channel(MOST_HAPPENINGS);
    let Supervised { source, log, tried, mut signals, lasts } = supervised;
    let LogOfAll { relay, filter: log_filter, hooks } = log;
    let relay = Arc::new(Overheard::new(relay));
    let observer = Arc::clone(&relay) as Arc<dyn Observer>;
    let tried_run = lasts.map(|lasts| TryRun::start(lasts, observer)).transpose()?;
    let facts = SourceFacts { identity: source.identity(), journal_stem: source.journal_stem() };
    let mut supervisor = Supervisor {
        program: OwnProgram::open().context("this program cannot be started again")?,
        manager: ServiceManager::of_this_process(),
        holders: Arc::default(),
        readings: None,
        doorman: Slot::new(Role::Doorman.name()),
        runner: Slot::new(Role::Runner.name()),
        engine: Slot::new(Role::Engine.name()),
        owner: None,
        control: None,
        metrics: (MetricsListen::None, None),
        hooks,
        hook_queue: HookQueue::new(),
        commands: None,
        needs: None,
        reading: None,
        origin: Arc::new(LocalOrigin::without_code(source, Arc::clone(&relay) as Arc<dyn Observer>)),
        user: None,
        barriers: Arc::default(),
        is_strict: false,
        started: 0,
        is_engine_confined: false,
        is_giving_ledger: Arc::default(),
        ledgers: LEDGERS,
        engine_number: 0,
        guards: HashMap::new(),
        last_ticket: 0,
        tried_run,
        is_given_up: false,
        tried: Arc::new(Mutex::new(Some(tried))),
        stopping: None,
        has_run: false,
        gathering: Gathering::start(Arc::clone(&relay) as Arc<dyn Relay>)
            .context("reports cannot be gathered")?,
        facts,
        relay,
        log_filter,
        events,
        happenings,
    };
    let ended = supervisor.run(&mut signals).await;
    // Whatever the end is: what was not confirmed does not stay.
    supervisor.give_up(WhyOver::Ended).await;
    supervisor.end().await;
    ended.map(|ended| supervisor.verdict(ended))
}

/// What never changes of a source, for the other processes.
struct SourceFacts {
    identity: Option<ConfigIdentity>,
    journal_stem: &'static str,
}

struct Supervisor {
    program: OwnProgram,
    manager: ServiceManager,
    facts: SourceFacts,
    origin: Arc<LocalOrigin>,
    relay: Arc<Overheard>,
    log_filter: String,
    holders: Arc<Holders>,
    /// None until the guard is up.
    readings: Option<Arc<ReadingService>>,
    doorman: Slot,
    runner: Slot,
    engine: Slot,
    /// A copy of the doorman's socket: as long as it is held the table with the guard is owned, whatever happens to the doorman.
    owner: Option<OwnedFd>,
    /// Where the engine is asked; kept from one engine to the next.
    control: Option<BoundSocket>,
    /// Where metrics are handed out, as the configuration says it; the same.
    metrics: (MetricsListen, Option<MetricsSocket>),
    /// Where reports lead to commands.
    hooks: Hooks,
    hook_queue: HookQueue,
    /// In which the runner notes the commands that it runs, for the next.
    commands: Option<OwnedFd>,
    /// For the next engine.
    needs: Option<EngineNeeds>,
    /// Of these needs, which may hang.
    reading: Option<PatientReading<EngineNeeds>>,
    /// The user that the next process becomes.
    user: Option<ProcessUser>,
    barriers: Arc<Barriers>,
    /// Whether a missing barrier keeps the daemon from starting, as the configuration said last.
    is_strict: bool,
    /// How many processes were started.
    started: u64,
    /// Whether the engine that runs has said what it gave up.
    is_engine_confined: bool,
    /// Whether the engine that runs waits for the ledger's file.
    is_giving_ledger: Arc<AtomicBool>,
    ledgers: Pace,
    /// By which the runner tells engines apart.
    engine_number: u64,
    /// Who waits for the guard doors of a request.
    guards: HashMap<u64, oneshot::Sender<Result<Posture, NotInPlace>>>,
    last_ticket: u64,
    /// A run that is tried, until it is confirmed or given up.
    tried_run: Option<TryRun>,
    /// It was given up.
    is_given_up: bool,
    /// Called between the reports of what was tried and all that come later.
    tried: Arc<Mutex<Option<Tried>>>,
    /// The signal that stops the daemon, and until when its engine may take.
    stopping: Option<(i32, Instant)>,
    /// Whether an engine has run: then a refused configuration is no reason to end.
    has_run: bool,
    /// Relays the reports of roles.
    gathering: Gathering,
    events: Sender<Happening>,
    happenings: Receiver<Happening>,
}

impl Supervisor {
    async fn run(&mut self, signals: &mut Signals) -> anyhow::Result<Ended> {
        self.owner = take_stored()
            .ok()
            .and_then(|stored| stored.into_iter().find(|(name, _)| name == kept_socket::NAME))
            .map(|(_, socket)| socket);
        let guarded = match self.guard(signals).await? {
            Ok(guarded) => guarded,
            Err(signal) => return Ok(Ended { exit: Exit::Success, signal: Some(signal) }),
        };
        let holders = Arc::clone(&self.holders);
        let observer = Arc::clone(&self.relay) as Arc<dyn Observer>;
        let code = Arc::new(CompileService::start(None, observer)?.impatient());
        self.barriers.compile_by(Arc::clone(&code));
        self.origin.compile_by(code);
        self.barriers.read_by(Arc::clone(&self.origin));
        self.origin.tell_tenants()?;
        let barriers = Arc::clone(&self.barriers);
        let missing = Box::new(move || barriers.missing());
        let origin = Arc::clone(&self.origin);
        self.readings = Some(ReadingService::start(origin, Some(guarded), holders, missing));
        self.start_runner().context("the runner cannot be started")?;
        self.engine.due = Some(Instant::now());
        loop {
            if let Some(ended) = self.turn(signals).await? {
                return Ok(ended);
            }
        }
    }

    /// Waits for what happens next, and does it.
    async fn turn(&mut self, signals: &mut Signals) -> anyhow::Result<Option<Ended>> {
        let due = [&self.doorman, &self.runner, &self.engine].iter().filter_map(|slot| slot.due).min();
        let last = self.stopping.map(|(_, last)| last);
        let is_refused = self.engine.due.is_some() && self.reading.is_none();
        let Signals { hangup, stop } = signals;
        tokio::select! {
            Some(happening) = self.happenings.recv() => return Ok(self.handle(happening)),
            // A runner that is being started again runs it not: it may be late by then.
            Some(run) = self.hook_queue.next() => self.runner.send(&ToRunner::RunHook(run), &[]),
            () = until(due.map(Into::into)) => self.start_due(),
            // An engine that ended because it was refused need not wait for its time.
            () = self.origin.noticed().changed.notified(), if is_refused => {
                self.engine.due = Some(Instant::now());
            }
            asked = hangup_or_read(self.reading.as_mut(), hangup) => match asked {
                // Who tries ends by it.
                HangupOrRead::Hangup if self.tried_run.is_some() => {}
                HangupOrRead::Hangup if is_refused => self.engine.due = Some(Instant::now()),
                HangupOrRead::Hangup => self.engine.send(&ToEngine::Hangup, &[]),
                HangupOrRead::Read(needs) => return Ok(self.read(needs)),
            },
            step = TryRun::next(&mut self.tried_run) => return Ok(self.decide(step).await),
            signal = stop.recv() => {
                self.give_up(WhyOver::Stopped).await;
                return Ok(self.stop(signal));
            }
            () = until(last.map(Into::into)) => {
                let signal = self.stopping.map(|(signal, _)| signal);
                return Ok(Some(Ended { exit: Exit::Untidy, signal }));
            }
        }
        Ok(None)
    }

    /// Asks the engine to stop; a second signal does not wait for it.
    fn stop(&mut self, signal: i32) -> Option<Ended> {
        if self.stopping.is_some() || self.engine.process.is_none() {
            let exit = if self.stopping.is_some() { Exit::Untidy } else { Exit::Success };
            self.manager.stopping();
            return Some(Ended { exit, signal: Some(signal) });
        }
        self.stopping = Some((signal, Instant::now() + LAST));
        self.engine.send(&ToEngine::Stop(signal), &[]);
        None
    }

    fn report(&self, what: What<'_>) {
        self.relay.report(&Report::new(what));
    }

    fn role_ended(&mut self, slot: impl Fn(&mut Self) -> &mut Slot, how: &str) {
        let slot = slot(self);
        let (role, again_in) = (slot.role, slot.ended());
        self.report(What::RoleEnded { role: role.into(), detail: how.into(), again_in });
        self.tell_processes();
    }

    /// Has the other processes end.
    async fn end(&mut self) {
        for slot in [&mut self.engine, &mut self.runner, &mut self.doorman] {
            if let Some(process) = &slot.process {
                process.end();
            }
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        let mut left: Vec<_> = [&self.engine, &self.runner, &self.doorman]
            .iter()
            .filter_map(|slot| slot.process.as_ref().map(|process| process.number))
            .collect();
        while !left.is_empty() {
            tokio::select! {
                Some(happening) = self.happenings.recv() => {
                    if let Happening::Doorman(number, FromRole::Ended(_))
                    | Happening::Runner(number, FromRole::Ended(_))
                    | Happening::Engine(number, FromRole::Ended(_)) = happening
                    {
                        left.retain(|waiting| *waiting != number);
                    }
                }
                () = until(Some(deadline.into())) => break,
            }
        }
        for slot in [&self.engine, &self.runner, &self.doorman] {
            if let Some(process) = slot.process.as_ref().filter(|process| left.contains(&process.number)) {
                process.kill();
            }
        }
        // What they said last is on its way, and ends with them.
        let gathering = self.gathering.clone();
        drop(spawn_blocking(move || gathering.finish(LAST_WORDS)).await);
    }
}

/// What ends waiting.
enum HangupOrRead {
    Hangup,
    Read(EngineNeeds),
}

/// Waits for a hangup, or for what is being read, which takes it as a wish to read again. If reading panics, nothing is needed: the engine will
/// say what is wrong.
async fn hangup_or_read(
    reading: Option<&mut PatientReading<EngineNeeds>>,
    hangup: &mut Hangups,
) -> HangupOrRead {
    match reading {
        Some(reading) => HangupOrRead::Read(reading.done(hangup).await.unwrap_or_default()),
        None => {
            hangup.recv().await;
            HangupOrRead::Hangup
        }
    }
}

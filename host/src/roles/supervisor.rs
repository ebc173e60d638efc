//! Supervisor: starts the daemon's other processes, hands them what they may have, watches them, and starts the next one of each that ends.
//!
//! It is what posternd is started as, with the rights that this was given. It sees no packet and runs no rule, and what an engine asks of it is
//! a number.

mod barriers;
mod holders;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use postern_config::{Account, Config, ConfigSource, Confinement};
use postern_core::{ANY_INTERFACE, ConfigIdentity, Direction, GuardDoor, Observer, Posture, Report, What};
use postern_ledger::{FILE, LedgerRequest, take_file};
use postern_link::{
    FromDoorman, FromRunner, MOST_DOORMAN_BYTES, MOST_RUNNER_BYTES, NotInPlace, OrderLink, Talk, ToDoorman,
    ToRunner,
};
use postern_text::chain;
use postern_text::panic::PastPanic;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::ReadingService;
use super::engine_messages::{EngineStart, FromEngine, MOST_FROM_ENGINE, ToEngine};
use super::process::{FromRole, Manners, RoleProcess};
use super::restart::Restart;
use crate::clock::until;
use crate::compile::CompileService;
use crate::ended::{Ended, Tried};
use crate::exit::Exit;
use crate::guarding::{Attempt, apply_when_free};
use crate::kept_socket;
use crate::observe::{Gathering, LogOfAll, Relay, ReportPace, ReportTube, report_posture};
use crate::origin::{FirstLook, LocalOrigin, LocalPreparation, Origin as _, Preparation, mistake_of_strict};
use crate::pace::Pace;
use crate::patience::PatientReading;
use crate::role::{OwnProgram, Role};
use crate::signals::{Hangups, Signals};
use crate::state;
use crate::systemd::{ServiceManager, take_stored, watchdog_timeout};
use barriers::Barriers;
use holders::{AwaitsJournal, Holders, OF_NEXT_RUNNER};

/// How long the engine has to stop: its own grace, and a little.
const LAST: Duration = Duration::from_secs(13);
/// How long the last reports of roles are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What waits to be handled; a role that has more to say waits.
const MOST_HAPPENINGS: usize = 64;
/// How the doorman may be: it may take a while for a large table.
const DOORMAN: Manners = Manners { most: MOST_DOORMAN_BYTES, patience: Duration::from_secs(20) };
const RUNNER: Manners = Manners { most: MOST_RUNNER_BYTES, patience: Duration::from_secs(20) };
/// What an engine is told fits into its link many times over. This waits for one that reads nothing, and must not wait for long.
const ENGINE: Manners = Manners { most: MOST_FROM_ENGINE, patience: Duration::from_secs(2) };
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

/// What an engine must have before it gives its rights up, as the configuration says it now.
#[derive(Default)]
struct EngineNeeds {
    captures: Vec<(String, Direction)>,
    account: Option<Account>,
    is_strict: bool,
}

/// What a supervisor runs.
pub(crate) struct Supervised {
    pub(crate) source: Arc<dyn ConfigSource>,
    pub(crate) log: LogOfAll,
    /// Called once everything was tried.
    pub(crate) tried: Tried,
    pub(crate) signals: Signals,
}

/// Runs until a signal stops it, or the configuration is refused at the start.
///
/// # Errors
/// If the system does not let it work.
pub(crate) async fn supervise(supervised: Supervised) -> anyhow::Result<Ended> {
    let (events, happenings) = channel(MOST_HAPPENINGS);
    let Supervised { source, log: LogOfAll { relay, filter: log_filter }, tried, mut signals } = supervised;
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
        commands: None,
        needs: None,
        reading: None,
        origin: Arc::new(LocalOrigin::without_code(source, Arc::clone(&relay) as Arc<dyn Observer>)),
        account: None,
        barriers: Arc::default(),
        is_strict: false,
        started: 0,
        is_engine_confined: false,
        is_giving_ledger: Arc::default(),
        ledgers: LEDGERS,
        engine_number: 0,
        guards: HashMap::new(),
        last_ticket: 0,
        tried: Arc::new(Mutex::new(Some(tried))),
        stopping: None,
        has_run: false,
        gathering: Gathering::start(Arc::clone(&relay)).context("reports cannot be gathered")?,
        facts,
        relay,
        log_filter,
        events,
        happenings,
    };
    let ended = supervisor.run(&mut signals).await;
    supervisor.end().await;
    ended
}

/// A role, and who has it now.
struct Slot {
    role: &'static str,
    process: Option<Arc<RoleProcess>>,
    restart: Restart,
    /// When the next one is started.
    due: Option<Instant>,
    /// How fast its reports are relayed.
    reports: ReportPace,
}

impl Slot {
    fn new(role: &'static str) -> Self {
        Self { role, process: None, restart: Restart::default(), due: None, reports: ReportPace::default() }
    }

    fn is(&self, number: u64) -> bool {
        self.process.as_ref().is_some_and(|process| process.number == number)
    }

    fn send(&self, message: &impl serde::Serialize, descriptors: &[BorrowedFd<'_>]) {
        if let Some(process) = &self.process {
            process.send(message, descriptors);
        }
    }

    /// Notes the end of the process, and when the next is due.
    fn ended(&mut self) -> Duration {
        let now = Instant::now();
        let pause =
            self.process.take().map_or(Duration::ZERO, |process| self.restart.ended(process.started, now));
        self.due = Some(now + pause);
        pause
    }
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
    relay: Arc<dyn Relay>,
    log_filter: String,
    holders: Arc<Holders>,
    /// None until the guard is up.
    readings: Option<Arc<ReadingService>>,
    doorman: Slot,
    runner: Slot,
    engine: Slot,
    /// A copy of the doorman's socket: as long as it is held the table with the guard is owned, whatever happens to the doorman.
    owner: Option<OwnedFd>,
    /// In which the runner notes the commands that it runs, for the next.
    commands: Option<OwnedFd>,
    /// For the next engine.
    needs: Option<EngineNeeds>,
    /// Of these needs, which may hang.
    reading: Option<PatientReading<EngineNeeds>>,
    /// The user that the next process becomes.
    account: Option<Account>,
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
        let code = Arc::new(CompileService::start(None, observer)?);
        self.barriers.compile_by(Arc::clone(&code));
        self.origin.compile_by(code);
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
            () = until(due.map(Into::into)) => self.start_due(),
            // An engine that ended because it was refused need not wait for its time.
            () = self.origin.noticed().changed.notified(), if is_refused => {
                self.engine.due = Some(Instant::now());
            }
            asked = hangup_or_read(self.reading.as_mut(), hangup) => match asked {
                HangupOrRead::Hangup if is_refused => self.engine.due = Some(Instant::now()),
                HangupOrRead::Hangup => self.engine.send(&ToEngine::Hangup, &[]),
                HangupOrRead::Read(needs) => return Ok(self.read(needs)),
            },
            signal = stop.recv() => return Ok(self.stop(signal)),
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

    fn handle(&mut self, happening: Happening) -> Option<Ended> {
        match happening {
            Happening::Doorman(number, FromRole::Ended(how)) if self.doorman.is(number) => {
                self.holders.ended(number);
                self.guards.clear();
                self.role_ended(|this| &mut this.doorman, &how);
            }
            Happening::Doorman(number, FromRole::Message(message, sockets)) if self.doorman.is(number) => {
                return self.heard_doorman(number, message, sockets);
            }
            Happening::Runner(number, FromRole::Ended(how)) if self.runner.is(number) => {
                self.holders.ended(number);
                self.role_ended(|this| &mut this.runner, &how);
            }
            Happening::Runner(number, FromRole::Message(message, descriptors)) if self.runner.is(number) => {
                self.heard_runner(number, message, descriptors);
            }
            Happening::Engine(number, FromRole::Ended(how)) if self.engine.is(number) => {
                if let Some((signal, _)) = self.stopping {
                    return Some(Ended { exit: Exit::Untidy, signal: Some(signal) });
                }
                self.role_ended(|this| &mut this.engine, &how);
            }
            Happening::Engine(number, FromRole::Message(message, _)) if self.engine.is(number) => {
                return self.heard_engine(message);
            }
            Happening::NotWanted => return Some(Ended { exit: Exit::Success, signal: None }),
            // What a process before the one that has the role now said.
            Happening::Doorman(..) | Happening::Runner(..) | Happening::Engine(..) => {}
        }
        None
    }

    fn heard_doorman(&mut self, number: u64, message: FromDoorman, sockets: Vec<OwnedFd>) -> Option<Ended> {
        match message {
            FromDoorman::Started => {
                if let Some(socket) = sockets.into_iter().next() {
                    // Without systemd nothing is kept, and that is no failure.
                    let _ = self.manager.store(kept_socket::NAME, socket.as_fd());
                    self.owner = Some(socket);
                }
            }
            FromDoorman::Done { ticket, outcome } => {
                if let Some(waiting) = self.guards.remove(&ticket) {
                    let _ = waiting.send(outcome);
                }
            }
            FromDoorman::InPlace { table } => self.holders.in_place(table),
            FromDoorman::Took { table } => self.holders.took(number, table),
            FromDoorman::Confined { held, missing } => return self.confined("doorman", &held, missing),
        }
        None
    }

    fn heard_runner(&mut self, number: u64, message: FromRunner, descriptors: Vec<OwnedFd>) {
        match message {
            FromRunner::Started => self.commands = descriptors.into_iter().next(),
            FromRunner::Took { table } => self.holders.took(number, table),
            FromRunner::Journal { ticket: OF_NEXT_RUNNER, .. } => {
                // There may be none: then the engine is told so with each opening.
                if self.engine.process.is_some()
                    && let Err(error) = self.link_runner()
                {
                    self.report(What::LinkBroken { detail: error.to_string().into() });
                }
            }
            FromRunner::Journal { ticket, is_there, error } => {
                self.holders.journal(ticket, error.map_or(Ok(is_there), Err));
            }
        }
    }

    fn heard_engine(&mut self, message: FromEngine) -> Option<Ended> {
        match message {
            FromEngine::Confined { .. } if self.is_engine_confined => {
                self.end_odd_engine("it says twice what it has given up");
            }
            FromEngine::Confined { held, missing } => {
                self.is_engine_confined = true;
                return self.confined("engine", &held, missing);
            }
            FromEngine::Ready => {
                self.has_run = true;
                self.manager.ready();
            }
            FromEngine::Reloading => self.manager.reloading(),
            // It is not for the engine to say that the daemon stops.
            FromEngine::Stopping if self.stopping.is_some() => self.manager.stopping(),
            FromEngine::Stopping => {}
            FromEngine::Ledger { make, copy } => self.give_ledger(LedgerRequest { make, copy }),
            FromEngine::Exhausted => {
                // It ends, and the next one opens what it needs.
                if let Some(process) = &self.engine.process {
                    process.kill();
                }
            }
            FromEngine::Alive => self.manager.alive(),
            FromEngine::Ended { exit, signal } => {
                let exit = Exit::of_number(exit);
                // A configuration that is refused after a restart of the engine may be half written.
                if self.stopping.is_some() || !self.has_run {
                    return Some(Ended {
                        exit,
                        signal: signal.or_else(|| self.stopping.map(|(signal, _)| signal)),
                    });
                }
                self.engine_said_its_last();
            }
            FromEngine::CannotRun(why) => {
                if !self.has_run {
                    self.report(What::Mistake { detail: why.into() });
                    return Some(Ended { exit: Exit::CannotRun, signal: None });
                }
                self.report(What::CaptureNotStarted { detail: why.into() });
                self.engine_said_its_last();
            }
        }
        None
    }

    /// It ends by itself, or is ended: it says nothing more.
    fn engine_said_its_last(&self) {
        if let Some(process) = &self.engine.process {
            process.end();
        }
    }

    /// Ends an engine that does what none of ours does.
    fn end_odd_engine(&self, what: &str) {
        self.report(What::LinkBroken { detail: format!("engine to supervisor: {what}").into() });
        if let Some(process) = &self.engine.process {
            process.kill();
        }
    }

    /// Notes how a process is held, and ends if that is not enough for a start.
    fn confined(&mut self, role: &'static str, held: &str, missing: Vec<String>) -> Option<Ended> {
        self.report(What::Confined { role: role.into(), detail: held.into() });
        for missing in &missing {
            self.report(What::BarrierMissing { role: role.into(), detail: missing.as_str().into() });
        }
        self.barriers.note(role, missing);
        self.refused_as_strict()
    }

    /// Ends a start that must not be without a barrier, and says which. Later the configuration is refused when it is read: whatever a reload or
    /// another engine wants, ports stay guarded.
    fn refused_as_strict(&self) -> Option<Ended> {
        if self.has_run || !self.is_strict {
            return None;
        }
        let mistake = mistake_of_strict(&self.origin.facts().file, &self.barriers.missing())?;
        self.report(What::Mistake { detail: mistake.to_string().into() });
        Some(Ended { exit: Exit::Mistakes, signal: None })
    }

    /// The next engine is started with what was read.
    fn read(&mut self, needs: EngineNeeds) -> Option<Ended> {
        self.reading = None;
        self.account = needs.account;
        self.is_strict = needs.is_strict;
        self.needs = Some(needs);
        self.engine.due = Some(Instant::now());
        self.refused_as_strict()
    }

    fn report(&self, what: What<'_>) {
        self.relay.report(&Report::new(what));
    }

    fn role_ended(&mut self, slot: impl Fn(&mut Self) -> &mut Slot, how: &str) {
        let slot = slot(self);
        let (role, again_in) = (slot.role, slot.ended());
        self.report(What::RoleEnded { role: role.into(), detail: how.into(), again_in });
    }

    /// Starts each role whose time has come.
    fn start_due(&mut self) {
        let now = Instant::now();
        let is_due = |slot: &mut Slot| slot.due.take_if(|due| *due <= now).is_some();
        if is_due(&mut self.doorman)
            && let Err(error) = self.start_doorman()
        {
            self.not_started(|this| &mut this.doorman, &error);
        }
        if is_due(&mut self.runner)
            && let Err(error) = self.start_runner()
        {
            self.not_started(|this| &mut this.runner, &error);
        }
        if is_due(&mut self.engine) {
            if self.needs.is_none() {
                self.read_needs();
            } else if let Err(error) = self.start_engine() {
                self.not_started(|this| &mut this.engine, &error);
            }
        }
    }

    fn not_started(&mut self, slot: impl Fn(&mut Self) -> &mut Slot, error: &io::Error) {
        let how = format!("it cannot be started: {}", chain(error));
        self.role_ended(&slot, &how);
        let slot = slot(self);
        // At the earliest: what there is too little of does not come back at once.
        slot.due = slot.due.max(Some(Instant::now() + Duration::from_millis(200)));
    }

    fn next_number(&mut self) -> u64 {
        self.started += 1;
        self.started
    }

    /// Where a role reports, no faster than `pace` has it; `mark` is called for each mark in its reports.
    fn reports(&self, pace: &ReportPace, mark: impl Fn() + Send + 'static) -> io::Result<OwnedFd> {
        let (ours, of_role) = ReportTube::pair()?;
        self.gathering.add(ours, pace, mark);
        Ok(of_role)
    }

    fn start_doorman(&mut self) -> io::Result<()> {
        let number = self.next_number();
        let events = self.events.clone();
        let tell = move |number, from| drop(events.blocking_send(Happening::Doorman(number, from)));
        let doorman = RoleProcess::start(&self.program, Role::Doorman, number, DOORMAN, tell)?;
        let reports = self.reports(&self.doorman.reports, || {})?;
        let start = ToDoorman::Start {
            identity: self.facts.identity.clone(),
            log_filter: self.log_filter.clone(),
            account: self.account.map(|of| (of.uid, of.gid)),
        };
        let sockets: Vec<_> =
            [reports.as_fd()].into_iter().chain(self.owner.as_ref().map(AsFd::as_fd)).collect();
        doorman.send(&start, &sockets);
        let doorman = Arc::new(doorman);
        self.doorman.process = Some(Arc::clone(&doorman));
        self.holders.doorman(doorman);
        if self.engine.process.is_some() {
            let (of_engine, of_doorman) = OrderLink::pair()?;
            self.doorman.send(&ToDoorman::Engine, &[of_doorman.as_fd()]);
            self.engine.send(&ToEngine::Doorman, &[of_engine.as_fd()]);
        }
        Ok(())
    }

    fn start_runner(&mut self) -> io::Result<()> {
        let number = self.next_number();
        let events = self.events.clone();
        let tell = move |number, from| drop(events.blocking_send(Happening::Runner(number, from)));
        let runner = RoleProcess::start(&self.program, Role::Runner, number, RUNNER, tell)?;
        let reports = self.reports(&self.runner.reports, || {})?;
        let has_engine = self.engine.process.is_some();
        let start = ToRunner::Start {
            log_filter: self.log_filter.clone(),
            state_folder: state::folder(),
            journal_stem: self.facts.journal_stem.to_owned(),
            engine: has_engine.then_some(self.engine_number),
        };
        let descriptors: Vec<_> =
            [reports.as_fd()].into_iter().chain(self.commands.as_ref().map(AsFd::as_fd)).collect();
        runner.send(&start, &descriptors);
        let runner = Arc::new(runner);
        self.runner.process = Some(Arc::clone(&runner));
        // What the engine has recorded waits until there is a journal again, if there was one.
        match self.holders.runner(runner) {
            AwaitsJournal::No if has_engine => self.link_runner(),
            _ => Ok(()),
        }
    }

    /// Gives the engine and the runner a link.
    fn link_runner(&self) -> io::Result<()> {
        let (of_engine, of_runner) = OrderLink::pair()?;
        self.runner.send(&ToRunner::Engine { number: self.engine_number }, &[of_runner.as_fd()]);
        self.engine.send(&ToEngine::Runner, &[of_engine.as_fd()]);
        Ok(())
    }

    /// Has read what the next engine needs; a disk may hang.
    fn read_needs(&mut self) {
        if self.reading.is_none() {
            let glance =
                |preparation: &LocalPreparation| EngineNeeds::of(preparation.glance().config.as_ref());
            self.reading = Some(self.patiently(true, glance));
        }
    }

    /// Begins to read something. Files on which others hang are left out if that `may_avoid` them.
    fn patiently<T: Send + 'static>(
        &self,
        may_avoid: bool,
        read: impl Fn(&LocalPreparation) -> T + Copy + Send + 'static,
    ) -> PatientReading<T> {
        let origin = Arc::clone(&self.origin);
        let begin = move |avoids| {
            let preparation = origin.begin(may_avoid && avoids);
            let shown = Arc::clone(&preparation) as Arc<dyn Preparation>;
            (shown, Box::new(move || read(&preparation)) as Box<dyn FnOnce() -> T + Send>)
        };
        let observer = Arc::clone(&self.relay) as Arc<dyn Observer>;
        let idle = format!("reading {}", self.origin.facts().file.display());
        PatientReading::start(begin, self.origin.noticed(), &observer, idle)
    }

    fn start_engine(&mut self) -> io::Result<()> {
        // The one after this reads them anew: they may have changed, and they may be why this one ends.
        let Some(EngineNeeds { captures, account, .. }) = self.needs.take() else { return Ok(()) };
        let account = account.map(|of| (of.uid, of.gid));
        let number = self.next_number();
        let events = self.events.clone();
        let tell = move |number, from| {
            let from = match from {
                // It has none to give; they must not wait here, open.
                FromRole::Message(message, _) => FromRole::Message(message, Vec::new()),
                ended @ FromRole::Ended(_) => ended,
            };
            drop(events.blocking_send(Happening::Engine(number, from)));
        };
        let engine = RoleProcess::start(&self.program, Role::Engine, number, ENGINE, tell)?;
        let events = self.events.clone();
        let tried = Arc::clone(&self.tried);
        // It comes once, however often an engine says it.
        let tried = move || {
            if let Some(tried) = tried.lock().past_panic().take()
                && !tried()
            {
                drop(events.blocking_send(Happening::NotWanted));
            }
        };
        let reports = self.reports(&self.engine.reports, tried)?;
        let (of_engine, readings) = Talk::pair()?;
        let ((to_doorman, of_doorman), (to_runner, of_runner)) = (OrderLink::pair()?, OrderLink::pair()?);
        let start = EngineStart {
            log_filter: self.log_filter.clone(),
            ledger: state::folder().join(FILE),
            account,
            captures,
            watchdog: watchdog_timeout(),
        };
        let of_engine = OwnedFd::from(of_engine);
        let links = [reports.as_fd(), of_engine.as_fd(), to_doorman.as_fd(), to_runner.as_fd()];
        engine.send(&ToEngine::Start(start), &links);
        self.engine.process = Some(Arc::new(engine));
        (self.is_engine_confined, self.is_giving_ledger) = (false, Arc::default());
        self.engine_number = micros();
        if let Some(service) = &self.readings {
            service.attach(readings)?;
        }
        self.doorman.send(&ToDoorman::Engine, &[of_doorman.as_fd()]);
        self.runner.send(&ToRunner::Engine { number: self.engine_number }, &[of_runner.as_fd()]);
        Ok(())
    }

    /// Opens the ledger's file for the engine, off this thread; no copy is kept. An engine waits for one before it asks for another.
    fn give_ledger(&mut self, request: LedgerRequest) {
        let Some(engine) = self.engine.process.clone() else { return };
        let is_giving = Arc::clone(&self.is_giving_ledger);
        if is_giving.swap(true, Ordering::AcqRel) {
            return self.end_odd_engine("it asks for the ledger while it is given it");
        }
        let pause = self.ledgers.take(1, Instant::now());
        drop(spawn_blocking(move || {
            thread::sleep(pause);
            let taken = take_file(&state::folder(), request);
            is_giving.store(false, Ordering::Release);
            match taken {
                Ok(Some(file)) => engine.send(&ToEngine::Ledger(None), &[file.as_fd()]),
                Ok(None) => engine.send(&ToEngine::Ledger(None), &[]),
                Err(error) => engine.send(&ToEngine::Ledger(Some(chain(&error).to_string())), &[]),
            }
        }));
    }

    /// Starts the doorman, and has it close what could be read of guard doors, before anything else is known of the configuration; whether there
    /// are any, or the signal that stops the daemon meanwhile.
    async fn guard(&mut self, signals: &mut Signals) -> anyhow::Result<Result<bool, i32>> {
        let relay = Arc::clone(&self.relay);
        let Signals { hangup, stop } = signals;
        let mut is_any = false;
        let attempt = apply_when_free(stop, &*relay, async || {
            let FirstLook { guards, account } = self.first_look(hangup).await;
            is_any = !guards.is_empty();
            self.account = account;
            if self.doorman.process.is_none() && self.doorman.due.is_none() {
                self.start_doorman().map_err(|error| {
                    NotInPlace::failed(format!("the doorman cannot be started: {}", chain(&error)))
                })?;
            }
            self.guard_once(guards).await
        });
        match attempt.await.map_err(anyhow::Error::new).context("the doors cannot be set up")? {
            Attempt::Done(posture) => report_posture(posture, &*relay),
            Attempt::Stopped(signal) => return Ok(Err(signal)),
        }
        Ok(Ok(is_any))
    }

    /// Reads what must be known first; processes are watched meanwhile.
    async fn first_look(&mut self, hangup: &mut Hangups) -> FirstLook {
        let mut reading = self.patiently(false, LocalPreparation::first_look);
        loop {
            let due = self.doorman.due;
            tokio::select! {
                // What panics here would leave ports unguarded.
                look = reading.done(hangup) => return look.unwrap_or_else(|panic| resume_unwind(panic)),
                Some(happening) = self.happenings.recv() => drop(self.handle(happening)),
                () = until(due.map(Into::into)) => self.start_due(),
            }
        }
    }

    async fn guard_once(&mut self, doors: Vec<GuardDoor>) -> Result<Posture, NotInPlace> {
        if doors.is_empty() {
            return Ok(Posture::Unguarded);
        }
        let (sender, mut answer) = oneshot::channel();
        self.last_ticket += 1;
        self.guards.insert(self.last_ticket, sender);
        self.doorman.send(&ToDoorman::Guard { ticket: self.last_ticket, doors }, &[]);
        loop {
            let due = self.doorman.due;
            tokio::select! {
                answer = &mut answer => {
                    return answer.unwrap_or_else(|_| Err(NotInPlace::failed("the doorman ended")));
                }
                Some(happening) = self.happenings.recv() => drop(self.handle(happening)),
                () = until(due.map(Into::into)) => self.start_due(),
            }
        }
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

impl EngineNeeds {
    /// A configuration that cannot be read needs nothing: the engine will say what is wrong with it.
    fn of(config: Option<&Config>) -> Self {
        let Some(config) = config else {
            return Self { account: Confinement::of_machine().account, ..Self::default() };
        };
        let mut captures: Vec<_> =
            config.interfaces.iter().map(|interface| (interface.clone(), Direction::Incoming)).collect();
        if config.rules.iter().any(|rule| rule.sees_outgoing) {
            let named = config.interfaces.iter().filter(|interface| **interface != ANY_INTERFACE);
            captures.extend(named.map(|interface| (interface.clone(), Direction::Outgoing)));
        }
        let confinement = &config.confinement;
        Self { captures, account: confinement.account, is_strict: confinement.is_strict }
    }
}

/// Microseconds since 1970: a number that no engine of an earlier life had.
fn micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX).max(1)
}

//! Supervisor: starts the daemon's other processes, hands them what they may have, watches them, and starts the next one of each that ends.
//!
//! It is what posternd is started as, with the rights that this was given. It sees no packet and runs no rule, and what an engine asks of it is
//! a number.

mod holders;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use postern_config::{Account, Activity, Config, ConfigReading, ConfigSource, Confinement};
use postern_core::{ANY_INTERFACE, Direction, GuardDoor, Observer, Posture, Report, What};
use postern_ledger::{FILE, LedgerRequest, take_file};
use postern_link::{
    FromDoorman, FromRunner, MOST_DOORMAN_BYTES, MOST_RUNNER_BYTES, NotInPlace, OrderLink, Talk, ToDoorman,
    ToRunner,
};
use postern_text::chain;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::ReadingService;
use super::engine_messages::{EngineStart, FromEngine, MOST_FROM_ENGINE, ToEngine};
use super::process::{FromRole, RoleProcess};
use super::restart::Restart;
use crate::app::{Ended, Tried};
use crate::clock::until;
use crate::compile::CompileService;
use crate::exit::Exit;
use crate::guarding::{Attempt, apply_when_free};
use crate::kept_socket;
use crate::observe::{Gathering, LogOfAll, Relay, ReportTube, report_posture};
use crate::role::{OwnProgram, Role};
use crate::signals::Signals;
use crate::state;
use crate::systemd::{ServiceManager, take_stored, watchdog_timeout};
use holders::Holders;

/// How long the engine has to stop: its own grace, and a little.
const LAST: Duration = Duration::from_secs(13);
/// How long the last reports of roles are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the supervisor hears of its processes, each with the number of the one that said it.
enum Happening {
    Doorman(u64, FromRole<FromDoorman>),
    Runner(u64, FromRole<FromRunner>),
    Engine(u64, FromRole<FromEngine>),
    /// Every interface of this engine has been tried, with or without success, and that was reported.
    Tried(u64),
    /// What an engine must have before it gives its rights up was read.
    Read(EngineNeeds),
}

/// What an engine must have before it gives its rights up, as the configuration says it now.
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
    let (events, happenings) = unbounded_channel();
    let Supervised { source, log: LogOfAll { relay, filter: log_filter }, tried, mut signals } = supervised;
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
        is_reading: false,
        started: 0,
        engine_number: 0,
        guards: HashMap::new(),
        last_ticket: 0,
        tried: Some(tried),
        stopping: None,
        has_run: false,
        gathering: Gathering::start(Arc::clone(&relay)).context("reports cannot be gathered")?,
        source,
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
}

impl Slot {
    fn new(role: &'static str) -> Self {
        Self { role, process: None, restart: Restart::default(), due: None }
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

struct Supervisor {
    program: OwnProgram,
    manager: ServiceManager,
    source: Arc<dyn ConfigSource>,
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
    is_reading: bool,
    /// How many processes were started.
    started: u64,
    /// By which the runner tells engines apart.
    engine_number: u64,
    /// Who waits for the guard doors of a request.
    guards: HashMap<u64, oneshot::Sender<Result<Posture, NotInPlace>>>,
    last_ticket: u64,
    tried: Option<Tried>,
    /// The signal that stops the daemon, and until when its engine may take.
    stopping: Option<(i32, Instant)>,
    /// Whether an engine has run: then a refused configuration is no reason to end.
    has_run: bool,
    /// Relays the reports of roles.
    gathering: Gathering,
    events: UnboundedSender<Happening>,
    happenings: UnboundedReceiver<Happening>,
}

impl Supervisor {
    async fn run(&mut self, signals: &mut Signals) -> anyhow::Result<Ended> {
        self.owner = take_stored()
            .ok()
            .and_then(|stored| stored.into_iter().find(|(name, _)| name == kept_socket::NAME))
            .map(|(_, socket)| socket);
        self.start_doorman().context("the doorman cannot be started")?;
        let guarded = match self.guard(signals).await? {
            Ok(guarded) => guarded,
            Err(signal) => return Ok(Ended { exit: Exit::Success, signal: Some(signal) }),
        };
        let holders = Arc::clone(&self.holders);
        let observer = Arc::clone(&self.relay);
        let source = Arc::clone(&self.source);
        let code = Arc::new(CompileService::start(None, Arc::clone(&self.relay) as Arc<dyn Observer>)?);
        self.readings = Some(ReadingService::start(source, code, Some(guarded), holders, observer));
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
        tokio::select! {
            Some(happening) = self.happenings.recv() => return Ok(self.handle(happening)),
            () = until(due.map(Into::into)) => self.start_due(),
            () = signals.hangup.recv() => self.engine.send(&ToEngine::Hangup, &[]),
            signal = signals.stop.recv() => return Ok(self.stop(signal)),
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
                self.heard_doorman(number, message, sockets);
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
            Happening::Tried(number) if self.engine.is(number) => {
                if let Some(tried) = self.tried.take()
                    && !tried()
                {
                    return Some(Ended { exit: Exit::Success, signal: None });
                }
            }
            Happening::Read(needs) => {
                self.is_reading = false;
                self.needs = Some(needs);
                self.engine.due = Some(Instant::now());
            }
            // What a process before the one that has the role now said.
            Happening::Doorman(..) | Happening::Runner(..) | Happening::Engine(..) | Happening::Tried(_) => {}
        }
        None
    }

    fn heard_doorman(&mut self, number: u64, message: FromDoorman, sockets: Vec<OwnedFd>) {
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
            FromDoorman::Confined { held, missing } => self.confined("doorman", &held, &missing),
        }
    }

    fn heard_runner(&mut self, number: u64, message: FromRunner, descriptors: Vec<OwnedFd>) {
        match message {
            FromRunner::Started => self.commands = descriptors.into_iter().next(),
            FromRunner::Took { table } => self.holders.took(number, table),
            FromRunner::Journal { ticket, is_there, error } => {
                self.holders.journal(ticket, error.map_or(Ok(is_there), Err));
            }
        }
    }

    fn heard_engine(&mut self, message: FromEngine) -> Option<Ended> {
        match message {
            FromEngine::Confined { held, missing } => {
                self.confined("engine", &held, &missing);
                let is_strict = self.needs.take().is_some_and(|needs| needs.is_strict);
                if is_strict && !missing.is_empty() {
                    let detail = "sandbox = \"strict\", and a barrier is missing: see the lines before";
                    self.report(What::Mistake { detail: detail.into() });
                    return Some(Ended { exit: Exit::Mistakes, signal: None });
                }
            }
            FromEngine::Ready => {
                self.has_run = true;
                self.manager.ready();
            }
            FromEngine::Reloading => self.manager.reloading(),
            FromEngine::Stopping => self.manager.stopping(),
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
            }
            FromEngine::CannotRun(why) => {
                if !self.has_run {
                    self.report(What::Mistake { detail: why.into() });
                    return Some(Ended { exit: Exit::CannotRun, signal: None });
                }
                self.report(What::CaptureNotStarted { detail: why.into() });
            }
        }
        None
    }

    fn confined(&self, role: &'static str, held: &str, missing: &[String]) {
        self.report(What::Confined { role: role.into(), detail: held.into() });
        for missing in missing {
            self.report(What::BarrierMissing { role: role.into(), detail: missing.as_str().into() });
        }
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

    /// Where a role reports; `mark` is called for each mark in its reports.
    fn reports(&self, mark: impl Fn() + Send + 'static) -> io::Result<OwnedFd> {
        let (ours, of_role) = ReportTube::pair()?;
        self.gathering.add(ours, mark);
        Ok(of_role)
    }

    fn start_doorman(&mut self) -> io::Result<()> {
        let number = self.next_number();
        let events = self.events.clone();
        let tell = move |number, from| drop(events.send(Happening::Doorman(number, from)));
        let doorman = RoleProcess::start(&self.program, Role::Doorman, number, MOST_DOORMAN_BYTES, tell)?;
        let reports = self.reports(|| {})?;
        let start = ToDoorman::Start {
            identity: self.source.identity(),
            log_filter: self.log_filter.clone(),
            account: Confinement::of_machine().account.map(|of| (of.uid, of.gid)),
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
        let tell = move |number, from| drop(events.send(Happening::Runner(number, from)));
        let runner = RoleProcess::start(&self.program, Role::Runner, number, MOST_RUNNER_BYTES, tell)?;
        let reports = self.reports(|| {})?;
        let has_engine = self.engine.process.is_some();
        let start = ToRunner::Start {
            log_filter: self.log_filter.clone(),
            state_folder: state::folder(),
            journal_stem: self.source.journal_stem().to_owned(),
            engine: has_engine.then_some(self.engine_number),
        };
        let descriptors: Vec<_> =
            [reports.as_fd()].into_iter().chain(self.commands.as_ref().map(AsFd::as_fd)).collect();
        runner.send(&start, &descriptors);
        let runner = Arc::new(runner);
        self.runner.process = Some(Arc::clone(&runner));
        self.holders.runner(runner);
        if has_engine {
            let (of_engine, of_runner) = OrderLink::pair()?;
            self.runner.send(&ToRunner::Engine { number: self.engine_number }, &[of_runner.as_fd()]);
            self.engine.send(&ToEngine::Runner, &[of_engine.as_fd()]);
        }
        Ok(())
    }

    /// Has read what the next engine needs; a disk may hang.
    fn read_needs(&mut self) {
        if std::mem::replace(&mut self.is_reading, true) {
            return;
        }
        let (source, events) = (Arc::clone(&self.source), self.events.clone());
        drop(spawn_blocking(move || {
            let ConfigReading { config, .. } = source.read(&Activity::default(), &());
            let _ = events.send(Happening::Read(EngineNeeds::of(config.as_ref())));
        }));
    }

    fn start_engine(&mut self) -> io::Result<()> {
        let Some(EngineNeeds { captures, account, .. }) = &self.needs else { return Ok(()) };
        let (captures, account) = (captures.clone(), account.map(|of| (of.uid, of.gid)));
        let number = self.next_number();
        let events = self.events.clone();
        let tell = move |number, from| drop(events.send(Happening::Engine(number, from)));
        let engine = RoleProcess::start(&self.program, Role::Engine, number, MOST_FROM_ENGINE, tell)?;
        let events = self.events.clone();
        let reports = self.reports(move || drop(events.send(Happening::Tried(number))))?;
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
        self.engine_number = micros();
        if let Some(service) = &self.readings {
            service.attach(readings)?;
        }
        self.doorman.send(&ToDoorman::Engine, &[of_doorman.as_fd()]);
        self.runner.send(&ToRunner::Engine { number: self.engine_number }, &[of_runner.as_fd()]);
        Ok(())
    }

    /// Opens the ledger's file for the engine, off this thread; no copy is kept.
    fn give_ledger(&self, request: LedgerRequest) {
        let Some(engine) = self.engine.process.clone() else { return };
        drop(spawn_blocking(move || match take_file(&state::folder(), request) {
            Ok(Some(file)) => engine.send(&ToEngine::Ledger(None), &[file.as_fd()]),
            Ok(None) => engine.send(&ToEngine::Ledger(None), &[]),
            Err(error) => engine.send(&ToEngine::Ledger(Some(chain(&error).to_string())), &[]),
        }));
    }

    /// Has the doorman close what could be read of guard doors, before anything else is known of the configuration; whether there are any, or
    /// the signal that stops the daemon meanwhile.
    async fn guard(&mut self, signals: &mut Signals) -> anyhow::Result<Result<bool, i32>> {
        let (source, relay) = (Arc::clone(&self.source), Arc::clone(&self.relay));
        let mut is_any = false;
        let attempt = apply_when_free(signals, &*relay, async || {
            let source = Arc::clone(&source);
            let guards = spawn_blocking(move || source.guards()).await.unwrap_or_default();
            is_any = !guards.is_empty();
            self.guard_once(guards).await
        });
        match attempt.await.map_err(anyhow::Error::new).context("the doors cannot be set up")? {
            Attempt::Done(posture) => report_posture(posture, &*relay),
            Attempt::Stopped(signal) => return Ok(Err(signal)),
        }
        Ok(Ok(is_any))
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

impl EngineNeeds {
    /// A configuration that cannot be read needs nothing: the engine will say what is wrong with it.
    fn of(config: Option<&Config>) -> Self {
        let Some(config) = config else {
            return Self { captures: Vec::new(), account: None, is_strict: false };
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

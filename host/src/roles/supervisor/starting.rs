//! Starting: the processes of the roles, and what each is given at its start.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postern_config::MetricsListen;
use postern_core::{Observer, What};
use postern_ledger::{FILE, LedgerRequest, take_file};
use postern_link::{MOST_DOORMAN_BYTES, MOST_RUNNER_BYTES, OrderLink, Talk, ToDoorman, ToRunner};
use postern_text::chain;
use postern_text::panic::PastPanic;
use tokio::task::spawn_blocking;

use super::engine_needs::EngineNeeds;
use super::holders::AwaitsJournal;
use super::slot::Slot;
use super::{Happening, Supervisor};
use crate::control::{BoundSocket, SocketUse};
use crate::metrics::MetricsSocket;
use crate::observe::{ReportPace, ReportTube};
use crate::origin::{LocalPreparation, Origin as _, Preparation};
use crate::patience::PatientReading;
use crate::role::Role;
use crate::roles::engine_messages::{EngineStart, MOST_FROM_ENGINE, ToEngine};
use crate::roles::process::{FromRole, Manners, RoleProcess};
use crate::state;
use crate::systemd::watchdog_timeout;

/// How the doorman may be: it may take a while for a large table.
const DOORMAN: Manners = Manners { most: MOST_DOORMAN_BYTES, patience: Duration::from_secs(20) };
const RUNNER: Manners = Manners { most: MOST_RUNNER_BYTES, patience: Duration::from_secs(20) };
/// What an engine is told fits into its link many times over. This waits for one that reads nothing, and must not wait for long.
const ENGINE: Manners = Manners { most: MOST_FROM_ENGINE, patience: Duration::from_secs(2) };

impl Supervisor {
    /// Starts each role whose time has come.
    pub(super) fn start_due(&mut self) {
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

    pub(super) fn not_started(&mut self, slot: impl Fn(&mut Self) -> &mut Slot, error: &io::Error) {
        let how = format!("it cannot be started: {}", chain(error));
        self.role_ended(&slot, &how);
        let slot = slot(self);
        // At the earliest: what there is too little of does not come back at once.
        slot.due = slot.due.max(Some(Instant::now() + Duration::from_millis(200)));
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.started += 1;
        self.started
    }

    /// Where a role reports, no faster than `pace` has it. The engine, which is asked, hears of it.
    pub(super) fn reports(&self, pace: &ReportPace) -> io::Result<OwnedFd> {
        let (ours, of_role) = ReportTube::pair()?;
        let relay = Arc::clone(&self.relay);
        self.gathering.add_heard(ours, pace, move |message| relay.pass_on(message));
        Ok(of_role)
    }

    pub(super) fn start_doorman(&mut self) -> io::Result<()> {
        // It would put the guard up again.
        if self.is_given_up {
            return Ok(());
        }
        let number = self.next_number();
        let events = self.events.clone();
        let tell = move |number, from| drop(events.blocking_send(Happening::Doorman(number, from)));
        let doorman = RoleProcess::start(&self.program, Role::Doorman, number, DOORMAN, tell)?;
        let reports = self.reports(&self.doorman.reports)?;
        let start = ToDoorman::Start {
            identity: self.facts.identity.clone(),
            log_filter: self.log_filter.clone(),
            account: self.user.map(|of| (of.uid, of.gid)),
            trial: self.trial_start(),
        };
        let sockets: Vec<_> =
            [reports.as_fd()].into_iter().chain(self.owner.as_ref().map(AsFd::as_fd)).collect();
        doorman.send(&start, &sockets);
        let doorman = Arc::new(doorman);
        self.doorman.begin(Arc::clone(&doorman));
        self.tell_processes();
        self.holders.doorman(doorman);
        if self.engine.process.is_some() {
            let (of_engine, of_doorman) = OrderLink::pair()?;
            self.doorman.send(&ToDoorman::Engine, &[of_doorman.as_fd()]);
            self.engine.send(&ToEngine::Doorman, &[of_engine.as_fd()]);
        }
        Ok(())
    }

    pub(super) fn start_runner(&mut self) -> io::Result<()> {
        let number = self.next_number();
        let events = self.events.clone();
        let tell = move |number, from| drop(events.blocking_send(Happening::Runner(number, from)));
        let runner = RoleProcess::start(&self.program, Role::Runner, number, RUNNER, tell)?;
        let reports = self.reports(&self.runner.reports)?;
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
        self.runner.begin(Arc::clone(&runner));
        self.tell_processes();
        // What the engine has recorded waits until there is a journal again, if there was one.
        match self.holders.runner(runner) {
            AwaitsJournal::No if has_engine => self.link_runner(),
            _ => Ok(()),
        }
    }

    /// Gives the engine and the runner a link.
    pub(super) fn link_runner(&self) -> io::Result<()> {
        let (of_engine, of_runner) = OrderLink::pair()?;
        self.runner.send(&ToRunner::Engine { number: self.engine_number }, &[of_runner.as_fd()]);
        self.engine.send(&ToEngine::Runner, &[of_engine.as_fd()]);
        Ok(())
    }

    /// Has read what the next engine needs; a disk may hang.
    pub(super) fn read_needs(&mut self) {
        if self.reading.is_none() {
            let glance =
                |preparation: &LocalPreparation| EngineNeeds::of(preparation.glance().config.as_ref());
            self.reading = Some(self.patiently(true, glance));
        }
    }

    /// Begins to read something. Files on which others hang are left out if that `may_avoid` them.
    pub(super) fn patiently<T: Send + 'static>(
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

    pub(super) fn start_engine(&mut self) -> io::Result<()> {
        // The one after this reads them anew: they may have changed, and they may be why this one ends.
        let Some(EngineNeeds { captures, user, control, metrics, hooks, .. }) = self.needs.take() else {
            return Ok(());
        };
        self.offer_control(control);
        self.offer_metrics(metrics);
        // Whoever reports, this thread included, does not wait.
        self.hooks.put_in_force(hooks, self.hook_queue.entrance());
        let account = user.map(|of| (of.uid, of.gid));
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
        let (ours, reports) = ReportTube::pair()?;
        self.gathering.add(ours, &self.engine.reports, tried);
        let (of_engine, readings) = Talk::pair()?;
        let ((to_doorman, of_doorman), (to_runner, of_runner)) = (OrderLink::pair()?, OrderLink::pair()?);
        let start = EngineStart {
            log_filter: self.log_filter.clone(),
            ledger: state::folder().join(FILE),
            account,
            captures,
            watchdog: watchdog_timeout(),
            is_asked: self.control.is_some(),
            metrics: self.metrics.1.as_ref().map(MetricsSocket::kind),
            trial: self.trial_start().map(|trial| trial.left),
        };
        let of_engine = OwnedFd::from(of_engine);
        let mut links = vec![reports.as_fd(), of_engine.as_fd(), to_doorman.as_fd(), to_runner.as_fd()];
        // What the others report, for who asks.
        let (heard, of_others) = ReportTube::pair()?;
        if let Some(control) = &self.control {
            links.extend([control.as_fd(), heard.as_fd()]);
            self.relay.tell(of_others);
        }
        links.extend(self.metrics.1.as_ref().map(AsFd::as_fd));
        engine.send(&ToEngine::Start(start), &links);
        self.engine.begin(Arc::new(engine));
        self.tell_processes();
        (self.is_engine_confined, self.is_giving_ledger) = (false, Arc::default());
        self.engine_number = micros();
        if let Some(service) = &self.readings {
            service.attach(readings)?;
        }
        self.doorman.send(&ToDoorman::Engine, &[of_doorman.as_fd()]);
        self.runner.send(&ToRunner::Engine { number: self.engine_number }, &[of_runner.as_fd()]);
        Ok(())
    }

    /// Has the control socket at this path from now on, or none. A daemon that cannot have it runs without.
    fn offer_control(&mut self, path: Option<PathBuf>) {
        if self.control.as_ref().map(BoundSocket::path) == path.as_deref() {
            return;
        }
        self.control = None;
        match path.as_deref().map(|path| BoundSocket::bind(path, SocketUse::CONTROL)).transpose() {
            Ok(socket) => self.control = socket,
            Err(error) => self.report(What::ControlMissing { detail: error.to_string().into() }),
        }
    }

    /// Hands metrics out there from now on, or nowhere. A daemon that cannot runs without.
    fn offer_metrics(&mut self, listen: MetricsListen) {
        let (said, socket) = &self.metrics;
        if *said == listen && (socket.is_some() || listen == MetricsListen::None) {
            return;
        }
        // First: it may be the same address.
        self.metrics = (MetricsListen::None, None);
        match MetricsSocket::bind(&listen) {
            Ok(socket) => self.metrics = (listen, socket),
            Err(why) => self.report(What::MetricsMissing { detail: why.into() }),
        }
    }

    /// Tells the engine how the processes are: it is the one that is asked.
    pub(super) fn tell_processes(&self) {
        let slots = [&self.engine, &self.doorman, &self.runner];
        self.engine.send(&ToEngine::Processes(slots.map(Slot::described).to_vec()), &[]);
    }

    /// Opens the ledger's file for the engine, off this thread; no copy is kept. An engine waits for one before it asks for another.
    pub(super) fn give_ledger(&mut self, request: LedgerRequest) {
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
}

/// Microseconds since 1970: a number that no engine of an earlier life had.
fn micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX).max(1)
}

//! App: owns every task of the daemon; start and stop order, and the one loop in between.

mod start;

use std::collections::HashMap;
use std::future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{DropReason, Event, RuleId};
use postern_doorman::Release;
use sd_notify::NotifyState;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::{Config, OneTime};
use crate::desk::{Desk, one_time};
use crate::exit::Exit;
use crate::guarding::ReleaseTimer;
use crate::happening::{Happening, Judgement, Prepared};
use crate::knockd::source::Source;
use crate::local_network::LocalNetwork;
use crate::log;
use crate::reload::{Pace, Preparer};
use crate::rules::{Generation, Pool};
use crate::signals::Signals;
use crate::state;
use crate::taps::Taps;
use crate::trust::Trust;
use crate::watch::{Noticed, Watch};
use crate::written::Written;
use start::Begun;

/// How long a stop may take: a command gets its time to end, then the daemon goes all the same.
const GRACE: Duration = Duration::from_secs(10);
/// How long a new generation waits for the kernel to see its packets, before it is told all the same.
const LISTENING: Duration = Duration::from_secs(1);

/// Runs the daemon on `postern.toml` at `file` until it is told to stop; `trust` is whose files are taken.
///
/// # Errors
/// If the system does not let it work. Mistakes in the configuration are told and are an [`Exit`].
pub fn run(file: &Path, trust: Trust) -> anyhow::Result<Exit> {
    Ok(Shell::start()?.run(Written::Postern(file.to_owned(), trust))?.exit)
}

/// How the daemon ended, and which signal made it end.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) signal: Option<i32>,
}

/// What the daemon runs in. From its start on signals are caught: one that comes early is heard late, but does not kill.
pub(crate) struct Shell {
    runtime: tokio::runtime::Runtime,
    signals: Signals,
}

impl Shell {
    pub(crate) fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _inside = runtime.enter();
            Signals::catch()?
        };
        Ok(Self { runtime, signals })
    }

    /// Runs the daemon on any configuration; as [`run`].
    pub(crate) fn run(self, written: Written) -> anyhow::Result<Ended> {
        let Self { runtime, signals } = self;
        let ended = runtime.block_on(async {
            match App::start(written, signals).await? {
                Begun::App(app) => Ok(app.run().await),
                Begun::Ended(ended) => Ok(ended),
            }
        });
        // Whatever still runs had its time.
        runtime.shutdown_background();
        ended
    }
}

/// Everything that runs.
struct App {
    written: Written,
    happenings: UnboundedReceiver<Happening>,
    judgements: Receiver<Judgement>,
    desk: Arc<Desk>,
    pool: Pool,
    taps: Taps,
    noticed: Arc<Noticed>,
    watch: Option<Watch>,
    preparer: Preparer,
    pace: Pace,
    release_timer: ReleaseTimer,
    running: Running,
    listening: Arc<Notify>,
    signals: Signals,
    /// Never read; it follows the changes of addresses and links as long as it lives.
    _local: Arc<LocalNetwork>,
}

/// The generation in force.
struct Running {
    number: u64,
    workers: usize,
    /// The rules whose sequence is good for one opening, and where it stands until it is used.
    one_time: HashMap<RuleId, Option<OneTime>>,
    /// What is still to be told of it, and when at the latest.
    untold: Option<(String, Instant)>,
    /// Whether all interfaces have listened once.
    is_ready: bool,
}

impl App {
    async fn run(mut self) -> Ended {
        let signal = loop {
            let deadline = self.desk.next_deadline();
            let reload_at = self.pace.due();
            let untold_at = self.running.untold.as_ref().map(|(_, patience)| *patience);
            let let_go_at = self.release_timer.due();
            tokio::select! {
                Some(happening) = self.happenings.recv() => self.handle(happening).await,
                Some(judgement) = self.judgements.recv() => self.spend(judgement),
                () = until(deadline.map(Instant::from_std)) => self.desk.handle_deadline(),
                () = self.noticed.changed.notified() => {
                    self.release_timer.note_change();
                    self.pace.note_change(Instant::now());
                }
                () = until(reload_at) => self.prepare(),
                () = until(let_go_at) => self.let_go().await,
                Some(()) = self.signals.hangup.recv() => {
                    tracing::info!(event = "hangup", "reloading, as SIGHUP says");
                    self.release_timer.ask();
                    if self.pace.may_prepare() {
                        self.prepare();
                    }
                }
                () = self.listening.notified() => self.look(),
                () = until(untold_at) => self.look(),
                signal = self.signals.stop.recv() => break signal,
            }
        };
        Ended { exit: self.stop().await, signal: Some(signal) }
    }

    async fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Answered(receipt) => self.desk.handle(Event::Answered(receipt)),
            Happening::RulesetChanged(open) => self.desk.reconcile(&open),
            Happening::Prepared(prepared) => self.prepared(*prepared).await,
        }
    }

    /// A rule's verdict counts if its one-time sequence is there to be used up.
    fn spend(&mut self, Judgement { rule, source, request, generation }: Judgement) {
        // By another generation it was another sequence.
        let is_same = generation == self.running.number;
        let line = self.running.one_time.get_mut(&rule).filter(|_| is_same).and_then(Option::take);
        let Some(line) = line else { return log::count_drop(DropReason::AlreadyUsed) };
        let spent = Source::spend(&line);
        if let Err(error) = &spent {
            let name = &*rule.name;
            tracing::error!(event = "one-time-failed", rule = name, detail = %error, "{}: {error}", line.path.display());
        }
        // The next sequence comes with the next generation; until then the rule opens nothing.
        if spent.is_ok() {
            self.desk.handle(Event::Judged { rule, source, request });
            if self.pace.may_prepare() {
                self.prepare();
            }
        } else {
            log::count_drop(DropReason::AlreadyUsed);
        }
    }

    fn prepare(&mut self) {
        self.release_timer.begin();
        self.pace.begin();
        notify_systemd(&[NotifyState::Reloading]);
        self.preparer.request(self.running.number + 1);
    }

    async fn prepared(&mut self, Prepared { config, generation }: Prepared) {
        self.pace.end(Instant::now());
        if let Some(config) = &config {
            // Even with mistakes: a module that is not there yet is a mistake until it is.
            follow(&mut self.watch, &self.written, config);
        }
        match (config, generation) {
            (Some(config), Ok(generation)) => self.apply(&config, generation).await,
            (_, generation) => {
                let running = self.running.number;
                let unchanged = format!("the running configuration (generation {running}) is unchanged");
                log::mistakes(generation.err().as_ref(), &unchanged);
                self.release_timer.refuse();
            }
        }
        notify_systemd(&[NotifyState::Ready]);
    }

    /// Goes on with another generation. Doors come first: they are the only part that can still say no.
    async fn apply(&mut self, config: &Config, generation: Generation) {
        if !self.find_journal(config) {
            self.release_timer.refuse();
            return;
        }
        let plan = self.desk.plan(config);
        let release = self.release_timer.release();
        if let Err(error) = self.desk.apply(&plan, release).await {
            let running = self.running.number;
            let detail = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(
                event = "reload",
                generation = running,
                detail,
                "the doors cannot be changed: {detail}; the running configuration (generation {running}) is unchanged"
            );
            self.release_timer.refuse();
            return;
        }
        self.release_timer.done(release, Instant::now());
        let generation = Arc::new(generation);
        self.desk.replace(generation.number, plan, config);
        self.running.number = generation.number;
        self.running.one_time = one_time(config);
        self.pool.replace(Arc::clone(&generation));
        if let Err(error) = self.taps.follow(config, &generation, &self.pool, &self.listening) {
            tracing::error!(event = "capture", detail = %error, "{error}");
        }
        if config.workers != self.running.workers {
            tracing::warn!(event = "reload", "the number of workers changes at the next start");
        }
        // Whoever is told of the new generation may rely on its being seen by the kernel's filter.
        self.running.untold = Some((summary(config), Instant::now() + LISTENING));
        match self.desk.list().await {
            Ok(open) => self.desk.reconcile(&open),
            Err(error) => {
                tracing::warn!(event = "doors", detail = %error, "open doors cannot be read: {error}");
            }
        }
    }

    /// Lets go of ports that the configuration does not guard any more: it has been left alone, so it is whole.
    async fn let_go(&mut self) {
        if self.noticed.is_being_written() {
            return self.release_timer.done(Release::Later, Instant::now());
        }
        let done = self.desk.let_go().await;
        // What cannot be done now, for a set that is missing at the moment, is tried again.
        let release = if done.is_ok() { Release::Now } else { Release::Later };
        self.release_timer.done(release, Instant::now());
        if let Err(error) = done {
            let detail = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(
                event = "doors",
                detail,
                "ports that nobody guards any more stay closed: {detail}; trying again in two seconds"
            );
        }
    }

    /// Opens the journal if this configuration is the first that needs it; false if it cannot do without.
    fn find_journal(&self, config: &Config) -> bool {
        if self.desk.has_journal() || !config.has_commands() {
            return true;
        }
        let state::Opened { journal, inherited, error } = state::open(&self.written, Some(config));
        if let Some(mistakes) = state::without_journal(&self.written, config, error) {
            let running = self.running.number;
            log::mistakes(
                Some(&mistakes),
                &format!("the running configuration (generation {running}) is unchanged"),
            );
            return false;
        }
        journal.into_iter().for_each(|journal| self.desk.use_journal(journal));
        inherited.into_iter().for_each(|(row, record)| self.desk.inherit(row, record));
        true
    }

    fn look(&mut self) {
        let are_listening = self.taps.are_listening();
        let Running { number, untold, is_ready, .. } = &mut self.running;
        if let Some((summary, _)) =
            untold.take_if(|(_, patience)| are_listening || Instant::now() >= *patience)
        {
            tracing::info!(
                event = "reload",
                generation = *number,
                "generation {number} is in force: {summary}"
            );
        }
        if are_listening && !*is_ready {
            *is_ready = true;
            tracing::info!(event = "ready", generation = *number, "listening on all interfaces");
        }
    }

    /// In order: no packet comes in, no rule runs, what was judged counts, and what nobody else would close is closed.
    async fn stop(self) -> Exit {
        notify_systemd(&[NotifyState::Stopping]);
        tracing::debug!(event = "stopping", "stopping");
        let Self { taps, pool, desk, mut happenings, mut judgements, mut signals, .. } = self;
        let grace = Instant::now() + GRACE;
        let (received, lost) = taps.counts();
        // Or captures would end only when all that they have read is judged.
        pool.halt();
        drop(taps);
        // A rule may be in the middle of a call, which its own limit ends.
        drop(timeout_at(grace, spawn_blocking(move || pool.stop())).await);
        // A one-time sequence that nobody has struck out yet stays for the next time.
        judgements.close();
        desk.handle(Event::Stopping);
        while !desk.is_tidy() {
            let deadline = desk.next_deadline();
            tokio::select! {
                happening = happenings.recv() => match happening {
                    Some(Happening::Answered(receipt)) => desk.handle(Event::Answered(receipt)),
                    Some(_) => {}
                    None => break,
                },
                () = until(deadline.map(Instant::from_std)) => desk.handle_deadline(),
                () = sleep_until(grace) => break,
                _ = signals.stop.recv() => break,
            }
        }
        let (open, untidy) = desk.close();
        let drops = log::drops();
        tracing::info!(
            event = "stop",
            received,
            lost,
            open,
            drops,
            "stopped; {received} packets captured, {lost} lost; {open} doors stay open for their time; came to nothing: {drops}"
        );
        if untidy == 0 {
            return Exit::Success;
        }
        tracing::error!(
            event = "stop",
            "{untidy} doors could not be closed by their commands; please close them by hand"
        );
        Exit::Untidy
    }
}

fn follow(watch: &mut Option<Watch>, written: &Written, config: &Config) {
    if let (Some(watch), Some(file)) = (watch, written.watched()) {
        watch.follow(file, config);
    }
}

fn summary(config: &Config) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!("{}, {}", count(config.rules.len(), "rule"), count(config.doors.len(), "door"))
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => future::pending().await,
    }
}

/// Without systemd nobody listens, and that is no failure.
fn notify_systemd(states: &[NotifyState<'_>]) {
    drop(sd_notify::notify(states));
}

//! App: owns every task of the daemon; start and stop order, and the one loop in between.

mod start;

use std::sync::Arc;
use std::time::Duration;

use postern_capture::LocalNetwork;
use postern_config::{Config, Mistakes, RuleFile, StartSettings};
use postern_core::{Client, DoorId, Event, Observer, OpeningKey, Release, Report, RuleId, What};
use postern_link::WhyNotInPlace;
use postern_protocol::{NewGeneration, Refusal};
use postern_sandbox::{Generation, Pool};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::assemble::RefusedTenant;
use crate::captures::Captures;
use crate::clock::until;
use crate::control::{Answering, refusals};
use crate::control_question::{ControlQuestion, ReloadAnswer};
use crate::doors::policy_of_recorded;
use crate::effects::{Effects, ServiceStatus};
use crate::ended::{Ended, Tried};
use crate::exit::Exit;
use crate::guarding::{ReadAs, ReleaseTimer};
use crate::hooks::Hooks;
use crate::main_loop_event::{MainLoopEvent, Prepared};
use crate::metrics::Exposing;
use crate::observe::{report_refused_reload, report_refused_tenant};
use crate::origin::Origin;
use crate::plan::Plan;
use crate::probing::Probing;
use crate::reload::Reloads;
use crate::shared_engine::{OpenDoor, SharedEngine};
use crate::signals::Signals;
use crate::state;
use crate::try_run::{ConfirmedBy, TryView};
use crate::watchdog::{Due, Watchdog};
use start::Begun;

/// How long a stop may take: commands may end within it, then the daemon ends all the same.
const GRACE: Duration = Duration::from_secs(10);
/// Of that, how long threads that capture and judge have to end: a rule in the middle of a call is stopped by its own limit.
const LAST_CALL: Duration = Duration::from_secs(1);
/// How long the report of a new generation waits for the kernel's filters, before it is made all the same.
const LISTENING: Duration = Duration::from_secs(1);

/// Runs until a signal stops it, or the configuration is refused at the start. `tried` is called once everything was tried.
///
/// # Errors
/// If the system does not let it work. Mistakes in the configuration are reported, and are an [`Exit`].
pub(crate) async fn run(
    effects: Effects,
    signals: Signals,
    observer: Arc<dyn Observer>,
    tried: Tried,
) -> anyhow::Result<Ended> {
    match App::start(effects, signals, observer, tried).await? {
        Begun::App(app) => Ok(app.run().await),
        Begun::Ended(ended) => Ok(ended),
    }
}

/// Everything that runs.
struct App {
    origin: Arc<dyn Origin>,
    observer: Arc<dyn Observer>,
    events: UnboundedReceiver<MainLoopEvent>,
    engine: Arc<SharedEngine>,
    pool: Pool,
    captures: Captures,
    reloads: Reloads,
    running: Running,
    listening: Arc<Notify>,
    signals: Signals,
    status: Arc<dyn ServiceStatus>,
    /// None if nobody restarts a daemon that hangs.
    watchdog: Option<(Watchdog, Probing)>,
    /// Called once everything was tried.
    tried: Option<Tried>,
    /// A run that is tried; none if it runs for good.
    try_view: Option<TryView>,
    /// Whoever is asked; none if nobody is.
    answering: Option<Answering>,
    /// What is measured; none if nobody asks for that.
    exposing: Option<Exposing>,
    /// Where reports lead to commands of this process; none if another process sees to that.
    hooks: Option<Hooks>,
    /// Who waits for a reload that they asked for: until a preparation with this ticket or a later one has ended.
    reload_askers: Vec<(u64, oneshot::Sender<ReloadAnswer>)>,
    /// Who waits until the captures let through what comes from those who are followed.
    follow_askers: Vec<oneshot::Sender<()>>,
    /// When to look whether owners that were over their shares are so no more.
    excess_at: Option<Instant>,
    /// Not read; it follows the changes of addresses and links as long as it lives.
    _local: Arc<LocalNetwork>,
}

/// What the main loop keeps of the generation in force; the rest is the engine's.
struct Running {
    /// What counts from the start on, whatever is said later.
    started: StartSettings,
    /// What is still to be reported of it, and when at the latest.
    unreported: Option<(InForce, Instant)>,
    /// Whether all interfaces have listened once.
    is_ready: bool,
}

impl App {
    async fn run(mut self) -> Ended {
        let signal = loop {
            let deadline = self.engine.next_deadline();
            let report_at = self.running.unreported.as_ref().map(|(_, patience)| *patience);
            let let_go_at = self.reloads.release_timer.due();
            let excess_at = self.excess_at;
            let probe_at = self.watchdog.as_ref().map(|(watchdog, _)| watchdog.due());
            let is_any_suspended = self.engine.has_suspended();
            tokio::select! {
                Some(event) = self.events.recv() => self.handle(event).await,
                () = until(deadline.map(Instant::from_std)) => self.engine.handle_deadline(),
                () = self.reloads.turn(&mut self.signals.hangup, is_any_suspended) => {}
                () = until(let_go_at) => self.let_go().await,
                () = self.listening.notified() => {
                    if let Some(tried) = self.tried.take_if(|_| self.captures.were_tried()) {
                        // A daemon that was stopped before must not report that it runs.
                        let signal = self.signals.stop.came();
                        if signal.is_some() || !tried() {
                            break signal;
                        }
                    }
                    self.look();
                }
                () = until(report_at) => self.look(),
                () = until(probe_at) => self.watch_over(),
                () = until(excess_at) => self.look_at_shares(),
                signal = self.signals.stop.recv() => break Some(signal),
            }
        };
        let hooks = self.hooks.take();
        let ended = Ended { exit: self.stop().await, signal };
        // What they still run ends with this process.
        hooks.iter().for_each(Hooks::switch_off);
        ended
    }

    async fn handle(&mut self, event: MainLoopEvent) {
        match event {
            MainLoopEvent::Answered(receipt) => self.engine.handle(Event::Answered(receipt)),
            MainLoopEvent::Recorded { serial, result } => {
                self.engine.handle(Event::Recorded { serial, result });
            }
            MainLoopEvent::HandedOver { key, remaining, name, note } => {
                let policy = policy_of_recorded(&name, remaining);
                let OpeningKey { door, client, .. } = key;
                self.engine.handle(Event::Inherited { door, policy, client, remaining, note });
            }
            MainLoopEvent::Ledger(answer) => self.engine.ledger_said(answer),
            MainLoopEvent::RulesetChanged(open) => self.engine.ruleset_changed(open),
            MainLoopEvent::CameIn { door, client } => self.came_in(door, client),
            MainLoopEvent::Prepared(prepared) => self.prepared(*prepared).await,
            MainLoopEvent::CrossedOut { serial, result } => {
                let is_used = result.is_ok();
                self.engine.handle(Event::Claimed { serial, result });
                if is_used {
                    // The next sequence comes with the next generation; until then the rule opens nothing.
                    self.reloads.ask();
                }
            }
            MainLoopEvent::Probed(result) => self.probed(result),
            MainLoopEvent::OverShare => {
                let _ = self.excess_at.get_or_insert_with(Instant::now);
            }
            MainLoopEvent::Asked(ControlQuestion::Reload(answer)) => {
                let ticket = self.reloads.ask_as_people_do();
                self.reload_askers.push((ticket, answer));
            }
            MainLoopEvent::Asked(ControlQuestion::Follow(sources, done)) => {
                self.captures.follow_sources(sources);
                // Who waited long enough has gone on without an answer.
                self.follow_askers.retain(|done| !done.is_closed());
                self.follow_askers.extend(done);
                self.look();
            }
            MainLoopEvent::Withdrawn(rules) => {
                let is_reloading = self.reloads.is_pending();
                self.reloads.looked();
                if let Some(rules) = rules {
                    self.engine.handle(Event::Withdrawn { rules, is_reloading });
                }
            }
        }
    }

    /// A knock that lets somebody in shows that whoever tries this can come back. What was opened by hand shows nothing, nor does a knock for a
    /// tenant's rule: a tenant's clients come in through doors that are theirs, whether the host's administrator could or not.
    fn came_in(&self, door: DoorId, client: Client) {
        let Some(try_view) = &self.try_view else { return };
        let is_by_knock = |open: &OpenDoor| {
            let rule = open.rule.as_ref();
            open.key.door == door
                && rule.is_some_and(|rule| rule.tenant.is_host() && *rule != RuleId::by_hand())
        };
        if self.engine.openings_of(client).iter().any(is_by_knock) {
            try_view.ask(ConfirmedBy::Knock(client));
        }
    }

    /// Begins the next probe, or says for what the last one waits.
    fn watch_over(&mut self) {
        let Some((watchdog, probing)) = &mut self.watchdog else { return };
        match watchdog.turn(Instant::now()) {
            Due::Probe => probing.begin(),
            Due::Late(since) => {
                let (seconds, waits_for) = (since.as_secs_f64(), probing.waits_for());
                let detail = format!("it waits for {waits_for} since {seconds:.1} s").into();
                self.report(What::ProbeMissing { detail });
            }
            Due::Wait => {}
        }
    }

    /// Reports whose rules use no more than their shares again.
    fn look_at_shares(&mut self) {
        self.excess_at = self.pool.report_ended_excess().map(|after| Instant::now() + after);
    }

    /// A probe has gone all the way, and here the main loop shows that it works, too.
    fn probed(&mut self, result: Result<(), String>) {
        self.watchdog.iter_mut().for_each(|(watchdog, _)| watchdog.came_back());
        match result {
            Ok(()) => self.status.alive(),
            Err(detail) => self.report(What::ProbeMissing { detail: detail.into() }),
        }
    }

    async fn prepared(&mut self, prepared: Prepared) {
        let Some((Prepared { ticket, config, numbers, generation, refused, programs, state, .. }, read)) =
            self.reloads.accept(prepared)
        else {
            return;
        };
        refused.iter().for_each(|tenant| report_refused_tenant(&*self.observer, tenant));
        let done = match (config, generation) {
            (Some(config), Ok(generation)) => match self.take_journal(&config, state) {
                Ok(()) => {
                    let plan = self.engine.plan(&config, numbers.as_ref()).with_modules(&generation);
                    self.apply(&config, plan, generation, &refused, read).await
                }
                Err(mistakes) => Err(NotApplied::Mistakes(mistakes)),
            },
            (_, Err(mistakes)) => Err(NotApplied::Mistakes(mistakes)),
            (None, Ok(_)) => return,
        };
        if let Err(NotApplied::Mistakes(mistakes)) = &done {
            report_refused_reload(&*self.observer, mistakes, self.engine.generation());
            self.answering.iter().for_each(|answering| answering.refuse(mistakes));
        }
        if done.is_ok() {
            let news = self.reloads.news_of_programs(programs);
            news.iter().for_each(|advice| self.report(What::Advice { text: advice.to_string().into() }));
        }
        self.answer_reloads(ticket, &done, &refused);
        if !self.reloads.is_pending() {
            self.status.ready();
        }
    }

    /// Goes on with another generation. Doors come first: they are the only part that can still refuse.
    async fn apply(
        &mut self,
        config: &Config,
        plan: Plan,
        mut generation: Generation,
        refused: &[RefusedTenant],
        read: ReadAs,
    ) -> Result<Applied, NotApplied> {
        // What the host's files say by now may guard ports that this one does not.
        let release = ReleaseTimer::release(read.is_asked && self.reloads.release_timer.is_current(read));
        if let Err(error) = self.engine.apply(&plan, release).await {
            self.reloads.release_timer.doubt();
            if error.why == WhyNotInPlace::Mistakes {
                let mistakes = plan.mistakes(&self.origin.facts().file, config, error.mistakes);
                return Err(NotApplied::Mistakes(mistakes));
            }
            let (generation, detail) = (self.engine.generation(), error.text.as_str().into());
            self.report(What::DoorsRefused { generation, detail });
            return Err(NotApplied::Doors(error.text));
        }
        self.reloads.in_place(config, read, release);
        let table = plan.table;
        generation.number = self.engine.replace(plan, config);
        let generation = Arc::new(generation);
        self.reloads.in_force(config, &generation, table, refused);
        self.answering.iter().for_each(|answering| answering.put_in_force(config, &generation, refused));
        // All its files were there when it was read, but for those of rules that a refused tenant keeps. A newer one that is being prepared
        // may be without the suspended rules.
        if !self.reloads.is_pending() {
            let goes_on = |rule: &&RuleFile| refused.iter().any(|of| of.tenant == rule.id.tenant);
            let rules = config.rules.iter().filter(goes_on).map(|rule| rule.id.clone()).collect();
            self.engine.handle(Event::Withdrawn { rules, is_reloading: false });
        }
        self.pool.replace(Arc::clone(&generation));
        if let Err(error) = self.captures.follow(config, &generation, &self.pool, &self.listening) {
            self.report(What::CaptureNotStarted { detail: error.to_string().into() });
        }
        self.exposing.iter().for_each(|exposing| exposing.put_in_force(config, &generation, &self.captures));
        let waiting = config.changed_since_start(&self.running.started, &self.origin.facts().file);
        let waiting: Vec<_> = waiting.iter().map(ToString::to_string).collect();
        waiting.iter().for_each(|detail| self.report(What::NextStart { detail: detail.as_str().into() }));
        // When the new generation is reported, the kernel's filters let its packets through.
        self.running.unreported = Some((InForce::of(config), Instant::now() + LISTENING));
        match self.engine.list().await {
            Ok(open) => self.engine.handle(Event::Listed(open)),
            Err(detail) => self.report(What::OpeningsUnread { detail: detail.into() }),
        }
        Ok(Applied { rules: config.rules.len(), waiting })
    }

    /// Answers those who wait for a reload that this preparation was.
    fn answer_reloads(&mut self, ticket: u64, done: &Result<Applied, NotApplied>, refused: &[RefusedTenant]) {
        let generation = self.engine.generation();
        for (_, answer) in self.reload_askers.extract_if(.., |(needed, _)| *needed <= ticket) {
            let said = match done {
                Ok(Applied { rules, waiting }) => Ok(NewGeneration {
                    generation,
                    rules: *rules as u64,
                    refused: refusals(refused),
                    warnings: waiting.clone(),
                }),
                Err(NotApplied::Mistakes(mistakes)) => {
                    let mistakes = mistakes.iter().map(ToString::to_string).collect();
                    Err(Refusal::Mistakes { generation, mistakes })
                }
                Err(NotApplied::Doors(text)) => {
                    let why = format!(
                        "the doors cannot be put in place, and generation {generation} goes on: {text}"
                    );
                    Err(Refusal::NotDone { why })
                }
            };
            // It may have gone.
            let _ = answer.send(said);
        }
    }

    /// Releases ports that the configuration no longer guards: it has not changed for a while, so it is complete.
    async fn let_go(&mut self) {
        if self.reloads.is_being_written() {
            return self.reloads.release_timer.done(Release::Later, Instant::now());
        }
        let done = self.engine.let_go().await;
        // If it fails now, because a set is missing at the moment, it is tried again.
        let release = if done.is_ok() { Release::Now } else { Release::Later };
        self.reloads.release_timer.done(release, Instant::now());
        if let Err(error) = done {
            let detail = error.text.into();
            self.report(What::NotReleased { detail });
        }
    }

    /// Takes the journal if this configuration is the first that needs it.
    ///
    /// # Errors
    /// If it cannot do without.
    fn take_journal(&mut self, config: &Config, opened: state::Opened) -> Result<(), Mistakes> {
        let is_there = opened.is_there();
        let state::Opened { journal, inherited, error, .. } = opened;
        let facts = self.origin.facts();
        if let Some(mistakes) = state::without_journal(facts, config, error, &*self.observer) {
            return Err(mistakes);
        }
        self.reloads.has_journal |= is_there;
        journal.into_iter().for_each(|journal| self.engine.use_journal(journal));
        inherited.into_iter().for_each(|(row, record)| self.engine.inherit(row, record));
        Ok(())
    }

    fn look(&mut self) {
        let are_listening = self.captures.are_listening();
        let generation = self.engine.generation();
        let Running { unreported, is_ready, .. } = &mut self.running;
        if are_listening {
            // Who has gone on meanwhile is not told.
            for done in self.follow_askers.drain(..) {
                let _ = done.send(());
            }
        }
        let is_first = are_listening && !*is_ready;
        *is_ready |= are_listening;
        let is_due = |(_, patience): &mut (InForce, Instant)| are_listening || Instant::now() >= *patience;
        if let Some((InForce { rules, doors }, _)) = unreported.take_if(is_due) {
            self.report(What::InForce { generation, rules, doors });
        }
        if is_first {
            self.report(What::Ready { generation });
        }
    }

    /// Reports something about the machine.
    fn report(&self, what: What<'_>) {
        self.observer.report(&Report::new(what));
    }

    /// In order: no packet comes in, no rule runs, what was judged counts, and command doors, which only this daemon can close, are closed.
    /// Doors close on time meanwhile.
    async fn stop(self) -> Exit {
        self.status.stopping();
        self.report(What::Stopping);
        let Self { observer, captures, pool, engine, mut events, mut signals, .. } = self;
        let (grace, last_call) = (Instant::now() + GRACE, Instant::now() + LAST_CALL);
        // Else captures would end only when all that they have read is judged.
        pool.halt();
        let mut threads = spawn_blocking(move || {
            let counts = captures.counts();
            captures.stop();
            pool.stop();
            counts
        });
        let mut packets = None;
        let (mut have_ended, mut is_stopping) = (false, false);
        loop {
            if !is_stopping && (have_ended || Instant::now() >= last_call) {
                is_stopping = true;
                engine.handle(Event::Stopping);
            }
            if is_stopping && engine.is_tidy() {
                break;
            }
            let deadline = engine.next_deadline();
            tokio::select! {
                counts = &mut threads, if !have_ended => {
                    have_ended = true;
                    packets = counts.unwrap_or_default();
                }
                () = sleep_until(last_call), if !is_stopping => {}
                event = events.recv() => match event {
                    Some(MainLoopEvent::Answered(receipt)) => engine.handle(Event::Answered(receipt)),
                    Some(MainLoopEvent::Recorded { serial, result }) => {
                        engine.handle(Event::Recorded { serial, result });
                    }
                    Some(MainLoopEvent::Ledger(answer)) => engine.ledger_said(answer),
                    Some(MainLoopEvent::CrossedOut { serial, result }) => {
                        engine.handle(Event::Claimed { serial, result });
                    }
                    Some(_) => {}
                    None => break,
                },
                () = until(deadline.map(Instant::from_std)) => engine.handle_deadline(),
                () = sleep_until(grace) => break,
                _ = signals.stop.recv() => break,
            }
        }
        let (open, untidy) = engine.close();
        observer.report(&Report::new(What::Stopped { packets, open }));
        if untidy == 0 {
            return Exit::Success;
        }
        observer.report(&Report::new(What::Untidy { doors: untidy }));
        Exit::Untidy
    }
}

/// A configuration that is in force.
struct Applied {
    rules: usize,
    /// What of it counts from the next start on, a line each.
    waiting: Vec<String>,
}

/// Why a configuration that was prepared is not in force.
enum NotApplied {
    Mistakes(Mistakes),
    /// The doors cannot be put in place; it was reported why.
    Doors(String),
}

/// What a generation has.
struct InForce {
    rules: usize,
    doors: usize,
}

impl InForce {
    fn of(config: &Config) -> Self {
        Self { rules: config.rules.len(), doors: config.doors.len() }
    }
}

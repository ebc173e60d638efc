//! App: owns every task of the daemon; start and stop order, and the one loop in between.

use std::collections::HashSet;
use std::future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postern_core::{Action, Engine, Event, State};
use postern_doorman::{Opening, Posture};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::clock::Clock;
use crate::config::{Config, Mistakes};
use crate::doors::Doors;
use crate::exit::Exit;
use crate::happening::{Happening, channel};
use crate::local_addresses::LocalAddresses;
use crate::log;
use crate::reload::{Pace, Preparer, prepare};
use crate::rules::{Generation, Loader, Outcome, Pool, Runtime};
use crate::taps::Taps;
use crate::watch::Watch;

/// How long a stop may take: a command gets its time to end, then the daemon goes all the same.
const GRACE: Duration = Duration::from_secs(10);
/// How long a new generation waits for the kernel to see its packets, before it is told all the same.
const LISTENING: Duration = Duration::from_secs(1);
/// How often it is looked whether all interfaces listen, until they do.
const LOOK: Duration = Duration::from_millis(10);

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// If the system does not let it work. Mistakes in the configuration are told and are an [`Exit`].
pub fn run(file: &Path) -> anyhow::Result<Exit> {
    let runtime = Runtime::start()?;
    let mut loader = Loader::new(runtime.clone())?;
    let (config, generation) = match prepare(file, 1, &mut loader) {
        Ok(prepared) => prepared,
        Err(mistakes) => {
            tell_mistakes(&mistakes, "the daemon does not start");
            return Ok(Exit::Mistakes);
        }
    };
    let shell = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    shell.block_on(async {
        let app = App::start(file.to_owned(), runtime, loader, config, generation).await?;
        Ok(app.run().await)
    })
}

/// Everything that runs.
struct App {
    file: PathBuf,
    clock: Clock,
    happenings: Receiver<Happening>,
    engine: Engine,
    doors: Doors,
    pool: Pool,
    taps: Taps,
    watch: Option<Watch>,
    preparer: Preparer,
    pace: Pace,
    generation: u64,
    signals: Signals,
    /// Never read; it follows the changes of addresses as long as it lives.
    _local: Arc<LocalAddresses>,
}

struct Signals {
    hangup: Signal,
    stop: StopSignals,
}

struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl App {
    async fn start(
        file: PathBuf,
        runtime: Runtime,
        loader: Loader,
        config: Config,
        generation: Generation,
    ) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let (teller, happenings) = channel();
        let signals = Signals {
            hangup: signal(SignalKind::hangup())?,
            stop: StopSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
        };
        // The guard is up before anything parses a packet.
        let mut doors = Doors::start(teller.clone())?;
        let plan = doors.plan(&config);
        let posture = doors.apply(&plan).await.context("the doors cannot be set up")?;
        tell_posture(posture);
        let mut engine = Engine::new(plan.policy);
        for Opening { door, client, remaining, .. } in
            doors.list().await.context("open doors cannot be read")?
        {
            engine.handle(Event::Found { door, client, remaining }, clock.now());
        }
        let local = Arc::new(LocalAddresses::follow()?);
        let generation = Arc::new(generation);
        let is_local = {
            let local = Arc::clone(&local);
            Arc::new(move |address| local.contains(address))
        };
        let judged = teller.clone();
        let pool = Pool::start(
            &runtime,
            config.workers,
            Arc::clone(&generation),
            is_local,
            clock,
            move |rule, knock, outcome| {
                log::outcome(rule, knock, &outcome);
                if let Outcome::Asks(request) = outcome {
                    let judgement = Happening::Judged { rule: rule.clone(), source: knock.source, request };
                    if judged.try_send(judgement).is_err() {
                        log::count_drop(postern_core::DropReason::QueueFull);
                    }
                }
            },
        )?;
        let mut taps = Taps::default();
        taps.follow(&config, &generation, &pool)?;
        let mut watch = match Watch::start(teller.clone()) {
            Ok(watch) => Some(watch),
            Err(error) => {
                tracing::warn!(event = "reload", detail = %error, "file changes will not be noticed ({error}); send SIGHUP instead");
                None
            }
        };
        if let Some(watch) = &mut watch {
            watch.follow(&file, &config);
        }
        let preparer = Preparer::start(file.clone(), loader, teller)?;
        let number = generation.number;
        tell_generation(&config, number);
        notify_systemd(&[NotifyState::Ready]);
        Ok(Self {
            file,
            clock,
            happenings,
            engine,
            doors,
            pool,
            taps,
            watch,
            preparer,
            pace: Pace::default(),
            generation: number,
            signals,
            _local: local,
        })
    }

    async fn run(mut self) -> Exit {
        let mut is_ready = false;
        loop {
            let deadline = self.engine.next_deadline().and_then(|moment| self.clock.instant(moment));
            let reload_at = self.pace.due();
            tokio::select! {
                Some(happening) = self.happenings.recv() => self.handle(happening).await,
                () = until(deadline.map(Instant::from_std)) => {
                    let actions = self.engine.handle_deadline(self.clock.now());
                    self.act(actions);
                }
                () = until(reload_at) => self.prepare(),
                Some(()) = self.signals.hangup.recv() => {
                    tracing::info!(event = "reload", "reloading, as SIGHUP says");
                    if self.pace.may_prepare() {
                        self.prepare();
                    }
                }
                () = tokio::time::sleep(LOOK), if !is_ready => {
                    is_ready = self.taps.are_listening();
                    if is_ready {
                        tracing::info!(event = "ready", generation = self.generation, "listening on all interfaces");
                    }
                }
                () = self.signals.stop.recv() => break,
            }
        }
        self.stop().await
    }

    async fn handle(&mut self, happening: Happening) {
        let event = match happening {
            Happening::Judged { rule, source, request } => Event::Judged { rule, source, request },
            Happening::Answered(receipt) => Event::Answered(receipt),
            Happening::RulesetChanged(open) => return self.put_back(&open),
            Happening::FilesChanged => return self.pace.note_change(Instant::now()),
            Happening::Prepared(prepared) => return self.prepared(*prepared).await,
        };
        let actions = self.engine.handle(event, self.clock.now());
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        carry_out(actions, &self.engine, &mut self.doors);
    }

    /// Whatever should be open in the packet filter and is not any more is opened again for the time that it has left.
    fn put_back(&mut self, open: &[Opening]) {
        let open: HashSet<_> = open.iter().filter(|o| o.whole).map(|o| (o.door, o.client)).collect();
        let lost: Vec<_> = self
            .engine
            .openings()
            .filter(|(key, opening)| {
                opening.state == State::Open
                    && self.engine.keeps_time(key.door)
                    && !open.contains(&(key.door, key.client))
            })
            .map(|(key, _)| key)
            .collect();
        for key in lost {
            let actions =
                self.engine.handle(Event::Lost { door: key.door, client: key.client }, self.clock.now());
            self.act(actions);
        }
    }

    fn prepare(&mut self) {
        self.pace.begin();
        notify_systemd(&[NotifyState::Reloading]);
        self.preparer.request(self.generation + 1);
    }

    async fn prepared(&mut self, prepared: Result<(Config, Generation), Mistakes>) {
        self.pace.end(Instant::now());
        match prepared {
            Ok((config, generation)) => self.apply(&config, generation).await,
            Err(mistakes) => {
                let running = self.generation;
                tell_mistakes(
                    &mistakes,
                    &format!("the running configuration (generation {running}) is unchanged"),
                );
            }
        }
        notify_systemd(&[NotifyState::Ready]);
    }

    /// Goes on with another generation. Doors come first: they are the only part that can still say no.
    async fn apply(&mut self, config: &Config, generation: Generation) {
        let plan = self.doors.plan(config);
        let applied = self.doors.apply(&plan).await;
        if let Err(error) = applied {
            let running = self.generation;
            let detail = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(
                event = "reload",
                generation = running,
                detail,
                "the doors cannot be changed: {detail}; the running configuration (generation {running}) is unchanged"
            );
            return;
        }
        let actions = self.engine.handle(Event::PolicyChanged(plan.policy), self.clock.now());
        self.act(actions);
        let generation = Arc::new(generation);
        self.generation = generation.number;
        self.pool.replace(Arc::clone(&generation));
        if let Err(error) = self.taps.follow(config, &generation, &self.pool) {
            tracing::error!(event = "capture", detail = %error, "{error}");
        }
        if let Some(watch) = &mut self.watch {
            watch.follow(&self.file, config);
        }
        // Whoever is told of the new generation may rely on its being seen by the kernel's filter.
        let patience = Instant::now() + LISTENING;
        while !self.taps.are_listening() && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tell_generation(config, self.generation);
    }

    /// In order: no packet comes in, what came in is judged, doors that nobody else would close are closed.
    async fn stop(self) -> Exit {
        notify_systemd(&[NotifyState::Stopping]);
        let Self { taps, pool, mut engine, mut doors, clock, mut happenings, mut signals, .. } = self;
        let until = Instant::now() + GRACE;
        let (received, lost) = taps.counts();
        drop(taps);
        pool.stop();
        carry_out(engine.handle(Event::Stopping, clock.now()), &engine, &mut doors);
        let mut exit = Exit::Success;
        while !engine.is_settled() {
            let event = tokio::select! {
                happening = timeout_at(until, happenings.recv()) => match happening {
                    Ok(Some(Happening::Answered(receipt))) => Event::Answered(receipt),
                    Ok(Some(Happening::Judged { rule, source, request })) => Event::Judged { rule, source, request },
                    Ok(Some(_)) => continue,
                    Ok(None) | Err(_) => {
                        exit = Exit::Untidy;
                        break;
                    }
                },
                () = signals.stop.recv() => {
                    exit = Exit::Untidy;
                    break;
                }
            };
            carry_out(engine.handle(event, clock.now()), &engine, &mut doors);
        }
        let open = engine.openings().count();
        // Whoever still has something to tell finds nobody, and so nobody waits for room.
        drop(happenings);
        doors.stop();
        let drops = log::drops();
        tracing::info!(
            event = "stop",
            received,
            lost,
            open,
            drops,
            "stopped; {received} packets captured, {lost} lost; {open} doors stay open for their time; came to nothing: {drops}"
        );
        exit
    }
}

impl StopSignals {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn carry_out(actions: Vec<Action>, engine: &Engine, doors: &mut Doors) {
    for action in actions {
        match action {
            Action::Order { order, rule } => {
                doors.carry_out(order, rule.as_ref(), &engine.door_name(order.door));
            }
            Action::Tell(notice) => log::notice(&notice),
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => future::pending().await,
    }
}

fn tell_mistakes(mistakes: &Mistakes, consequence: &str) {
    for mistake in mistakes.iter() {
        tracing::error!(event = "mistake", detail = %mistake, "{mistake}");
    }
    let count = mistakes.count();
    let detail = mistakes.to_string();
    tracing::error!(event = "reload", detail, "{count}; {consequence}");
}

fn tell_generation(config: &Config, generation: u64) {
    let (rules, doors) = (config.rules.len(), config.doors.len());
    tracing::info!(
        event = "reload",
        generation,
        rules,
        doors,
        "generation {generation} is in force: {rules} rules, {doors} doors"
    );
}

fn tell_posture(posture: Posture) {
    match posture {
        Posture::Unguarded => {}
        Posture::Owned => tracing::info!(event = "doors", "{posture}"),
        Posture::Plain(_) => tracing::warn!(event = "doors", "{posture}"),
    }
}

/// Without systemd nobody listens, and that is no failure.
fn notify_systemd(states: &[NotifyState<'_>]) {
    drop(sd_notify::notify(states));
}

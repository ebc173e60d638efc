//! Start: everything that runs is started here, in order; the guard first. What may hang is waited for where signals are handled, too.

use std::panic::resume_unwind;
use std::sync::Arc;

use anyhow::Context;
use postern_capture::{LocalNetwork, Sightings};
use postern_config::Mistakes;
use postern_core::{Client, Event, GuardDoor, Knock, Observer, Report, RuleId, What};
use postern_link::{NotInPlace, WhyNotInPlace};
use postern_runner::{HookRunner, Shims};
use postern_sandbox::{IsLocal, Loader, Pool, PoolContext, Runtime};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::{App, Ended, InForce, LISTENING, Running, Tried};
use crate::captures::Captures;
use crate::clock::Clock;
use crate::doors::Doors;
use crate::effects::{Effects, ServiceStatus, ledger};
use crate::exit::Exit;
use crate::guarding::{Attempt, ReadAs, ReleaseTimer, apply_when_free};
use crate::main_loop_event::{MainLoopEvent, MainLoopSender, Prepared, channel};
use crate::observe::{report_posture, report_refused_start, report_refused_tenant};
use crate::one_time::OneTimeLines;
use crate::origin::Origin;
use crate::patience::{PatientReading, off_loop};
use crate::probing::Probing;
use crate::reload::Reloads;
use crate::shared_engine::SharedEngine;
use crate::signals::Signals;
use crate::state;
use crate::watchdog::Watchdog;

/// What came of starting.
pub(super) enum Begun {
    App(Box<App>),
    Ended(Ended),
}

impl App {
    /// Starts everything, in order, but for mistakes in the configuration.
    pub(super) async fn start(
        effects: Effects,
        mut signals: Signals,
        observer: Arc<dyn Observer>,
        tried: Tried,
    ) -> anyhow::Result<Begun> {
        let clock = Clock::start();
        let (sender, mut events) = channel();
        let Effects {
            origin,
            mut keepers,
            devices,
            network,
            status,
            watchdog,
            control,
            metrics,
            hooks,
            tried: try_view,
        } = effects;
        let facts = origin.facts();
        let mut doors = Doors::start(
            keepers.net(sender.clone(), Arc::clone(&observer), facts.identity.clone())?,
            keepers.commands(sender.clone(), Arc::clone(&observer))?,
        );

        // The guard is up before anything else is read, and stays up if the rest is wrong: closed is safe.
        let is_guarded = match facts.guarded {
            Some(is_guarded) => is_guarded,
            None => {
                match guard(&origin, &doors, &mut signals, &observer, &*status, try_view.is_some()).await? {
                    Ok(is_guarded) => is_guarded,
                    Err(signal) => return Ok(Begun::stopped(doors, signal)),
                }
            }
        };
        let runtime = Runtime::start()?;
        let loader = Loader::new(runtime.clone(), Arc::clone(&observer))?;
        let mut reloads = Reloads::new(
            Arc::clone(&origin),
            loader,
            MainLoopSender::clone(&sender),
            Arc::clone(&observer),
            Arc::clone(&status),
        );
        let mut handed_over = Vec::new();
        let (prepared, read) = match first(&mut reloads, &mut events, &mut signals, &mut handed_over).await {
            Ok(first) => first,
            Err(signal) => return Ok(Begun::stopped(doors, signal)),
        };
        let Prepared { ticket, config, numbers, generation, refused: tenants, programs, state, .. } =
            prepared;
        let refused = |mistakes: &Mistakes| {
            // What is tried does not stay closed.
            let identity =
                facts.identity.as_ref().filter(|_| is_guarded && try_view.is_none()).map(ToString::to_string);
            report_refused_start(&*observer, mistakes, identity.as_deref());
        };
        if let Some(config) = &config {
            let (said, config) = (Arc::clone(&origin), config.clone());
            let advise = move || said.advice(ticket, &config);
            let looking = "looking at what may lock you out";
            match off_loop(&mut signals.stop, &*observer, looking, advise).await {
                Ok(lines) => lines.into_iter().for_each(|line| {
                    observer.report(&Report::new(What::Advice { text: line.into() }));
                }),
                Err(signal) => return Ok(Begun::stopped(doors, signal)),
            }
        }
        tenants.iter().for_each(|tenant| report_refused_tenant(&*observer, tenant));
        let (config, generation) = match (config, generation) {
            (Some(config), Ok(generation)) => (config, generation),
            (_, generation) => {
                if let Err(mistakes) = generation {
                    refused(&mistakes);
                }
                return Ok(Begun::refused(doors));
            }
        };
        // They are among what was said a moment ago.
        drop(reloads.news_of_programs(programs));
        reloads.has_journal = state.is_there();
        let state::Opened { journal, inherited, error: no_journal, .. } = state;
        if let Some(mistakes) = state::without_journal(facts, &config, no_journal, &*observer) {
            refused(&mistakes);
            return Ok(Begun::refused(doors));
        }
        journal.into_iter().for_each(|journal| doors.use_journal(journal));
        let plan = doors.plan(&config, numbers.as_ref()).with_modules(&generation);
        // Ports that only an earlier configuration guarded are released when this one has not changed for a while.
        let release = ReleaseTimer::release(false);
        match apply_when_free(&mut signals.stop, &*observer, || doors.apply(&plan, release)).await {
            Ok(Attempt::Done(_)) => reloads.in_place(&config, read, release),
            Ok(Attempt::Stopped(signal)) => return Ok(Begun::stopped(doors, signal)),
            Err(error) if error.why == WhyNotInPlace::Mistakes => {
                let mistakes = plan.mistakes(&facts.file, &config, error.mistakes);
                refused(&mistakes);
                return Ok(Begun::refused(doors));
            }
            Err(error) => return Err(error).context("the doors cannot be set up"),
        }
        let ledger = ledger(&mut *keepers, facts.uses_tokens, MainLoopSender::clone(&sender))
            .context("the ledger's thread cannot be started")?;
        let one_time =
            OneTimeLines::new(&config, plan.table, Arc::clone(&origin), MainLoopSender::clone(&sender));
        let engine =
            Arc::new(SharedEngine::new(doors, ledger, one_time, &plan, clock, Arc::clone(&observer)));
        let local = Arc::new(match network {
            Some(sockets) => LocalNetwork::follow_on(sockets, Arc::clone(&observer))?,
            None => LocalNetwork::follow(Arc::clone(&observer))?,
        });
        let is_local = {
            let local = Arc::clone(&local);
            let is_local: IsLocal = Arc::new(move |address| local.contains(address));
            is_local
        };
        let is_local_for_asked = Arc::clone(&is_local);
        let generation = Arc::new(generation);
        let ask = {
            let engine = Arc::clone(&engine);
            let counted = metrics.as_ref().map(|metrics| Arc::clone(metrics.counted()));
            Arc::new(move |generation, rule: &RuleId, knock: &Knock, request| {
                counted.iter().for_each(|counted| counted.asked(rule, knock, &request));
                let source = Client::on_link(knock.source, knock.link);
                engine.handle(Event::Judged { rule: rule.clone(), generation, source, request });
            })
        };
        let now = Arc::new(move || clock.now());
        {
            let sender = MainLoopSender::clone(&sender);
            // Without a main loop nobody looks.
            runtime.tell_over_share(Box::new(move || drop(sender.send(MainLoopEvent::OverShare))));
        }
        let context = PoolContext { runtime, is_local, now, ask, observer: Arc::clone(&observer) };
        let pool = Pool::start(context, config.workers, Arc::clone(&generation))?;
        let watchdog = match watchdog {
            None => None,
            Some(timeout) => {
                let probing =
                    Probing::start(pool.prober()?, Arc::clone(&engine), MainLoopSender::clone(&sender))?;
                Some((Watchdog::new(timeout, Instant::now()), probing))
            }
        };
        let (sightings, devices) = (Sightings::new(facts.likeness), Arc::new(devices));
        let mut captures = Captures::new(Arc::clone(&local), sightings, devices, Arc::clone(&observer));
        let listening = Arc::new(Notify::new());
        captures.follow(&config, &generation, &pool, &listening)?;
        reloads.in_force(&config, &generation, plan.table, &tenants);
        let answering = control
            .and_then(|control| control.start(&config, Arc::clone(&engine), sender, is_local_for_asked));
        answering.iter().for_each(|answering| answering.put_in_force(&config, &generation, &tenants));
        let exposing = metrics.and_then(|metrics| metrics.start(&config.metrics, Arc::clone(&engine)));
        exposing.iter().for_each(|exposing| exposing.put_in_force(&config, &generation, &captures));
        if let Some(hooks) = hooks.as_ref().filter(|_| !config.hooks.is_empty()) {
            let runner = HookRunner::new(Arc::clone(&observer), Some(Shims::of_this_process()?));
            hooks.put_in_force(config.hooks.clone(), move |run| {
                runner.run(run);
                true
            });
        }
        let running = Running {
            started: config.start_settings(),
            unreported: Some((InForce::of(&config), Instant::now() + LISTENING)),
            is_ready: false,
        };
        let mut app = Self {
            origin,
            observer,
            events,
            engine,
            pool,
            captures,
            reloads,
            running,
            listening,
            signals,
            status,
            watchdog,
            tried: Some(tried),
            try_view: try_view.clone(),
            answering,
            exposing,
            hooks,
            reload_askers: Vec::new(),
            follow_askers: Vec::new(),
            excess_at: None,
            _local: local,
        };
        for (row, record) in inherited {
            app.engine.inherit(row, record);
        }
        let open =
            app.engine.list().await.map_err(anyhow::Error::msg).context("open doors cannot be read")?;
        app.engine.handle(Event::Listed(open));
        for event in handed_over {
            app.handle(event).await;
        }
        app.status.ready();
        Ok(Begun::App(Box::new(app)))
    }
}

impl Begun {
    /// A signal stopped the daemon before it ran.
    fn stopped(mut doors: Doors, signal: i32) -> Self {
        doors.stop();
        Self::Ended(Ended { exit: Exit::Success, signal: Some(signal) })
    }

    /// The configuration has mistakes, which were reported.
    fn refused(mut doors: Doors) -> Self {
        doors.stop();
        Self::Ended(Ended { exit: Exit::Mistakes, signal: None })
    }
}

/// The first configuration that could be prepared, and as what it was read, whatever changes meanwhile; the signal if one stops the daemon. What is handed over meanwhile is
/// kept.
async fn first(
    reloads: &mut Reloads,
    events: &mut UnboundedReceiver<MainLoopEvent>,
    signals: &mut Signals,
    handed_over: &mut Vec<MainLoopEvent>,
) -> Result<(Prepared, ReadAs), i32> {
    reloads.ask();
    loop {
        tokio::select! {
            Some(event) = events.recv() => match event {
                MainLoopEvent::Prepared(prepared) => {
                    if let Some(first) = reloads.accept(*prepared) {
                        return Ok(first);
                    }
                }
                // It is open, and comes once.
                MainLoopEvent::HandedOver { .. } => handed_over.push(event),
                // No door has an order yet, and what is open in the packet filter is looked at later.
                _ => {}
            },
            () = reloads.turn(&mut signals.hangup, false) => {}
            signal = signals.stop.recv() => return Err(signal),
        }
    }
}

/// Closes the ports of guard doors, as far as they can be read, and says whether there are any; the signal if one stops the daemon meanwhile.
async fn guard(
    origin: &Arc<dyn Origin>,
    doors: &Doors,
    signals: &mut Signals,
    observer: &Arc<dyn Observer>,
    status: &dyn ServiceStatus,
    is_tried: bool,
) -> anyhow::Result<Result<bool, i32>> {
    let Signals { hangup, stop } = signals;
    let mut is_any = false;
    let guard = async || {
        let begin = {
            let origin = Arc::clone(origin);
            move |_| {
                let preparation = origin.prepare(0, false);
                let reads = Arc::clone(&preparation);
                (preparation, Box::new(move || reads.guards()) as Box<dyn FnOnce() -> _ + Send>)
            }
        };
        let idle = format!("reading {}", origin.facts().file.display());
        let mut reading = PatientReading::start(begin, origin.noticed(), observer, idle);
        let guards: Vec<GuardDoor> = reading.done(hangup).await.unwrap_or_else(|panic| resume_unwind(panic));
        is_any = !guards.is_empty();
        if !is_any {
            return Ok(None);
        }
        match doors.guard(&guards).await {
            Ok(posture) => {
                status.guarded(&guards);
                Ok(Some(posture))
            }
            // Whoever tries wants to know, and not to wait.
            Err(error) if is_tried => Err(NotInPlace { why: WhyNotInPlace::Failed, ..error }),
            Err(error) => Err(error),
        }
    };
    match apply_when_free(stop, &**observer, guard).await.context("the doors cannot be set up")? {
        Attempt::Done(Some(posture)) => report_posture(posture, &**observer),
        Attempt::Done(None) => {}
        Attempt::Stopped(signal) => return Ok(Err(signal)),
    }
    Ok(Ok(is_any))
}

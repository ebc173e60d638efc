//! Start: everything that runs is started here, in order; the guard first.

use std::sync::Arc;

use anyhow::Context;
use postern_core::{Client, Knock, RuleId};
use postern_doorman::GuardDoor;
use sd_notify::NotifyState;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{App, Ended, LISTENING, Running, follow, notify_systemd, summary};
use crate::advice;
use crate::clock::Clock;
use crate::config::Reading;
use crate::desk::{Desk, one_time};
use crate::doors::Doors;
use crate::exit::Exit;
use crate::guarding::{Attempt, ReleaseTimer, apply_when_free};
use crate::happening::{Judgement, Prepared, Teller, channel, judgements};
use crate::local_network::LocalNetwork;
use crate::log;
use crate::reload::{Pace, Preparer, prepare};
use crate::rules::{Loader, Outcome, Pool, Runtime, Surroundings};
use crate::signals::Signals;
use crate::state;
use crate::taps::Taps;
use crate::watch::{Noticed, Watch};
use crate::written::Written;

/// What came of starting.
pub(super) enum Begun {
    App(Box<App>),
    Ended(Ended),
}

impl App {
    /// Starts everything, in order, but for mistakes in the configuration.
    pub(super) async fn start(written: Written, mut signals: Signals) -> anyhow::Result<Begun> {
        let clock = Clock::start();
        let (teller, happenings) = channel();
        let noticed = Arc::new(Noticed::default());
        let mut watch = start_watch(&noticed);
        let mut doors = Doors::start(teller.clone(), written.identity())?;

        // The guard is up before anything else is so much as read, and stays up if the rest is wrong: closed is safe.
        let guards = written.guards();
        if !guards.is_empty() {
            let attempt = apply_when_free(&mut signals, || doors.guard(&written.guards())).await;
            match attempt.context("the doors cannot be set up")? {
                Attempt::Done(posture) => log::posture(posture),
                Attempt::Stopped(signal) => return Ok(Begun::stopped(doors, signal)),
            }
        }
        // From here on files are watched; what changed before is read below, what changes after is noticed.
        let Reading { config: outline, .. } = written.read();
        let state::Opened { journal, inherited, error: no_journal } = state::open(&written, outline.as_ref());
        journal.into_iter().for_each(|journal| doors.use_journal(journal));
        if let Some(outline) = &outline {
            follow(&mut watch, &written, outline);
            advice::tell(&written, outline);
        }
        let runtime = Runtime::start()?;
        let mut loader = Loader::new(runtime.clone())?;
        let (config, generation) = match prepare(&written, 1, &mut loader) {
            Prepared { config: Some(config), generation: Ok(generation) } => (config, generation),
            Prepared { generation, .. } => {
                log::mistakes(generation.err().as_ref(), &does_not_start(&guards, &written));
                return Ok(Begun::refused(doors));
            }
        };
        if let Some(mistakes) = state::without_journal(&written, &config, no_journal) {
            log::mistakes(Some(&mistakes), &does_not_start(&guards, &written));
            return Ok(Begun::refused(doors));
        }
        let plan = doors.plan(&config);
        let mut release_timer = ReleaseTimer::default();
        let release = release_timer.release();
        match apply_when_free(&mut signals, || doors.apply(&plan, release)).await {
            Ok(Attempt::Done(_)) => release_timer.done(release, Instant::now()),
            Ok(Attempt::Stopped(signal)) => return Ok(Begun::stopped(doors, signal)),
            Err(error @ postern_doorman::Error::Doors(_)) => {
                tracing::error!(event = "mistake", detail = %error, "{error}; {}", does_not_start(&guards, &written));
                return Ok(Begun::refused(doors));
            }
            Err(error) => return Err(error).context("the doors cannot be set up"),
        }
        let (to_spend, judgements) = judgements();
        let desk = Arc::new(Desk::new(doors, &plan, &config, clock, to_spend));
        let local = Arc::new(LocalNetwork::follow()?);
        let is_local = {
            let local = Arc::clone(&local);
            Arc::new(move |address| local.contains(address))
        };
        let generation = Arc::new(generation);
        let told = {
            let desk = Arc::clone(&desk);
            Arc::new(move |generation, rule: &RuleId, knock: &Knock, outcome| {
                log::outcome(rule, knock, &outcome);
                if let Outcome::Asks(request) = outcome {
                    let source = Client::on_link(knock.source, knock.link);
                    desk.judged(Judgement { rule: rule.clone(), source, request, generation });
                }
            })
        };
        let surroundings = Surroundings { runtime, is_local, clock, told };
        let pool = Pool::start(surroundings, config.workers, Arc::clone(&generation))?;
        let mut taps = Taps::new(Arc::clone(&local));
        let listening = Arc::new(Notify::new());
        taps.follow(&config, &generation, &pool, &listening)?;
        let preparer = Preparer::start(written.clone(), loader, Teller::clone(&teller))?;
        let running = Running {
            number: generation.number,
            workers: config.workers,
            one_time: one_time(&config),
            untold: Some((summary(&config), Instant::now() + LISTENING)),
            is_ready: false,
        };
        let app = Self {
            written,
            happenings,
            judgements,
            desk,
            pool,
            taps,
            noticed,
            watch,
            preparer,
            pace: Pace::default(),
            release_timer,
            running,
            listening,
            signals,
            _local: local,
        };
        for (row, record) in inherited {
            app.desk.inherit(row, record);
        }
        let open = app.desk.list().await.context("open doors cannot be read")?;
        app.desk.reconcile(&open);
        notify_systemd(&[NotifyState::Ready]);
        Ok(Begun::App(Box::new(app)))
    }
}

impl Begun {
    /// Somebody stopped the daemon before it was there.
    fn stopped(mut doors: Doors, signal: i32) -> Self {
        doors.stop();
        Self::Ended(Ended { exit: Exit::Success, signal: Some(signal) })
    }

    /// The configuration has mistakes, which were told.
    fn refused(mut doors: Doors) -> Self {
        doors.stop();
        Self::Ended(Ended { exit: Exit::Mistakes, signal: None })
    }
}

fn does_not_start(guards: &[GuardDoor], written: &Written) -> String {
    let closed = match (guards, written.identity()) {
        ([_, ..], Some(identity)) => format!(
            "; guarded ports are closed all the same (`posternd reset --config {identity}` opens them)"
        ),
        _ => String::new(),
    };
    format!("the daemon does not start{closed}")
}

fn start_watch(noticed: &Arc<Noticed>) -> Option<Watch> {
    let watch = Watch::start(Arc::clone(noticed));
    if let Err(error) = &watch {
        tracing::warn!(event = "reload", detail = %error, "file changes will not be noticed ({error}); send SIGHUP instead");
    }
    watch.ok()
}

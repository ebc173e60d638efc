//! Alone: a run that is tried in one process. It stands between the daemon and its signals, as a supervisor does, and decides on the guard by a way
//! of its own to the doorman's thread.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use postern_core::{ConfigIdentity, GuardDoor, Observer};
use postern_doorman::{DoormanError, GuardControl, GuardTrial, give_up_trial};
use postern_text::chain;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{ConfirmedBy, TryRun, TryStep, TryVerdict, TryView, WhyOver};
use crate::ended::Ended;
use crate::exit::Exit;
use crate::signals::{SignalTeller, Signals};

/// How long the doorman's thread may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the daemon says of its start.
enum FromDaemon {
    /// The ports of these doors are closed.
    Guarded(Vec<GuardDoor>),
    /// It runs.
    Ready,
}

/// What the daemon is given to be tried in this process.
#[derive(Clone)]
pub(crate) struct TriedHere {
    pub(crate) view: TryView,
    first_guard: GuardTrial,
    guard: Arc<OnceLock<GuardControl>>,
    said: UnboundedSender<FromDaemon>,
}

impl TriedHere {
    /// For the doorman.
    pub(crate) const fn first_guard(&self) -> GuardTrial {
        self.first_guard
    }

    /// This decides on the guard.
    pub(crate) fn guard_is(&self, control: GuardControl) {
        let _ = self.guard.set(control);
    }

    /// The ports of these doors are closed. It is said once for each start, and so needs no bound.
    pub(crate) fn guarded(&self, doors: &[GuardDoor]) {
        let _ = self.said.send(FromDaemon::Guarded(doors.to_vec()));
    }

    /// The daemon runs.
    pub(crate) fn ready(&self) {
        let _ = self.said.send(FromDaemon::Ready);
    }
}

/// The daemon that `start` makes, tried for so long.
///
/// # Errors
/// As of the daemon, or if the system does not let it.
pub(crate) async fn run_alone<F>(
    lasts: Duration,
    mut signals: Signals,
    identity: Option<ConfigIdentity>,
    observer: Arc<dyn Observer>,
    start: impl FnOnce(TriedHere, Signals) -> anyhow::Result<F>,
) -> anyhow::Result<Ended>
where
    F: Future<Output = anyhow::Result<Ended>>,
{
    let tried = TryRun::start(lasts, observer)?;
    let (view, verdict) = TryView::new(tried.until(), tried.asker());
    let (said, hears) = unbounded_channel();
    let guard = Arc::new(OnceLock::new());
    let here = TriedHere { view, first_guard: tried.first_guard(), guard: Arc::clone(&guard), said };
    let (teller, told) = Signals::told()?;
    let mut deciding =
        Deciding { tried: Some(tried), verdict, guard, identity, hears, teller, is_over: false };
    let mut daemon = pin!(start(here, told)?);
    let ended = loop {
        tokio::select! {
            ended = &mut daemon => break ended,
            step = TryRun::next(&mut deciding.tried) => match step {
                TryStep::Confirm(by) => deciding.confirm(by).await,
                TryStep::GiveUp(why) => deciding.give_up(why).await,
            },
            Some(said) = deciding.hears.recv() => match (said, &mut deciding.tried) {
                (FromDaemon::Guarded(doors), Some(tried)) => tried.begun(&doors),
                (FromDaemon::Ready, Some(tried)) if !tried.has_begun() => tried.has_nothing(),
                _ => {}
            },
            () = signals.hangup.recv() => if deciding.tried.is_none() {
                deciding.teller.hangup();
            },
            signal = signals.stop.recv() => {
                deciding.give_up(WhyOver::Stopped).await;
                deciding.teller.stop(signal);
            }
        }
    };
    deciding.ended(ended)
}

struct Deciding {
    /// None once it is decided.
    tried: Option<TryRun>,
    verdict: TryVerdict,
    guard: Arc<OnceLock<GuardControl>>,
    identity: Option<ConfigIdentity>,
    hears: UnboundedReceiver<FromDaemon>,
    teller: SignalTeller,
    /// It was given up.
    is_over: bool,
}

impl Deciding {
    async fn confirm(&mut self, by: ConfirmedBy) {
        let done = match self.guard.get() {
            Some(guard) => {
                // With time to be done.
                let until = Instant::now() + PATIENCE / 2;
                ask(|reply| guard.confirm(until, reply)).await
            }
            None => Err("nothing is guarded so far".to_owned()),
        };
        match (done, &self.tried) {
            (Ok(()), Some(tried)) => {
                tried.confirmed(by);
                self.verdict.confirm();
                self.tried = None;
            }
            (Err(why), Some(tried)) => tried.not_confirmed(&why),
            (_, None) => {}
        }
    }

    /// Gives the guard up, and has the daemon stop.
    async fn give_up(&mut self, why: WhyOver) {
        let Some(tried) = self.tried.take() else { return };
        let done = match self.guard.get() {
            Some(guard) => ask(|reply| guard.give_up(reply)).await,
            None => Ok(()),
        };
        tried.over(why, done.err().as_deref());
        self.is_over = true;
        self.teller.stop(rustix::process::Signal::TERM.as_raw());
    }

    /// The daemon has ended, and its doorman with it.
    fn ended(self, ended: anyhow::Result<Ended>) -> anyhow::Result<Ended> {
        // With it goes the socket that owns the table.
        drop(self.guard);
        if let Some(tried) = self.tried {
            let done = self.identity.map_or(Ok(false), give_up_trial);
            let failed = done.err().map(|error| chain(&error).to_string());
            tried.over(WhyOver::Ended, failed.as_deref());
        }
        let exit = |ended: Ended| match self.is_over {
            true => Ended { exit: Exit::NotConfirmed, ..ended },
            false => ended,
        };
        ended.map(exit)
    }
}

/// Waits for the doorman's thread, but not for long.
async fn ask(request: impl FnOnce(Box<dyn FnOnce(Result<(), DoormanError>) + Send>)) -> Result<(), String> {
    let (reply, answer) = oneshot::channel();
    request(Box::new(move |done| drop(reply.send(done))));
    match timeout(PATIENCE, answer).await {
        Ok(Ok(done)) => done.map_err(|error| chain(&error).to_string()),
        Ok(Err(_)) => Err("the thread of the packet filter has ended".to_owned()),
        Err(_) => Err("the packet filter does not answer".to_owned()),
    }
}

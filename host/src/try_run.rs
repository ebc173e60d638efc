//! TryRun: `posternd try`, a run whose guard goes when its time is over unless the operator confirms it. This decides when to confirm and when to
//! give up, and tells the operator; whoever runs the daemon carries it out. The time itself is kept by the kernel (`postern_doorman::GuardTrial`).

mod alone;
mod operator_terminal;
mod view;
mod words;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_core::{Client, GuardDoor, Observer, Report, What};
use postern_doorman::GuardTrial;
use postern_text::duration;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};

pub(crate) use alone::{TriedHere, run_alone};
pub(crate) use view::{TryVerdict, TryView};

use crate::clock::until;
use operator_terminal::{OperatorTerminal, Typed};

/// Confirmations that wait; more of them mean no more.
const MOST_WAITING: usize = 4;
/// When the operator is reminded: with so much of the time left.
const REMINDERS: [Duration; 5] = [
    Duration::from_secs(60 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(2 * 60),
    Duration::from_secs(30),
    Duration::from_secs(10),
];

/// By what a guard that is tried is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ConfirmedBy {
    /// Enter, on the terminal that the daemon runs on.
    Terminal,
    /// `postern confirm`.
    Control,
    /// A knock has opened a door for this client, and a connection has come in.
    Knock(Client),
}

/// Why a guard is tried no more, unconfirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhyOver {
    /// Its time is over.
    Expired,
    /// The terminal that the daemon runs on is gone.
    TerminalGone,
    /// A signal stops the daemon.
    Stopped,
    /// No door guards a port.
    NothingGuarded,
    /// The daemon ends by itself: it said why.
    Ended,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TryStep {
    /// Have the guard stay; [`TryRun::confirmed`] or [`TryRun::not_confirmed`] says what came of it.
    Confirm(ConfirmedBy),
    /// Give the guard up and end.
    GiveUp(WhyOver),
}

/// A run that is tried, until it is confirmed or given up.
pub(crate) struct TryRun {
    lasts: Duration,
    until: Instant,
    observer: Arc<dyn Observer>,
    terminal: OperatorTerminal,
    hangup: Signal,
    nothing_guarded: Notify,
    asked: Receiver<ConfirmedBy>,
    ask: Sender<ConfirmedBy>,
    /// What was closed, in words; none if nothing was so far.
    guarded: Option<String>,
    /// The reminders that are still to come, the next one last.
    reminders: Vec<Duration>,
}

impl TryRun {
    /// One that lasts so long from now. Called on the runtime.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub(crate) fn start(lasts: Duration, observer: Arc<dyn Observer>) -> io::Result<Self> {
        let (ask, asked) = channel(MOST_WAITING);
        let mut reminders: Vec<_> = REMINDERS.into_iter().filter(|left| *left < lasts).collect();
        reminders.reverse();
        Ok(Self {
            lasts,
            until: Instant::now() + lasts,
            observer,
            terminal: OperatorTerminal::start()?,
            hangup: signal(SignalKind::hangup())?,
            nothing_guarded: Notify::new(),
            asked,
            ask,
            guarded: None,
            reminders,
        })
    }

    /// When the guard goes.
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// For a doorman that puts the guard up, before anything was guarded.
    pub(crate) const fn first_guard(&self) -> GuardTrial {
        GuardTrial { until: self.until, is_begun: false }
    }

    /// Whether anything was guarded.
    pub(crate) const fn has_begun(&self) -> bool {
        self.guarded.is_some()
    }

    /// The ports of these doors are closed now.
    pub(crate) fn begun(&mut self, doors: &[GuardDoor]) {
        if doors.is_empty() || self.guarded.is_some() {
            return;
        }
        let ports = words::ports(doors);
        let left = self.until.saturating_duration_since(Instant::now());
        for line in words::begun(&ports, left, self.terminal.is_read()) {
            self.terminal.say(line);
        }
        self.observer.report(&Report::new(What::TryBegun { lasts: self.lasts }));
        self.guarded = Some(ports);
    }

    /// Takes a confirmation.
    pub(crate) fn ask(&self, by: ConfirmedBy) {
        // If some wait it will be confirmed anyway.
        let _ = self.ask.try_send(by);
    }

    /// The daemon runs, and guards nothing.
    pub(crate) fn has_nothing(&self) {
        self.nothing_guarded.notify_one();
    }

    /// Takes confirmations from other threads.
    pub(crate) fn asker(&self) -> impl Fn(ConfirmedBy) + Send + Sync + 'static {
        let ask = self.ask.clone();
        move |by| {
            let _ = ask.try_send(by);
        }
    }

    /// Waits for what is to be done next; for ever if nothing is tried. It may be dropped and called again.
    pub(crate) async fn next(of: &mut Option<Self>) -> TryStep {
        match of {
            Some(tried) => tried.step().await,
            None => std::future::pending().await,
        }
    }

    async fn step(&mut self) -> TryStep {
        loop {
            let remind_at = self.reminders.last().map(|left| self.until - *left);
            tokio::select! {
                // At the end the kernel lets everything pass, and a confirmation that comes later would close it again.
                biased;
                () = until(Some(self.until.into())) => return TryStep::GiveUp(WhyOver::Expired),
                Some(by) = self.asked.recv() => return TryStep::Confirm(by),
                typed = self.terminal.typed() => match typed {
                    Typed::Line => return TryStep::Confirm(ConfirmedBy::Terminal),
                    Typed::End => return TryStep::GiveUp(WhyOver::TerminalGone),
                },
                _ = self.hangup.recv() => return TryStep::GiveUp(WhyOver::TerminalGone),
                () = self.nothing_guarded.notified() => return TryStep::GiveUp(WhyOver::NothingGuarded),
                () = until(remind_at.map(Into::into)) => {
                    if let (Some(left), Some(ports)) = (self.reminders.pop(), &self.guarded) {
                        self.terminal.say(words::reminder(ports, left, self.terminal.is_read()));
                    }
                }
            }
        }
    }

    /// The guard stays.
    pub(crate) fn confirmed(&self, by: ConfirmedBy) {
        let detail = words::confirmed_by(by);
        words::confirmed(&detail).into_iter().for_each(|line| self.terminal.say(line));
        let confirmed = Report::new(What::TryConfirmed { detail: detail.into() });
        self.observer.report(&match by {
            ConfirmedBy::Knock(client) => confirmed.with_client(client),
            ConfirmedBy::Terminal | ConfirmedBy::Control => confirmed,
        });
    }

    /// The guard could not be made to stay.
    pub(crate) fn not_confirmed(&self, why: &str) {
        let left = self.until.saturating_duration_since(Instant::now());
        self.terminal.say(words::not_confirmed(why, left));
        self.observer.report(&Report::new(What::TryNotConfirmed { detail: why.into() }));
    }

    /// The guard was given up; in words what went wrong with that, if anything did. Waits until the operator was told.
    pub(crate) fn over(self, why: WhyOver, failed: Option<&str>) {
        let ports = self.guarded.as_deref();
        words::over(why, ports, self.lasts, failed).into_iter().for_each(|line| self.terminal.say(line));
        let mut detail = words::why_over(why, self.lasts);
        failed.into_iter().for_each(|failed| detail += &format!("; it is left to the kernel: {failed}"));
        self.observer.report(&Report::new(What::TryOver { detail: detail.into() }));
        self.terminal.end();
    }
}

/// The time that `--for` gives.
///
/// # Errors
/// If it is not one from a second to a day.
pub(crate) fn time_to_try(text: &str) -> Result<Duration, duration::DurationError> {
    duration::parse_within(text, Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60))
}

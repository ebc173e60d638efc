//! Outage: the time in which an interface cannot be read, from the first failure until it works again.

use std::error::Error;
use std::time::{Duration, Instant};

use postern_core::{Observer, Report, What};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{CaptureError, CaptureSettings, SharedCapture};
use crate::link_changes::LinkChanges;

/// The first pause before trying again; each one after it is twice as long.
const SHORTEST: Duration = Duration::from_millis(200);
/// The longest pause. After an interface has worked for longer, the pauses start over.
const LONGEST: Duration = Duration::from_secs(5);
/// A change of interfaces ends a pause, but not before this: machines with many containers change all the time.
const LEAST: Duration = Duration::from_millis(50);

/// The state of retrying an interface that cannot be captured on.
pub(super) struct Outage {
    pause: Option<Duration>,
    /// The failure that was reported last; none since the interface was opened.
    reported: Option<String>,
    was_open: bool,
    /// Readable when interfaces have come, gone up or gone; without it pauses take their full time. It is there from the beginning, so that
    /// no change between a failure and the pause after it is missed.
    changes: Option<LinkChanges>,
}

/// An interface is open of which it was reported that it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovered {
    /// For the first time.
    AtLast,
    /// As it was before.
    Again,
}

impl Outage {
    pub(super) const fn new(changes: Option<LinkChanges>) -> Self {
        Self { pause: None, reported: None, was_open: false, changes }
    }

    /// Reports why there is no capture, unless that was the last thing that was reported.
    pub(super) fn report(
        &mut self,
        settings: &CaptureSettings,
        failure: &CaptureError,
        observer: &dyn Observer,
    ) {
        let reason = with_sources(failure);
        if self.reported.as_ref() == Some(&reason) {
            return;
        }
        observer.report(&Report::new(What::NotListening {
            interface: settings.interface.as_str().into(),
            reason: reason.as_str().into(),
            direction: settings.direction,
        }));
        self.reported = Some(reason);
    }

    /// The interface is open, so the next failure is reported again. Some if a failure was reported before, so that the recovery is, too.
    pub(super) fn end(&mut self) -> Option<Recovered> {
        let opened = if self.was_open { Recovered::Again } else { Recovered::AtLast };
        self.was_open = true;
        self.reported.take().map(|_| opened)
    }

    /// The interface was open for `time`. If that was short, the next pause goes on growing: it may fail each time at once.
    pub(super) fn worked_for(&mut self, time: Duration) {
        if time > LONGEST {
            self.pause = None;
        }
    }

    /// Waits until the pause is over or cut short by a change of interfaces, or until a command says to stop.
    pub(super) fn wait(&mut self, shared: &SharedCapture) {
        let pause = self.pause.map_or(SHORTEST, |pause| (pause * 2).min(LONGEST));
        self.pause = Some(pause);
        let begin = Instant::now();
        let mut end = begin + pause;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let mut descriptors = vec![PollFd::new(&shared.wake, PollFlags::IN)];
            descriptors.extend(self.changes.as_ref().map(|changes| PollFd::new(changes, PollFlags::IN)));
            if poll(&mut descriptors, Timespec::try_from(left).ok().as_ref()).is_err() {
                // Interrupted: the time that is left was not used up.
                continue;
            }
            let commands = !descriptors[0].revents().is_empty();
            let have_changed = descriptors.get(1).is_some_and(|changes| !changes.revents().is_empty());
            if commands {
                shared.awake();
                if self.follow(shared) {
                    return;
                }
            }
            if have_changed {
                self.forget_changes();
                end = end.min(begin + LEAST);
            }
        }
    }

    /// Readable when interfaces have changed.
    pub(super) const fn changes(&self) -> Option<&LinkChanges> {
        self.changes.as_ref()
    }

    /// Clears the notification of changes.
    pub(super) fn forget_changes(&self) {
        if let Some(changes) = &self.changes {
            changes.forget();
        }
    }

    /// Answers commands without a capture, and says whether to stop.
    fn follow(&self, shared: &SharedCapture) -> bool {
        let mut stop = false;
        shared.update(|state| {
            state.stats_answered = state.stats_asked;
            stop = state.stop;
        });
        stop
    }
}

/// A failure with its chain of sources.
pub(super) fn with_sources(failure: &CaptureError) -> String {
    let mut text = failure.to_string();
    let mut source = failure.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

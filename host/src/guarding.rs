//! Guarding: when the guard is set up, and when it releases ports. It waits for another daemon that has the table, and for files that are
//! being written.

use std::time::Duration;

use postern_core::{Observer, Release, Report, What};
use postern_link::{NotInPlace, WhyNotInPlace};
use tokio::time::{Instant, sleep};

use crate::signals::StopSignals;

/// When to try again while another daemon has the table.
const RETRY: Duration = Duration::from_secs(1);
/// After how many tries it is reported again that this daemon waits.
const TOLD_EVERY: u32 = 60;
/// For so long a configuration must not have changed before ports are released that it no longer guards: it may be half written.
const ALONE: Duration = Duration::from_secs(2);

/// The outcome of trying.
pub(crate) enum Attempt<T> {
    /// The doors are in place.
    Done(T),
    /// A signal stopped the daemon meanwhile.
    Stopped(i32),
}

/// Has the doors put in place, again and again while the table is another daemon's or another configuration's: if this daemon gave up and
/// the other one then ended, no daemon would guard the ports. Every attempt may read the configuration anew.
///
/// # Errors
/// Anything else that keeps the doors from being in place.
pub(crate) async fn apply_when_free<T>(
    stop: &mut StopSignals,
    observer: &dyn Observer,
    mut attempt: impl AsyncFnMut() -> Result<T, NotInPlace>,
) -> Result<Attempt<T>, NotInPlace> {
    for tries in 0_u32.. {
        let tried = tokio::select! {
            tried = attempt() => tried,
            signal = stop.recv() => return Ok(Attempt::Stopped(signal)),
        };
        match tried {
            Ok(done) => return Ok(Attempt::Done(done)),
            Err(error) if error.why == WhyNotInPlace::Taken => {
                if tries.is_multiple_of(TOLD_EVERY) {
                    let detail = error.text.into();
                    observer.report(&Report::new(What::TableTaken { detail }));
                }
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = sleep(RETRY) => {}
            signal = stop.recv() => return Ok(Attempt::Stopped(signal)),
        }
    }
    unreachable!("tries do not end")
}

/// When ports are released that the configuration no longer guards. Only what the host changes decides about that: what a tenant changes neither
/// releases a port nor keeps one guarded.
#[derive(Debug, Default)]
pub(crate) struct ReleaseTimer {
    state: ReleaseState,
    /// A signal asked for the configuration that is read next.
    asked: bool,
    /// How often the host has changed something.
    changes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ReleaseState {
    /// The configuration in force may have been half written, or is none of now.
    #[default]
    Doubtful,
    /// It is in force, and if nothing changes until then it counts.
    Waiting(Instant),
    /// Nothing is guarded but what it guards.
    Released,
}

/// A configuration that is about to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadAs {
    /// A signal asked for it, as it is now and as a whole.
    pub(crate) is_asked: bool,
    /// How often the host had changed something when it was read.
    pub(crate) changes: u64,
}

impl ReleaseTimer {
    /// A signal asked for the configuration, as it is now, to be in force as a whole at once.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
        self.note_change();
    }

    /// The configuration is read from now on.
    pub(crate) fn begin(&mut self) -> ReadAs {
        ReadAs { is_asked: std::mem::take(&mut self.asked), changes: self.changes }
    }

    /// Files of the host changed: the configuration in force may have been half written.
    pub(crate) fn note_change(&mut self) {
        self.changes += 1;
        self.state = ReleaseState::Doubtful;
    }

    /// The configuration cannot be put in force as it is now, though nobody has noticed a change.
    pub(crate) fn doubt(&mut self) {
        self.state = ReleaseState::Doubtful;
    }

    /// Whether what was read then is what the host's files say, as far as was noticed.
    pub(crate) const fn is_current(&self, read: ReadAs) -> bool {
        read.changes == self.changes
    }

    /// How the doors of a configuration that was read are to be put in place, if it has no mistake.
    pub(crate) fn release(is_asked: bool) -> Release {
        if is_asked { Release::Now } else { Release::Later }
    }

    /// The doors of what was read then are in place. Whether they are the ones that were in place before, `is_same` says.
    pub(crate) fn in_place(&mut self, read: ReadAs, release: Release, is_same: bool, now: Instant) {
        if !self.is_current(read) {
            // What is read next may guard them.
            self.state = ReleaseState::Doubtful;
        } else if release == Release::Now || !is_same || self.state == ReleaseState::Doubtful {
            self.done(release, now);
        }
    }

    /// The doors in place were put in place once more.
    pub(crate) fn done(&mut self, release: Release, now: Instant) {
        self.state = match release {
            Release::Now => ReleaseState::Released,
            Release::Later => ReleaseState::Waiting(now + ALONE),
        };
    }

    /// When to put them in place once more, and release ports.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.state {
            ReleaseState::Waiting(at) => Some(at),
            ReleaseState::Doubtful | ReleaseState::Released => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_released_after_two_quiet_seconds() {
        let now = Instant::now();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        let mut release_timer = ReleaseTimer::default();
        assert_eq!(release_timer.due(), None);
        let read = release_timer.begin();
        release_timer.in_place(read, Release::Later, false, now);
        assert_eq!(release_timer.due(), at(2));
        // It may have a mistake now, and then no port is released.
        release_timer.note_change();
        assert_eq!(release_timer.due(), None);
        // What was read before that is not what it says now.
        release_timer.in_place(read, Release::Later, false, now);
        assert_eq!(release_timer.due(), None);
        let read = release_timer.begin();
        release_timer.in_place(read, Release::Later, true, now);
        assert_eq!(release_timer.due(), at(2));
        release_timer.done(Release::Now, now);
        assert_eq!(release_timer.due(), None);
    }

    #[test]
    fn what_a_tenant_changes_puts_nothing_off_and_releases_nothing() {
        let now = Instant::now();
        let later = |millis| now + Duration::from_millis(millis);
        let mut release_timer = ReleaseTimer::default();
        let read = release_timer.begin();
        release_timer.in_place(read, Release::Later, false, now);
        for millis in (0..2000).step_by(100) {
            let read = release_timer.begin();
            release_timer.in_place(read, Release::Later, true, later(millis));
            assert_eq!(release_timer.due(), Some(later(2000)));
        }
        // Doors that changed though nobody noticed it, or mistakes, are no doors for two seconds.
        let read = release_timer.begin();
        release_timer.in_place(read, Release::Later, false, later(1900));
        assert_eq!(release_timer.due(), Some(later(3900)));
        release_timer.doubt();
        assert_eq!(release_timer.due(), None);
        let read = release_timer.begin();
        release_timer.in_place(read, Release::Later, true, later(3000));
        assert_eq!(release_timer.due(), Some(later(5000)));
        // What was released need not be released again.
        release_timer.done(Release::Now, later(5000));
        let read = release_timer.begin();
        release_timer.in_place(read, Release::Later, true, later(6000));
        assert_eq!(release_timer.due(), None);
    }

    #[test]
    fn a_signal_asks_for_the_configuration_as_it_is_then() {
        let mut release_timer = ReleaseTimer::default();
        let now = Instant::now();
        // A configuration is being read.
        let before = release_timer.begin();
        assert!(!before.is_asked);
        release_timer.ask();
        assert!(!release_timer.is_current(before));
        let asked = release_timer.begin();
        assert!(asked.is_asked && release_timer.is_current(asked));
        // A later configuration is not the one that was asked for.
        assert!(!release_timer.begin().is_asked);
        release_timer.in_place(asked, ReleaseTimer::release(true), true, now);
        assert_eq!(release_timer.due(), None);
    }
}

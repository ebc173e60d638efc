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

/// When ports are released that the configuration no longer guards.
#[derive(Debug, Default)]
pub(crate) struct ReleaseTimer {
    at: Option<Instant>,
    /// A signal asked for the configuration that is read next.
    asked: bool,
}

impl ReleaseTimer {
    /// A signal asked for the configuration, as it is now, to be in force as a whole at once.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
    }

    /// The configuration is read from now on; the one in force may have been half written. Returns whether a signal asked for it.
    pub(crate) fn begin(&mut self) -> bool {
        self.at = None;
        std::mem::take(&mut self.asked)
    }

    /// Files changed: the configuration in force may have been half written.
    pub(crate) fn note_change(&mut self) {
        self.at = None;
    }

    /// How the doors of a configuration that was read are to be put in place, if it has no mistake.
    pub(crate) fn release(is_asked: bool) -> Release {
        if is_asked { Release::Now } else { Release::Later }
    }

    /// The doors are in place.
    pub(crate) fn done(&mut self, release: Release, now: Instant) {
        self.at = (release == Release::Later).then(|| now + ALONE);
    }

    /// When to put them in place once more, and release ports.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.at
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
        release_timer.done(Release::Later, now);
        assert_eq!(release_timer.due(), at(2));
        // It may have a mistake now, and then no port is released.
        release_timer.note_change();
        assert_eq!(release_timer.due(), None);
        release_timer.done(Release::Later, now);
        release_timer.begin();
        assert_eq!(release_timer.due(), None);
    }

    #[test]
    fn a_signal_asks_for_the_configuration_as_it_is_then() {
        let mut release_timer = ReleaseTimer::default();
        // A configuration is being read.
        assert_eq!(ReleaseTimer::release(release_timer.begin()), Release::Later);
        release_timer.ask();
        assert_eq!(ReleaseTimer::release(release_timer.begin()), Release::Now);
        assert_eq!(release_timer.due(), None);
        // A later configuration is not the one that was asked for.
        assert_eq!(ReleaseTimer::release(release_timer.begin()), Release::Later);
    }
}

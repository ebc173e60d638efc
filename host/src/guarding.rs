//! Guarding: how the guard goes up and lets go. It waits for another daemon that has the table, and for files that are being written.

use std::time::Duration;

use postern_core::{Observer, Report, What};
use postern_doorman::{DoormanError, Posture, Release};
use tokio::time::{Instant, sleep};

use crate::signals::Signals;

/// When to try again while another daemon has the table.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is told meanwhile that this one waits, in tries.
const TOLD_EVERY: u32 = 60;
/// For so long a configuration must have been left alone before ports are let go of that it does not guard any more: it may be half
/// written.
const ALONE: Duration = Duration::from_secs(2);

/// What came of trying.
pub(crate) enum Attempt {
    /// The doors are in place.
    Done(Posture),
    /// The daemon was told to stop meanwhile.
    Stopped(i32),
}

/// Has the doors put in place, again and again while the table is another daemon's or another configuration's: it must not be possible that
/// this one gives up and, when the other goes, nobody guards. Every attempt may read anew what it is to do.
///
/// # Errors
/// Anything else that keeps the doors from being in place.
pub(crate) async fn apply_when_free<F>(
    signals: &mut Signals,
    observer: &dyn Observer,
    mut attempt: impl FnMut() -> F,
) -> Result<Attempt, DoormanError>
where
    F: Future<Output = Result<Posture, DoormanError>>,
{
    for tries in 0_u32.. {
        let tried = tokio::select! {
            tried = attempt() => tried,
            signal = signals.stop.recv() => return Ok(Attempt::Stopped(signal)),
        };
        match tried {
            Ok(posture) => return Ok(Attempt::Done(posture)),
            Err(error @ (DoormanError::Owned(_) | DoormanError::OtherConfiguration(_))) => {
                if tries.is_multiple_of(TOLD_EVERY) {
                    let detail = error.to_string().into();
                    observer.report(&Report::new(What::TableTaken { detail }));
                }
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = sleep(RETRY) => {}
            signal = signals.stop.recv() => return Ok(Attempt::Stopped(signal)),
        }
    }
    unreachable!("tries do not end")
}

/// When ports are let go of that the configuration does not guard any more.
#[derive(Debug, Default)]
pub(crate) struct ReleaseTimer {
    at: Option<Instant>,
    /// Somebody asked for the configuration that is read next.
    asked: bool,
}

impl ReleaseTimer {
    /// A person asked for the configuration as it is now to be in force as a whole at once.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
    }

    /// The configuration is read from now on, as it is now; what is in force may be half of something. Whether a person asked for it.
    pub(crate) fn begin(&mut self) -> bool {
        self.at = None;
        std::mem::take(&mut self.asked)
    }

    /// Files changed: what is in force may be half of something.
    pub(crate) fn note_change(&mut self) {
        self.at = None;
    }

    /// How the doors of a configuration that was read are to be put in place, if it is right as a whole.
    pub(crate) fn release(is_asked: bool) -> Release {
        if is_asked { Release::Now } else { Release::Later }
    }

    /// They are in place so.
    pub(crate) fn done(&mut self, release: Release, now: Instant) {
        self.at = (release == Release::Later).then(|| now + ALONE);
    }

    /// When to put them in place once more, letting go.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_let_go_of_after_two_quiet_seconds() {
        let now = Instant::now();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        let mut release_timer = ReleaseTimer::default();
        assert_eq!(release_timer.due(), None);
        release_timer.done(Release::Later, now);
        assert_eq!(release_timer.due(), at(2));
        // It may be wrong now, and then nothing is let go of.
        release_timer.note_change();
        assert_eq!(release_timer.due(), None);
        release_timer.done(Release::Later, now);
        release_timer.begin();
        assert_eq!(release_timer.due(), None);
    }

    #[test]
    fn who_asks_means_the_configuration_as_it_is_when_they_ask() {
        let mut release_timer = ReleaseTimer::default();
        // One is being read.
        assert_eq!(ReleaseTimer::release(release_timer.begin()), Release::Later);
        release_timer.ask();
        assert_eq!(ReleaseTimer::release(release_timer.begin()), Release::Now);
        assert_eq!(release_timer.due(), None);
        // What comes after is not what was asked for.
        assert_eq!(ReleaseTimer::release(release_timer.begin()), Release::Later);
    }
}

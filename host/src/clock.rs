//! Clock: the time by which the engine and the rules decide, on a clock that never steps.

use std::future;
use std::time::Instant;

use postern_core::Moment;

/// Waits until then; for ever if there is no such time.
pub(crate) async fn until(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => future::pending().await,
    }
}

/// Time since the daemon started, on a clock that never steps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins at zero now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time now.
    #[must_use]
    pub fn now(self) -> Moment {
        Moment(self.start.elapsed())
    }

    /// The moment as an instant, for a timer; none if it is too far off to be one.
    #[must_use]
    pub fn instant(self, moment: Moment) -> Option<Instant> {
        self.start.checked_add(moment.0)
    }
}

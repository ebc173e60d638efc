//! Clock: the time by which the engine and the rules decide, on a clock that never steps.

use std::future;
use std::time::{Duration, Instant};

use postern_core::Moment;

/// Waits until then; for ever if there is no such time.
pub(crate) async fn until(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => future::pending().await,
    }
}

/// How long before its start a clock begins, so that there are moments for what was opened before: longer than anything stays open.
const BEFORE: Duration = Duration::from_secs(20 * 366 * 24 * 60 * 60);

/// Time since long before the daemon started, on a clock that never steps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock on which it is 20 years now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time now.
    #[must_use]
    pub fn now(self) -> Moment {
        Moment(BEFORE.saturating_add(self.start.elapsed()))
    }

    /// The moment as an instant, for a timer, not before the start; none if it is too far off to be one.
    #[must_use]
    pub fn instant(self, moment: Moment) -> Option<Instant> {
        self.start.checked_add(moment.since(Moment(BEFORE)))
    }
}

//! Clock: the only reader of clocks.

use std::future;
use std::time::{Instant, SystemTime};

use postern_core::Moment;

/// The machine's clock, in milliseconds since 1970; it may be wrong, and may step.
pub(crate) fn wall() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

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

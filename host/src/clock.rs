//! Clock: the only reader of the daemon's own clock.

use std::time::Instant;

use postern_core::Moment;

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

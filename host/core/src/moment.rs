//! Moment: when something happens to an opening.

use std::time::Duration;

/// A point in time on the daemon's own clock, which never steps: the time since it began. What an earlier engine opened may have begun before
/// that only if the clock began before the engine.
///
/// Not comparable with [`crate::Timestamp`], which is what packets carry and may step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// This moment and so much more; stays at the end of time instead of overflowing.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long from `earlier` to here; zero if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

//! Restart: when a process that ended is started again: at once the first time, later and later if it keeps ending.

use std::time::{Duration, Instant};

/// The pause before the second start in a row.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);
/// A process that ran for so long did not end because of how it was started.
const RAN: Duration = Duration::from_secs(1);

/// Counts how often a process ended soon after it was started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Restart {
    in_a_row: u32,
}

impl Restart {
    /// The process that was started then has ended now: the pause before the next.
    pub(crate) fn ended(&mut self, started: Instant, now: Instant) -> Duration {
        if now.duration_since(started) >= RAN {
            self.in_a_row = 0;
        }
        let pause = match self.in_a_row {
            0 => Duration::ZERO,
            n => FIRST.saturating_mul(1 << (n - 1).min(16)).min(LONGEST),
        };
        self.in_a_row = self.in_a_row.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_at_once_and_the_next_ones_wait_longer() {
        let mut restart = Restart::default();
        let start = Instant::now();
        let pauses: Vec<_> = (0..12).map(|_| restart.ended(start, start).as_millis()).collect();
        assert_eq!(pauses[..5], [0, 100, 200, 400, 800]);
        assert_eq!(pauses[11], 30_000);
        assert_eq!(restart.ended(start, start + RAN), Duration::ZERO, "it ran for a while");
        assert_eq!(restart.ended(start, start), FIRST);
    }
}

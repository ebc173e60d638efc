//! Restart: when a process that ended is started again: at once the first time, later and later if it keeps ending.

use std::time::{Duration, Instant};

use crate::pace::Pace;

/// The pause before the second start in a row.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);
/// A process that ran for so long did not end because of how it was started.
const RAN: Duration = Duration::from_secs(1);
/// Over time there is no more than one start in so long: a process may also keep ending after it has run for a while.
const EACH: Duration = Duration::from_secs(2);
/// So many may end before that is a reason to wait.
const BURST: u32 = 30;

/// Counts how often a process ended soon after it was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restart {
    in_a_row: u32,
    often: Pace,
}

impl Default for Restart {
    fn default() -> Self {
        Self { in_a_row: 0, often: Pace::one_each(EACH, BURST) }
    }
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
        pause.max(self.often.take(1, now))
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

    #[test]
    fn one_that_always_runs_for_a_while_and_ends_is_not_started_for_ever_at_once() {
        let mut restart = Restart::default();
        let (mut now, mut starts) = (Instant::now(), 0);
        let until = now + Duration::from_secs(600);
        while now < until {
            let started = now;
            now += RAN;
            now += restart.ended(started, now);
            starts += 1;
        }
        assert!((300..=331).contains(&starts), "{starts} starts in ten minutes");
        // It is forgiven.
        let later = now + EACH * BURST;
        assert_eq!(restart.ended(now, later), Duration::ZERO);
    }
}

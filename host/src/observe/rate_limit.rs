//! RateLimit: bounds lines a second, so that no packet or guest can fill the log.

use std::time::{Duration, Instant};

/// Lets lines through at a rate, with a burst, and counts those that it holds back.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateLimit {
    interval: Duration,
    burst: u32,
    /// Until when the lines so far have used the rate up.
    paid_until: Option<Instant>,
    suppressed: u64,
}

impl RateLimit {
    /// So many lines a second, and so many at once after a silence; each at least 1.
    pub(super) const fn per_second(lines: u32, burst: u32) -> Self {
        Self {
            interval: Duration::from_micros(1_000_000 / lines as u64),
            burst,
            paid_until: None,
            suppressed: 0,
        }
    }

    /// Goes on at another rate; what was used is used.
    pub(super) const fn change(&mut self, lines: u32, burst: u32) {
        let Self { interval, burst: most, .. } = Self::per_second(lines, burst);
        (self.interval, self.burst) = (interval, most);
    }

    /// Whether a line may go out now, and how many were held back before it.
    pub(super) fn admit(&mut self, now: Instant) -> Option<u64> {
        let paid_until = self.paid_until.map_or(now, |until| until.max(now));
        if paid_until - now > self.interval * (self.burst - 1) {
            self.suppressed += 1;
            return None;
        }
        self.paid_until = Some(paid_until + self.interval);
        Some(std::mem::take(&mut self.suppressed))
    }

    /// Counts lines that somebody else held back, so that they are told, too.
    pub(super) const fn add_suppressed(&mut self, lines: u64) {
        self.suppressed += lines;
    }

    /// How many lines were held back since the last one that went out.
    pub(super) const fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// Whether it would let through as many as a new one.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.paid_until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_and_the_rest_is_counted() {
        let mut limit = RateLimit::per_second(10, 3);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let burst: Vec<_> = (0..5).map(|_| limit.admit(at(0))).collect();
        assert_eq!(burst, [Some(0), Some(0), Some(0), None, None]);
        assert_eq!(limit.admit(at(99)), None);
        assert_eq!(limit.admit(at(100)), Some(3));
        assert_eq!(limit.admit(at(101)), None);
        assert!(!limit.is_idle(at(101)) && limit.is_idle(at(5000)));
        assert_eq!(limit.admit(at(5000)), Some(1));
    }
}

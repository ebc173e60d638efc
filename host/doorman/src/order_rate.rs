//! OrderRate: how many orders are taken in a time. A token bucket; the time is an argument.

use std::time::{Duration, Instant};

/// A bucket that fills at an even rate, and from which each order takes one token.
#[derive(Debug)]
pub struct OrderRate {
    per_second: u32,
    most: f64,
    tokens: f64,
    filled_at: Instant,
}

impl OrderRate {
    /// A full bucket of `most` tokens.
    #[must_use]
    pub fn new(per_second: u32, most: u32, now: Instant) -> Self {
        Self { per_second, most: f64::from(most), tokens: f64::from(most), filled_at: now }
    }

    /// Another rate and another size from now on. What is in the bucket stays, as far as it has room.
    pub fn change(&mut self, per_second: u32, most: u32, now: Instant) {
        self.fill(now);
        (self.per_second, self.most) = (per_second, f64::from(most));
        self.tokens = self.tokens.min(self.most);
    }

    /// Takes a token; false if there is none.
    #[must_use]
    pub fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }

    fn fill(&mut self, now: Instant) {
        let passed: Duration = now.saturating_duration_since(self.filled_at);
        self.filled_at = self.filled_at.max(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * f64::from(self.per_second)).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: &mut OrderRate, now: Instant) -> u32 {
        (0..1000).map(|_| u32::from(rate.take(now))).sum()
    }

    #[test]
    fn a_burst_empties_it_and_time_fills_it_to_the_brim() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut rate = OrderRate::new(100, 20, start);
        assert_eq!(taken(&mut rate, start), 20);
        assert_eq!(taken(&mut rate, at(105)), 10);
        assert_eq!(taken(&mut rate, at(60_000)), 20);
        // A clock that goes back gives nothing.
        assert_eq!(taken(&mut rate, at(105)), 0);
    }

    #[test]
    fn a_change_gives_nothing_away() {
        let start = Instant::now();
        let mut rate = OrderRate::new(100, 20, start);
        assert_eq!(taken(&mut rate, start), 20);
        rate.change(1000, 40, start);
        assert_eq!(taken(&mut rate, start), 0);
        assert_eq!(taken(&mut rate, start + Duration::from_millis(10)), 10);
    }
}

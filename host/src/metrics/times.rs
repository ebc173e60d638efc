//! Times: how long something took, as how often it took at most so long.

use std::time::Duration;

/// The bounds, in microseconds: from a guard on an idle machine to a command that takes its time.
const BOUNDS: [u32; 14] =
    [100, 200, 300, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];

/// How long something took, each time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// How often it took at most the bound of this place and more than that of the one before.
    within: [u64; BOUNDS.len()],
    /// How often it took more than the last bound.
    beyond: u64,
    sum: Duration,
}

impl Times {
    /// It took so long.
    pub(super) fn add(&mut self, took: Duration) {
        let place = BOUNDS.partition_point(|bound| Duration::from_micros((*bound).into()) < took);
        *self.within.get_mut(place).unwrap_or(&mut self.beyond) += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// How often it was measured.
    pub(super) fn count(&self) -> u64 {
        self.within.iter().sum::<u64>() + self.beyond
    }

    /// Seconds, all together.
    pub(super) const fn sum(&self) -> f64 {
        self.sum.as_secs_f64()
    }

    /// How often for each bound, in seconds, the infinite one last.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.iter().map(|bound| f64::from(*bound) / 1e6);
        bounds.zip(self.within).chain([(f64::INFINITY, self.beyond)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_counts_once_at_the_first_bound_that_it_does_not_exceed() {
        let mut times = Times::default();
        for micros in [1, 100, 101, 999, 1_000, 4_999_999, 5_000_000, 5_000_001, 60_000_000] {
            times.add(Duration::from_micros(micros));
        }
        let found: Vec<_> = times.buckets().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(found, [(0.0001, 2), (0.0002, 1), (0.001, 2), (5.0, 2), (f64::INFINITY, 2)]);
        assert_eq!(times.count(), 9);
        assert!((times.sum() - 75.002_201).abs() < 1e-9, "{}", times.sum());
    }
}

//! How often somebody may do something.

use std::time::{Duration, Instant};

/// So many at once, and then one each so often.
#[derive(Debug)]
pub(super) struct Bucket {
    each: Duration,
    most: u32,
    /// When it is full again if nothing is taken.
    full_at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(each: Duration, most: u32, now: Instant) -> Self {
        Self { each, most, full_at: now }
    }

    /// Takes one if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.wait(now).is_zero() && {
            self.full_at = self.full_at.max(now) + self.each;
            true
        }
    }

    /// Nothing more for so long, beyond what there is, but not for longer than `longest`.
    pub(super) fn charge(&mut self, time: Duration, longest: Duration, now: Instant) {
        let burst = self.each * self.most.saturating_sub(1);
        let most = (now + burst + longest).max(self.full_at);
        self.full_at = (self.full_at.max(now) + time).min(most);
    }

    /// Whether nothing was taken lately.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// How long until there is one to take.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let owed = self.full_at.saturating_duration_since(now);
        owed.saturating_sub(self.each * self.most.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_each_so_often() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut bucket = Bucket::new(Duration::from_millis(10), 3, start);
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, at(0)), 3);
        assert_eq!(bucket.wait(at(0)), Duration::from_millis(10));
        assert_eq!(taken(&mut bucket, at(9)), 0);
        assert_eq!(taken(&mut bucket, at(25)), 2);
        assert_eq!(taken(&mut bucket, at(1000)), 3);
    }

    #[test]
    fn what_is_charged_is_waited_for_and_not_for_ever() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Duration::from_millis(10), 3, start);
        let longest = Duration::from_millis(500);
        bucket.charge(Duration::from_millis(100), longest, start);
        assert_eq!(bucket.wait(start), Duration::from_millis(80), "a burst is left");
        (0..100).for_each(|_| bucket.charge(Duration::from_secs(1), longest, start));
        assert_eq!(bucket.wait(start), longest);
    }
}

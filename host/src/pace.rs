//! Pace: how fast something is taken from another process or from somebody who asks: a burst at once, and then evenly. The time is an argument, and it does not wait itself.

use std::time::{Duration, Instant};

/// So many in a time, and so many at once after a silence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    each: Duration,
    burst: u32,
    /// Until when those so far have used the time up.
    paid_until: Option<Instant>,
}

impl Pace {
    /// One each so often, and so many at once.
    pub(crate) const fn one_each(each: Duration, burst: u32) -> Self {
        Self { each, burst, paid_until: None }
    }

    /// So many a second, at least 1, and so many at once.
    pub(crate) const fn per_second(count: u32, burst: u32) -> Self {
        Self::one_each(Duration::from_micros(1_000_000 / count as u64), burst)
    }

    /// Takes so many now: how long to wait before anything else is done.
    pub(crate) fn take(&mut self, count: u32, now: Instant) -> Duration {
        let paid_until = self.paid_until.map_or(now, |until| until.max(now)) + self.each * count;
        self.paid_until = Some(paid_until);
        (paid_until - now).saturating_sub(self.each * self.burst)
    }

    /// Takes one if there is no need to wait for it.
    pub(crate) fn try_take(&mut self, now: Instant) -> bool {
        let before = self.paid_until;
        let is_free = self.take(1, now).is_zero();
        if !is_free {
            self.paid_until = before;
        }
        is_free
    }

    /// How long until one can be taken.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let mut after = *self;
        after.take(1, now)
    }

    /// Takes so much time beside what is counted, but never so much that it must be waited for longer than `longest`.
    pub(crate) fn charge(&mut self, time: Duration, longest: Duration, now: Instant) {
        let before = self.paid_until.map_or(now, |until| until.max(now));
        let most = now + self.each * self.burst.saturating_sub(1) + longest;
        self.paid_until = Some((before + time).min(most.max(before)));
    }

    /// Whether all that was taken is paid for: it is as if nothing had been.
    pub(crate) fn is_paid(&self, now: Instant) -> bool {
        self.paid_until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_costs_nothing() {
        let mut pace = Pace::per_second(10, 3);
        let start = Instant::now();
        assert_eq!((0..100).filter(|_| pace.try_take(start)).count(), 3);
        assert!(pace.try_take(start + Duration::from_millis(100)));
    }

    #[test]
    fn what_is_charged_is_waited_for_and_not_for_ever() {
        let start = Instant::now();
        let mut pace = Pace::one_each(Duration::from_millis(10), 3);
        assert!(pace.is_paid(start));
        let longest = Duration::from_millis(500);
        pace.charge(Duration::from_millis(100), longest, start);
        assert_eq!(pace.wait(start), Duration::from_millis(80), "a burst is left");
        assert!(!pace.is_paid(start) && pace.is_paid(start + Duration::from_millis(100)));
        (0..100).for_each(|_| pace.charge(Duration::from_secs(1), longest, start));
        assert_eq!(pace.wait(start), longest);
    }

    #[test]
    fn a_burst_costs_nothing_and_what_follows_waits_for_its_turn() {
        let mut pace = Pace::per_second(10, 3);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let waits: Vec<_> = (0..5).map(|_| pace.take(1, start).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        assert_eq!(pace.take(1, at(300)), Duration::ZERO, "three are paid for by then");
        assert_eq!(pace.take(10, at(300)), Duration::from_secs(1));
        assert_eq!(pace.take(3, at(60_000)), Duration::ZERO, "after a silence");
        assert_eq!(pace.take(1, at(60_000)), Duration::from_millis(100), "which saves no more than a burst");
    }
}

//! Backoff: the growing pause of a rule that keeps faulting.

use std::time::Duration;

use crate::moment::Moment;

/// Faults without a pause.
const FREE_FAULTS: u32 = 3;
/// The pause after the first fault too many; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After this long without a fault the count starts over. It is longer than the longest pause, so that a rule that faults at once after each
/// pause stays at the longest.
const FORGIVEN_AFTER: Duration = Duration::from_secs(120);

/// How often one rule faulted lately, and until when it must not be called.
#[derive(Debug, Default)]
pub struct Backoff {
    faults: u32,
    last_fault: Moment,
    until: Moment,
}

impl Backoff {
    /// Whether the rule must not be called now.
    #[must_use]
    pub fn is_active(&self, now: Moment) -> bool {
        now < self.until
    }

    /// The rule faulted; the pause that follows, zero if none.
    pub fn fault(&mut self, now: Moment) -> Duration {
        if now.since(self.last_fault) >= FORGIVEN_AFTER {
            self.faults = 0;
        }
        self.faults = self.faults.saturating_add(1);
        self.last_fault = now;
        let pause = match self.faults.checked_sub(FREE_FAULTS + 1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(LONGEST_PAUSE),
        };
        self.until = now.plus(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn pauses_grow_to_a_minute_and_no_further() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..16).map(|_| backoff.fault(at(1)).as_millis()).collect();
        assert_eq!(
            pauses,
            [0, 0, 0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000, 60000]
        );
    }

    #[test]
    fn backs_off_for_the_pause_and_is_forgiven_after_two_quiet_minutes() {
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            backoff.fault(at(10));
        }
        assert!(backoff.is_active(at(69)));
        assert!(!backoff.is_active(at(70)));
        assert_eq!(backoff.fault(at(129)), Duration::from_secs(60));
        assert_eq!(backoff.fault(at(300)), Duration::ZERO);
    }
}

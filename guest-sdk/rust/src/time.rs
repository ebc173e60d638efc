//! Timestamp: the time of a packet, the only clock that a rule has. Nothing here reads a clock.

use std::ops::Add;
use std::time::Duration;

/// The largest number that every guest language holds exactly: 2^53 - 1.
const LAST: u64 = (1 << 53) - 1;

/// When a packet was captured: microseconds since 1970-01-01 00:00 UTC, without leap seconds.
///
/// It comes from the wall clock of the capturing machine, so a packet may carry an earlier time than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// So many microseconds since 1970-01-01 00:00 UTC; at most 2^53 - 1, later times become that one.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(if micros > LAST { LAST } else { micros })
    }

    /// Microseconds since 1970-01-01 00:00 UTC.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970-01-01 00:00 UTC, as time-based one-time passwords (RFC 6238) count them.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How much later this is than `earlier`; zero if it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates instead of wrapping.
impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(LAST);
        Self::from_micros(self.0.saturating_add(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_end_of_time_wraps() {
        let (early, late) = (Timestamp::from_micros(1_000_000), Timestamp::from_micros(u64::MAX));
        assert_eq!(late.since(early) + Duration::from_secs(1), Duration::from_micros(LAST));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late + Duration::MAX, late);
        assert_eq!((early + Duration::from_millis(1500)).as_micros(), 2_500_000);
    }
}

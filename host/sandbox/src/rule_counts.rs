//! RuleCounts: what a rule said and used, in all generations together, for whoever measures. Nothing is decided by it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Which verdict a rule gave on a knock, or that it gave none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictKind {
    /// To ignore it.
    Ignore,
    /// To remember the client, half way or at stage 0.
    Remember,
    /// To forget the client.
    Forget,
    /// To open doors.
    Open,
    /// To close doors.
    Close,
    /// It gave none: it failed.
    Fault,
}

impl VerdictKind {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Ignore, Self::Remember, Self::Forget, Self::Open, Self::Close, Self::Fault];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Remember => "remember",
            Self::Forget => "forget",
            Self::Open => "open",
            Self::Close => "close",
            Self::Fault => "fault",
        }
    }
}

/// How often a rule said what, and the CPU time that it took. Counting is an addition that orders nothing.
#[derive(Debug, Default)]
pub struct RuleCounts {
    verdicts: [AtomicU64; VerdictKind::ALL.len()],
    cpu_nanos: AtomicU64,
}

impl RuleCounts {
    pub(crate) fn count(&self, kind: VerdictKind) {
        self.verdicts[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn charge(&self, used: Duration) {
        self.cpu_nanos.fetch_add(u64::try_from(used.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How often it gave this verdict, since it was loaded first.
    #[must_use]
    pub fn verdicts(&self, kind: VerdictKind) -> u64 {
        self.verdicts[kind as usize].load(Ordering::Relaxed)
    }

    /// The CPU time of its calls, to some microseconds; zero if it may use all CPU time that there is: then it is not measured.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed))
    }
}

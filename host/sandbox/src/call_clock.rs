//! Call clock: the CPU time of the call under way, the host's work for it included.
//!
//! A tick says that time went by, but not which thread used it: on a busy machine it may have been another process. So the thread's own CPU
//! time is read, and only when a tick came since the last look: most calls are over before the first tick, and pay nothing.

use std::time::Duration;

use wasmtime::Trap;

use crate::runtime::Ticks;
use crate::thread_cpu_time::thread_cpu_time;

/// Measures one call after the other.
pub(crate) struct CallClock {
    ticks: Ticks,
    /// What the call may take.
    limit: Duration,
    /// How many ticks there had been at the last look.
    seen: u64,
    /// The thread's CPU time at the first look.
    began: Option<Duration>,
}

impl CallClock {
    pub(crate) const fn new(ticks: Ticks) -> Self {
        Self { ticks, limit: Duration::ZERO, seen: 0, began: None }
    }

    pub(crate) fn begin_call(&mut self, limit: Duration) {
        self.limit = limit;
        self.seen = self.ticks.count();
        self.began = None;
    }

    /// Measures from now on instead of from the first look: for a call in which the host works long before the guest does.
    pub(crate) fn measure(&mut self) {
        self.began = Some(thread_cpu_time());
    }

    /// Reads the CPU time if a tick came since the last look. Called where the host works for a guest, since the guest's own code does not
    /// check meanwhile.
    ///
    /// # Errors
    /// If the call is over its time.
    pub(crate) fn check(&mut self) -> Result<(), Trap> {
        let ticks = self.ticks.count();
        if ticks == self.seen {
            return Ok(());
        }
        self.seen = ticks;
        self.look()
    }

    /// Reads the CPU time, because a tick found the guest's code running.
    ///
    /// # Errors
    /// If the call is over its time.
    pub(crate) fn look(&mut self) -> Result<(), Trap> {
        let now = thread_cpu_time();
        let began = *self.began.get_or_insert(now);
        if now.saturating_sub(began) < self.limit { Ok(()) } else { Err(Trap::Interrupt) }
    }
}

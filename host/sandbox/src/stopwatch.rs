//! Stopwatch: the CPU time of calls of rules on one thread, for tenants' shares.
//!
//! To read the thread's CPU time takes a system call, as long as a quick call of a rule; the time of day takes a twentieth of that. So a call that is
//! over soon counts with the time that went by: nobody is descheduled for so short a time. For a longer one the thread's CPU time is read, so that
//! nobody is charged for what other threads did meanwhile. What the CPU time was when the call began is then known from a reading shortly
//! before, less what went by since then.
//!
//! The time of day is an [`Instant`], which the C library reads without a system call. Rustix does so too, but not where it was confined
//! before the first reading: it finds the way in a file, and may open none then.
//!
//! In a flood at one tenant each call begins where the one before has ended, so that the clock is read once for a packet: the little that is done
//! for the tenant's packet before its rule is called counts as well then.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::thread_cpu_time::thread_cpu_time;

/// What is shorter counts with the time that went by, and a reading of the CPU time is good for so long.
pub(crate) const SHORT: Duration = Duration::from_micros(100);

/// Measures one call after the other, on the thread that made it.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    known: Cell<Option<Reading>>,
    /// The place of the tenant whose call ended last, and when, if nothing was done for others since then.
    last: Cell<Option<(usize, Instant)>>,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    time: Instant,
    cpu: Duration,
}

/// When a call of a tenant's rule began.
#[derive(Debug)]
#[must_use]
pub(crate) struct Begun {
    tenant: usize,
    at: Instant,
    known: Reading,
}

impl Stopwatch {
    /// A call of this tenant's rule begins.
    pub(crate) fn begin(&self, tenant: usize) -> Begun {
        let at = match self.last.get() {
            Some((last, ended)) if last == tenant => ended,
            _ => now(),
        };
        let known = self.known.get().filter(|known| at.saturating_duration_since(known.time) <= SHORT);
        match known {
            Some(known) => Begun { tenant, at, known },
            None => {
                let known = self.read_both();
                Begun { tenant, at: known.time, known }
            }
        }
    }

    /// It is over: its CPU time, or a little more, never more than the time that went by.
    pub(crate) fn end(&self, Begun { tenant, at, known }: Begun) -> Duration {
        let mut over = now();
        let passed = over.saturating_duration_since(at);
        let used = if passed <= SHORT {
            passed
        } else {
            let before = at.saturating_duration_since(known.time);
            let reading = self.read_both();
            over = reading.time;
            reading.cpu.saturating_sub(known.cpu).saturating_sub(before).min(passed)
        };
        self.last.set(Some((tenant, over)));
        used
    }

    /// Something is done that is no tenant's, or not of the one whose call ended last.
    pub(crate) fn interrupt(&self) {
        self.last.set(None);
    }

    #[cold]
    fn read_both(&self) -> Reading {
        let cpu = thread_cpu_time();
        let reading = Reading { time: now(), cpu };
        self.known.set(Some(reading));
        reading
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "it measures what a call costs; no decision of a rule depends on it"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::thread;

    use super::*;

    /// Computes for so much CPU time of this thread.
    fn compute(time: Duration) {
        let end = thread_cpu_time() + time;
        while thread_cpu_time() < end {
            black_box(0);
        }
    }

    fn measured(stopwatch: &Stopwatch, act: impl FnOnce()) -> Duration {
        let begun = stopwatch.begin(0);
        act();
        stopwatch.end(begun)
    }

    #[test]
    fn sleep_is_not_charged_and_work_is_whatever_was_before() {
        let stopwatch = Stopwatch::default();
        let work = Duration::from_millis(3);
        for _ in 0..3 {
            // Also where the next call is said to follow the one before.
            thread::sleep(Duration::from_millis(5));
            let slept = measured(&stopwatch, || thread::sleep(Duration::from_millis(20)));
            assert!(slept < Duration::from_millis(1), "{slept:?}");
            compute(Duration::from_millis(2));
            stopwatch.interrupt();
            for _ in 0..10 {
                // Short ones between do not spoil it.
                let short = measured(&stopwatch, || ());
                assert!(short <= SHORT, "{short:?}");
                let worked = measured(&stopwatch, || compute(work));
                assert!(worked >= work - SHORT && worked < work * 2, "{worked:?}");
            }
        }
    }

    #[test]
    fn short_work_is_charged_as_it_comes() {
        let stopwatch = Stopwatch::default();
        let mut times: Vec<_> = (0..1001)
            .map(|_| {
                compute(Duration::from_micros(20));
                stopwatch.interrupt();
                measured(&stopwatch, || compute(Duration::from_micros(20)))
            })
            .collect();
        times.sort();
        assert!(times[500] >= Duration::from_micros(20) && times[500] < SHORT, "{:?}", times[500]);
    }

    #[test]
    fn what_is_between_counts_for_the_same_tenant_unless_it_was_something_else() {
        let stopwatch = Stopwatch::default();
        let between = Duration::from_micros(50);
        let mut least = [Duration::MAX; 3];
        for _ in 0..1000 {
            for (case, least) in least.iter_mut().enumerate() {
                let _ = measured(&stopwatch, || ());
                compute(between);
                if case == 1 {
                    stopwatch.interrupt();
                }
                let begun = stopwatch.begin(usize::from(case == 2));
                *least = (*least).min(stopwatch.end(begun));
            }
        }
        assert!(least[0] >= between && least[0] < 2 * between, "{least:?}");
        assert!(least[1] < between && least[2] < between, "{least:?}");
    }
}

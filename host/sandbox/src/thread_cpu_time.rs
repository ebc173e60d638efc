//! The clock of the CPU time of one thread.

use std::time::Duration;

use rustix::thread::ClockId;

/// The CPU time of the thread that asks, so far.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

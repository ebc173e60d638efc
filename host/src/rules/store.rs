//! Stores and their limits: the only place that makes one.

use std::time::Duration;

use rustix::thread::ClockId;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use super::contract::Guest;
use super::runtime::Runtime;

const MAX_MEMORIES: usize = 8;
const MAX_TABLES: usize = 16;
const MAX_INSTANCES: usize = 32;
const MAX_TABLE_ELEMENTS: usize = 65_536;
/// What one call may make the host copy out of the guest; a longest verdict needs a fraction of it.
const MAX_LIFTED: usize = 1 << 20;

/// What an instance of a rule may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of one call, 1 to 100 ms. A call is stopped at the second look that finds it over, so up to 2 ms later.
    pub cpu: Duration,
    /// Bytes of linear memory, all its memories together.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cpu: Duration::from_millis(2), memory: 16 << 20 }
    }
}

/// A store with memory, tables and time limited.
pub(super) fn new(runtime: &Runtime, guest: Guest) -> Store<Guest> {
    let mut store = Store::new(runtime.engine(), guest);
    store.limiter(|guest| &mut guest.allowance);
    store.set_hostcall_fuel(MAX_LIFTED);
    // A tick says that time went by, but not whose: on a busy machine it may all have been another process's.
    // So the rule's own CPU time is looked at, and only when a tick finds a rule running.
    store.epoch_deadline_callback(|mut context| {
        let guest = context.data_mut();
        let used = thread_cpu_time();
        match guest.call_began {
            None => guest.call_began = Some(used),
            Some(began) if used.saturating_sub(began) >= guest.limits.cpu => {
                return Ok(UpdateDeadline::Interrupt);
            }
            Some(_) => {}
        }
        Ok(UpdateDeadline::Continue(1))
    });
    store
}

/// Gives the next call its full time.
pub(super) fn rearm(store: &mut Store<Guest>) {
    store.data_mut().call_began = None;
    store.set_epoch_deadline(1);
}

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// What is left of an instance's memory and tables.
pub(super) struct Allowance {
    memory: usize,
    used: usize,
}

impl Allowance {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { memory: limits.memory, used: 0 }
    }
}

impl ResourceLimiter for Allowance {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.used.saturating_add(desired.saturating_sub(current));
        if total > self.memory {
            // A trap with these words is of more use to a rule's author than a failed allocation within the guest.
            return Err(wasmtime::format_err!(
                "it needs {total} bytes of memory; limits.memory of its rule allows {}",
                self.memory
            ));
        }
        self.used = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

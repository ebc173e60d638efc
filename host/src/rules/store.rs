//! Stores and their limits: the only place that makes one.

use std::time::Duration;

use rustix::thread::ClockId;
use wasmtime::{Store, UpdateDeadline};

use super::contract::Guest;
use super::runtime::Runtime;

/// What one call may make the host copy out of the guest; a longest verdict needs a fraction of it.
pub(super) const MAX_LIFTED: usize = 1 << 20;

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

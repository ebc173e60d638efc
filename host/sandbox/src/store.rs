//! Stores and their limits: the only place that makes one.

use std::time::Duration;

use postern_text::size;
use wasmtime::{Store, UpdateDeadline};

use crate::guest::Guest;
use crate::limits::MAX_LIFTED;
use crate::runtime::Runtime;

/// A store with memory, tables and time limited.
pub(crate) fn new(runtime: &Runtime, guest: Guest) -> Store<Guest> {
    let mut store = Store::new(runtime.engine(), guest);
    store.limiter(|guest| &mut guest.allowance);
    store.set_hostcall_fuel(MAX_LIFTED);
    store.epoch_deadline_callback(|mut context| {
        Ok(match context.data_mut().clock.look() {
            Ok(()) => UpdateDeadline::Continue(1),
            Err(_) => UpdateDeadline::Interrupt,
        })
    });
    store
}

/// Calls a guest with a budget of CPU time, which the host's work for the guest uses up as well.
pub(crate) fn call<T>(
    store: &mut Store<Guest>,
    cpu: Duration,
    call: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<T>,
) -> wasmtime::Result<T> {
    store.data_mut().begin_call(cpu);
    store.set_epoch_deadline(1);
    let answer = call(store)?;
    store.data_mut().clock.check()?;
    Ok(answer)
}

/// As [`call`] for a start, which is mostly the host's work: it makes what the module describes.
pub(crate) fn start<T>(
    store: &mut Store<Guest>,
    cpu: Duration,
    start: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<T>,
) -> wasmtime::Result<T> {
    call(store, cpu, |store| {
        store.data_mut().clock.measure();
        start(store)
    })
}

/// The message of the fault when an answer is too long.
pub(crate) fn too_long_answer() -> wasmtime::Error {
    wasmtime::format_err!(
        "its answer has more than {}; the contract says how much each part may have",
        size::show(MAX_LIFTED as u64)
    )
}

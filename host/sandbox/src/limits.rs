//! Limits: what an instance of a rule may use, in the terms of its store.

use std::time::Duration;

use postern_core::RuleLimits;
use wasmtime::ResourceLimiter;

/// Bytes that the host takes from a guest at once, a line for the log or an answer: more is refused before it is read.
/// The longest answer that the contract allows needs a fraction of it.
pub(crate) const MAX_LIFTED: usize = 64 << 10;

const MAX_MEMORIES: usize = 8;
const MAX_TABLES: usize = 16;
/// Modules linked to one rule. One of Python comes in some 40; of such small ones each costs 200 bytes and some microseconds at a start,
/// with 200 functions 4 KiB and 15.
const MAX_INSTANCES: usize = 64;
const MAX_TABLE_ELEMENTS: usize = 65_536;

/// What is left of an instance's memory and tables.
pub(crate) struct Allowance {
    memory: usize,
    used: usize,
}

impl Allowance {
    pub(crate) const fn new(limits: RuleLimits) -> Self {
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
            // A trap with this message helps a rule's author more than a failed allocation within the guest.
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

/// CPU time of a start and of `configure`, which happen once: ten times that of a call, at most 100 ms. A runtime with an
/// interpreter needs it: one of Python takes 1.5 ms to start and 1 to configure, where a call takes it 30 us.
pub(crate) fn cpu_of_start(limits: RuleLimits) -> Duration {
    const MOST: Duration = Duration::from_millis(100);
    (limits.cpu * 10).min(MOST)
}

//! Limits: what an instance of a rule may use, in the terms of its store.

use std::time::Duration;

use postern_core::RuleLimits;
use postern_text::size;
use wasmtime::ResourceLimiter;

/// Bytes that the host takes from a guest at once, a line for the log or an answer: more is refused before it is read.
/// The longest answer that the contract allows needs a fraction of it.
pub(crate) const MAX_LIFTED: usize = 64 << 10;

const MAX_MEMORIES: usize = 8;
const MAX_TABLES: usize = 16;
/// Modules linked to one rule. One of Python comes in some 40; of such small ones each costs 200 bytes and some microseconds at a start,
/// with 200 functions 4 KiB and 15.
const MAX_INSTANCES: usize = 64;
/// What an element of a table takes, of whichever kind, in bytes.
const TABLE_ELEMENT: usize = 8;

/// What is left of what an instance may have of memory and tables: one budget for all of them.
pub(crate) struct Allowance {
    limit: usize,
    used: usize,
}

impl Allowance {
    pub(crate) const fn new(limits: RuleLimits) -> Self {
        Self { limit: limits.memory, used: 0 }
    }

    /// What is taken, in bytes.
    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    /// Takes so much more, in units of so many bytes, unless its own maximum lies below: that is no fault, and what does not grow uses nothing.
    ///
    /// # Errors
    /// If that is more than there is. A trap with this message helps a rule's author more than a failed allocation within the guest.
    fn grow(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
        unit: usize,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let more = desired.saturating_sub(current).saturating_mul(unit);
        let total = self.used.saturating_add(more);
        if total > self.limit {
            return Err(wasmtime::format_err!(
                "it needs {} of memory and tables, at {TABLE_ELEMENT} bytes an element; limits.memory of its rule allows {}",
                size::show(total as u64),
                size::show(self.limit as u64)
            ));
        }
        self.used = total;
        Ok(true)
    }
}

impl ResourceLimiter for Allowance {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.grow(current, desired, maximum, 1)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.grow(current, desired, maximum, TABLE_ELEMENT)
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

//! Guest: the data of a store: what its guest may use, and what is left of that in the call under way.

use std::sync::Arc;
use std::time::Duration;

use postern_core::{Observer, RuleId, RuleLimits};

use crate::call_clock::CallClock;
use crate::guest_log::GuestLog;
use crate::limits::Allowance;
use crate::runtime::Runtime;

/// The data of a store.
pub(crate) struct Guest {
    pub(crate) allowance: Allowance,
    pub(crate) clock: CallClock,
    pub(crate) log: GuestLog,
}

impl Guest {
    pub(crate) fn new(
        runtime: &Runtime,
        rule: RuleId,
        limits: RuleLimits,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            allowance: Allowance::new(limits),
            clock: CallClock::new(runtime.ticks()),
            log: GuestLog::new(rule, observer),
        }
    }

    /// Gives the next call so much CPU time, and its full log.
    pub(crate) fn begin_call(&mut self, cpu: Duration) {
        self.clock.begin_call(cpu);
        self.log.begin_call();
    }
}

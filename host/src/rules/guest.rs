//! Guest: what a store holds for its guest: what it may use, and what it has left of it in the call under way.

use std::time::Duration;

use postern_core::{RuleId, RuleLimits};

use super::call_clock::CallClock;
use super::guest_log::{GuestLog, LogLimit};
use super::limits::Allowance;
use super::runtime::Runtime;

/// What a store holds for its guest.
pub(super) struct Guest {
    pub(super) allowance: Allowance,
    pub(super) clock: CallClock,
    pub(super) log: GuestLog,
}

impl Guest {
    pub(super) fn new(runtime: &Runtime, rule: RuleId, limits: RuleLimits, log_limit: LogLimit) -> Self {
        Self {
            allowance: Allowance::new(limits),
            clock: CallClock::new(runtime.ticks()),
            log: GuestLog::new(rule, log_limit),
        }
    }

    /// Gives the next call so much CPU time, and its full log.
    pub(super) fn begin_call(&mut self, cpu: Duration) {
        self.clock.begin_call(cpu);
        self.log.begin_call();
    }
}

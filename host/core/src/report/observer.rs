//! Observer: receives reports.

use super::Report;
use crate::drop_reason::DropReason;
use crate::knock::Knock;
use crate::tenant::{RuleId, TenantId};

/// What became of a packet at a rule that asked for it, where there is no [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The rule ignored it.
    Ignored,
    /// The rule remembers something of its source, at stage 0.
    Remembered,
    /// The rule was not asked, or its progress was not kept.
    Dropped(DropReason),
}

/// Receives reports, on the thread that makes them and perhaps while that thread holds a lock: it must return soon, must not call back, and may
/// be called by several threads at once.
pub trait Observer: Send + Sync {
    /// Something happened. What comes to nothing by it ([`Report::drop_reason`]) needs no [`Observer::count_drops`].
    fn report(&self, report: &Report<'_>);

    /// So many packets, verdicts or remembered clients of a tenant, or of none yet, came to nothing. A flood is nothing but this, so no
    /// [`Report`] is made of it.
    fn count_drops(&self, tenant: Option<&TenantId>, reason: DropReason, count: u64);

    /// A rule judged a packet, or should have, and nothing else is told of that. Only who replays a capture or follows one source wants to know:
    /// in the daemon a flood is nothing but this.
    fn silent(&self, _rule: &RuleId, _knock: &Knock, _silence: Silence) {}

    /// A packet is about to be judged: what is told next on this thread is about it.
    fn arrived(&self, _knock: &Knock) {}

    /// No rule judged a packet. It is counted all the same.
    fn passed_over(&self, _knock: &Knock, _reason: DropReason) {}

    /// From now on all rules of a tenant together may write so many lines a second, at least 1.
    fn limit_lines(&self, _tenant: &TenantId, _lines: u32) {}
}

/// Ignores all reports.
impl Observer for () {
    fn report(&self, _: &Report<'_>) {}

    fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
}

//! Observer: who hears what happened.

use super::Report;
use crate::drop_reason::DropReason;
use crate::tenant::TenantId;

/// Hears what happens, on the thread on which it happens and perhaps while that holds a lock: it must return soon, must not call back, and
/// must be right when called by several threads at once.
pub trait Observer: Send + Sync {
    /// Something happened. What comes to nothing by it ([`Report::drop_reason`]) needs no [`Observer::count_drops`].
    fn report(&self, report: &Report<'_>);

    /// So many packets, verdicts or remembered clients of a tenant, or of none yet, came to nothing. A flood is nothing but this, so no
    /// [`Report`] is made of it.
    fn count_drops(&self, tenant: Option<&TenantId>, reason: DropReason, count: u64);
}

/// Nobody hears.
impl Observer for () {
    fn report(&self, _: &Report<'_>) {}

    fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
}

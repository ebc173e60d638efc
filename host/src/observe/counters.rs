//! Counters: drops by reason, for each tenant.

use std::sync::atomic::{AtomicU64, Ordering};

use postern_core::{DropReason, TenantId};

use super::per_tenant::PerTenant;

/// Counts by name.
pub(super) type NamedCounts = Vec<(&'static str, u64)>;

const REASONS: usize = DropReason::ALL.len();

/// Counts by reason, for the machine and for each tenant.
#[derive(Debug, Default)]
pub struct Counters(PerTenant<Counts>);

#[derive(Debug)]
struct Counts([AtomicU64; REASONS]);

impl Default for Counts {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; REASONS])
    }
}

impl Counts {
    /// A role may tell of any number: the count stays at the largest.
    fn add(&self, reason: DropReason, more: u64) {
        let before = self.0[reason as usize].fetch_add(more, Ordering::Relaxed);
        if before.checked_add(more).is_none() {
            self.0[reason as usize].store(u64::MAX, Ordering::Relaxed);
        }
    }

    fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(super) fn count(&self, tenant: Option<&TenantId>, reason: DropReason, count: u64) {
        self.0.with(tenant, |counts| counts.add(reason, count));
    }

    /// Drops so far for this reason, of all tenants and of the machine.
    pub(crate) fn total(&self, reason: DropReason) -> u64 {
        self.0.fold(0, |sum, counts| counts.of(reason).saturating_add(sum))
    }

    /// Drops so far, by name, without reasons that never occurred.
    pub(super) fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        named(|reason| self.total(reason))
    }

    /// Every count that is not zero, by whose it is; those of tenants beyond the ones that are kept are the machine's.
    pub(crate) fn all(&self) -> Vec<(Option<TenantId>, DropReason, u64)> {
        let tenants = self.0.tenants();
        let mut all = Vec::new();
        for reason in DropReason::ALL {
            let mut rest = self.total(reason);
            for (tenant, counts) in tenants.iter() {
                let count = counts.of(reason);
                rest = rest.saturating_sub(count);
                all.extend((count > 0).then(|| (Some(tenant.clone()), reason, count)));
            }
            all.extend((rest > 0).then_some((None, reason, rest)));
        }
        all
    }

    /// The same for each tenant, without tenants that had none. Those of the machine and of more tenants than are kept are not here.
    pub(super) fn by_tenant(&self) -> Vec<(TenantId, NamedCounts)> {
        let tenants = self.0.tenants();
        let counts =
            tenants.iter().map(|(id, counts)| (id.clone(), named(|reason| counts.of(reason)).collect()));
        counts.filter(|(_, counts): &(_, NamedCounts)| !counts.is_empty()).collect()
    }
}

/// The counts by name, without those that are zero.
fn named(count: impl Fn(DropReason) -> u64) -> impl Iterator<Item = (&'static str, u64)> {
    let all = DropReason::ALL.iter().map(move |reason| (reason.name(), count(*reason)));
    all.filter(|(_, count)| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::tests::tenant;

    #[test]
    fn each_tenant_is_counted_by_itself_and_all_are_counted_together() {
        let counters = Counters::default();
        let (a, b) = (tenant("a"), tenant("b"));
        counters.count(None, DropReason::NotIp, 2);
        counters.count(Some(&a), DropReason::BackingOff, 3);
        counters.count(Some(&b), DropReason::BackingOff, 4);
        counters.count(Some(&a), DropReason::BackingOff, 5);
        let of_tenants = [(a, vec![("backing-off", 8)]), (b, vec![("backing-off", 4)])];
        assert_eq!(counters.by_tenant(), of_tenants);
        assert_eq!(counters.totals().collect::<Vec<_>>(), [("not-ip", 2), ("backing-off", 12)]);
    }

    #[test]
    fn more_tenants_than_are_kept_lose_no_count() {
        let counters = Counters::default();
        for n in 0..1100 {
            counters.count(Some(&tenant(&n.to_string())), DropReason::Evicted, 1);
        }
        assert_eq!(counters.total(DropReason::Evicted), 1100);
    }
}

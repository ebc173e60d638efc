//! PerTenant: a value for each tenant, so that none uses up another's.

use std::sync::Arc;

use arc_swap::ArcSwap;
use postern_core::TenantId;

/// Tenants that have something of their own; any more share one, so that what is kept is bounded however many come and go.
const MOST: usize = 1024;

/// One for the machine, and one for each tenant from the first time that it is asked for.
#[derive(Debug, Default)]
pub(super) struct PerTenant<T> {
    machine: T,
    /// In the order of the tenants. A flood looks here for each of its packets, and most machines have one tenant or few.
    tenants: ArcSwap<Vec<(TenantId, Arc<T>)>>,
    others: T,
}

impl<T: Default> PerTenant<T> {
    /// Has something done with a tenant's, or the machine's if there is none.
    pub(super) fn with<R>(&self, tenant: Option<&TenantId>, act: impl FnOnce(&T) -> R) -> R {
        let Some(tenant) = tenant else { return act(&self.machine) };
        let tenants = self.tenants.load();
        if let Some(own) = find(&tenants, tenant) {
            return act(own);
        }
        match self.add(tenant) {
            Some(own) => act(&own),
            None => act(&self.others),
        }
    }

    /// Folds over all that there are.
    pub(super) fn fold<R>(&self, begin: R, mut act: impl FnMut(R, &T) -> R) -> R {
        let sum = act(begin, &self.machine);
        let sum = act(sum, &self.others);
        self.tenants.load().iter().fold(sum, |sum, (_, own)| act(sum, own))
    }

    /// Those that have something of their own, in their order.
    pub(super) fn tenants(&self) -> Arc<Vec<(TenantId, Arc<T>)>> {
        self.tenants.load_full()
    }

    fn add(&self, tenant: &TenantId) -> Option<Arc<T>> {
        let own = Arc::new(T::default());
        self.tenants.rcu(|tenants| {
            let mut tenants = Vec::clone(tenants);
            if tenants.len() < MOST
                && let Err(place) = tenants.binary_search_by_key(&tenant, |(known, _)| known)
            {
                tenants.insert(place, (tenant.clone(), Arc::clone(&own)));
            }
            tenants
        });
        // Another thread may have been first.
        find(&self.tenants.load(), tenant).cloned()
    }
}

fn find<'a, T>(tenants: &'a [(TenantId, Arc<T>)], tenant: &TenantId) -> Option<&'a Arc<T>> {
    let place = tenants.binary_search_by_key(&tenant, |(known, _)| known).ok()?;
    Some(&tenants[place].1)
}

//! TenantCounts: how many of something each tenant has. The host's own are not counted: nothing bounds them but what bounds all.

use std::collections::HashMap;

use crate::tenant::{RuleId, TenantId};

/// How many of something each tenant has; those that have none are not in it.
#[derive(Debug, Default)]
pub(crate) struct TenantCounts(HashMap<TenantId, usize>);

impl TenantCounts {
    /// One more, of this rule's tenant.
    pub(crate) fn add(&mut self, rule: Option<&RuleId>) {
        if let Some(tenant) = counted(rule) {
            *self.0.entry(tenant.clone()).or_default() += 1;
        }
    }

    /// One that was added is gone.
    pub(crate) fn remove(&mut self, rule: Option<&RuleId>) {
        let Some(tenant) = counted(rule) else { return };
        if let Some(count) = self.0.get_mut(tenant) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(tenant);
            }
        }
    }

    /// How many a tenant has; 0 for the host.
    pub(crate) fn of(&self, tenant: &TenantId) -> usize {
        self.0.get(tenant).copied().unwrap_or(0)
    }
}

fn counted(rule: Option<&RuleId>) -> Option<&TenantId> {
    rule.map(|rule| &rule.tenant).filter(|tenant| !tenant.is_host())
}

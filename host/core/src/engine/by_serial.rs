//! BySerial: what waits for an answer, by the number of what was asked and so in the order in which it was, with a count for each tenant.

use std::collections::BTreeMap;

use crate::tenant::{RuleId, TenantId};
use crate::tenant_counts::TenantCounts;

/// What waits because of a rule.
pub(super) trait BecauseOfRule {
    /// The rule; none if there was none. It stays the same for as long as this waits.
    fn rule(&self) -> Option<&RuleId>;
}

/// All that waits for one kind of answer.
#[derive(Debug)]
pub(super) struct BySerial<T> {
    waiting: BTreeMap<u64, T>,
    per_tenant: TenantCounts,
}

impl<T> Default for BySerial<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), per_tenant: TenantCounts::default() }
    }
}

impl<T: BecauseOfRule> BySerial<T> {
    pub(super) fn insert(&mut self, serial: u64, waiting: T) {
        self.per_tenant.add(waiting.rule());
        self.waiting.insert(serial, waiting);
    }

    pub(super) fn remove(&mut self, serial: u64) -> Option<T> {
        let waiting = self.waiting.remove(&serial)?;
        self.per_tenant.remove(waiting.rule());
        Some(waiting)
    }

    /// Takes out all that waits, in order.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(self).waiting.into_values()
    }

    pub(super) fn get(&self, serial: u64) -> Option<&T> {
        self.waiting.get(&serial)
    }

    pub(super) fn get_mut(&mut self, serial: u64) -> Option<&mut T> {
        self.waiting.get_mut(&serial)
    }

    /// What waits longest.
    pub(super) fn first(&self) -> Option<(u64, &T)> {
        self.waiting.first_key_value().map(|(serial, first)| (*serial, first))
    }

    /// What waits, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.waiting.iter().map(|(serial, waiting)| (*serial, waiting))
    }

    /// What waits, in order. What each is because of must not change.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.waiting.values_mut()
    }

    /// How many are of a tenant's rules; 0 for the host.
    pub(super) fn of_tenant(&self, tenant: &TenantId) -> usize {
        self.per_tenant.of(tenant)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Of(Option<RuleId>);

    impl BecauseOfRule for Of {
        fn rule(&self) -> Option<&RuleId> {
            self.0.as_ref()
        }
    }

    fn of(tenant: &str) -> Of {
        Of(Some(RuleId { tenant: TenantId::new(tenant), name: "x".into() }))
    }

    #[test]
    fn each_tenant_is_counted_whatever_comes_and_goes() {
        let mut waiting = BySerial::default();
        let counts = |waiting: &BySerial<Of>| {
            ["a", "b", TenantId::HOST].map(|tenant| waiting.of_tenant(&TenantId::new(tenant)))
        };
        for (serial, of) in (1..).zip([of("b"), of("a"), of("b"), of(TenantId::HOST), Of(None)]) {
            waiting.insert(serial, of);
        }
        assert_eq!((counts(&waiting), waiting.len()), ([1, 2, 0], 5));
        assert!(waiting.remove(3).is_some() && waiting.remove(3).is_none());
        assert_eq!(waiting.first().map(|(serial, _)| serial), Some(1));
        assert_eq!(waiting.iter().map(|(serial, _)| serial).collect::<Vec<_>>(), [1, 2, 4, 5]);
        assert_eq!((counts(&waiting), waiting.len()), ([1, 1, 0], 4));
        assert_eq!(waiting.take_all().count(), 4);
        assert_eq!((counts(&waiting), waiting.is_empty()), ([0, 0, 0], true));
    }
}

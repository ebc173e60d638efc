//! TenantOpenings: which openings each owner of rules has a part of, so that to list one's own takes as long as there are of them.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use crate::door::OpeningKey;
use crate::opening::OpeningPart;
use crate::tenant::TenantId;

/// The openings of each owner, the host among them; those that have none are not in it. It is as large as there are parts: a tenant has as
/// many as its limits say, and the host one of each opening.
#[derive(Debug, Default)]
pub(crate) struct TenantOpenings {
    keys: HashMap<TenantId, BTreeSet<OpeningKey>>,
    /// Parts of openings, those that are nobody's among them.
    parts: usize,
}

impl TenantOpenings {
    /// This opening has these parts.
    pub(crate) fn add(&mut self, key: OpeningKey, parts: &[OpeningPart]) {
        self.parts += parts.len();
        for tenant in parts.iter().filter_map(OpeningPart::tenant) {
            match self.keys.get_mut(tenant) {
                Some(keys) => drop(keys.insert(key)),
                None => drop(self.keys.insert(tenant.clone(), BTreeSet::from([key]))),
            }
        }
    }

    /// This opening had these parts, and has none.
    pub(crate) fn remove(&mut self, key: OpeningKey, parts: &[OpeningPart]) {
        self.parts -= parts.len();
        for tenant in parts.iter().filter_map(OpeningPart::tenant) {
            let Some(keys) = self.keys.get_mut(tenant) else { continue };
            keys.remove(&key);
            if keys.is_empty() {
                self.keys.remove(tenant);
            }
        }
    }

    /// How many openings this owner has a part of.
    pub(crate) fn count(&self, tenant: &TenantId) -> usize {
        self.keys.get(tenant).map_or(0, BTreeSet::len)
    }

    /// How many parts all openings have.
    pub(crate) const fn parts(&self) -> usize {
        self.parts
    }

    /// This owner's openings whose keys come after this one, in their order; from the first on if there is none.
    pub(crate) fn after(
        &self,
        tenant: &TenantId,
        key: Option<OpeningKey>,
    ) -> impl Iterator<Item = OpeningKey> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.keys.get(tenant).into_iter();
        keys.flat_map(move |keys| keys.range((from, Bound::Unbounded)).copied())
    }
}

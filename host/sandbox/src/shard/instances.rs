//! Instances: which rules of a shard have one, and whose must go when there are too many.
//!
//! An instance that goes costs its rule the time to start it again and nothing else. It is the oldest of its tenant: of the tenant that has
//! too many, or, when there are too many in all, of the one that has most.

use std::collections::VecDeque;

/// Bytes that the instances of a tenant may have by their limits, all shards together, unless it is the host. It is twice what 32
/// rules may have by default, so that two workers have all of them.
const MOST_BYTES: usize = 1 << 30;
/// Instances at once, all shards together. Each takes 4 mappings of the 65,530 that Linux gives a process by default
/// (`vm.max_map_count`), and where those end nothing can be loaded or reloaded any more: a quarter is left for that.
const MOST: usize = 12_288;

/// The rules that have an instance.
#[derive(Debug)]
pub(super) struct Instances {
    /// By the places of tenants in the generation.
    tenants: Vec<OfTenant>,
    count: usize,
    /// The bounds of this shard.
    most: usize,
    most_bytes: usize,
}

/// Those of one tenant, in the order in which they got it, with the bytes that it may have.
#[derive(Debug, Default)]
struct OfTenant {
    is_bounded: bool,
    started: VecDeque<(usize, usize)>,
    bytes: usize,
}

impl Instances {
    /// None yet, in one of `shards`. The tenants are bounded or not.
    pub(super) fn new(shards: usize, tenants: impl Iterator<Item = bool>) -> Self {
        let tenants = tenants.map(|is_bounded| OfTenant { is_bounded, ..OfTenant::default() }).collect();
        Self { tenants, count: 0, most: MOST / shards, most_bytes: MOST_BYTES / shards }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// A rule has got one, which may have so many bytes.
    pub(super) fn add(&mut self, tenant: usize, rule: usize, bytes: usize) {
        let own = &mut self.tenants[tenant];
        own.started.push_back((rule, bytes));
        own.bytes += bytes;
        self.count += 1;
    }

    /// A rule has lost the one that it had.
    pub(super) fn remove(&mut self, tenant: usize, rule: usize) {
        let own = &mut self.tenants[tenant];
        if let Some(at) = own.started.iter().position(|(other, _)| *other == rule)
            && let Some((_, bytes)) = own.started.remove(at)
        {
            own.bytes -= bytes;
            self.count -= 1;
        }
    }

    /// Takes out a rule whose instance must go, because one was added for this tenant; to be asked until there is none.
    pub(super) fn next_to_go(&mut self, tenant: usize) -> Option<usize> {
        let own = &self.tenants[tenant];
        let of = if own.is_bounded && own.bytes > self.most_bytes && own.started.len() > 1 {
            tenant
        } else if self.count > self.most {
            // As seldom as an instance is started, which takes longer.
            let most = self.tenants.iter().enumerate().max_by_key(|(_, tenant)| tenant.started.len());
            most.map_or(tenant, |(place, _)| place)
        } else {
            return None;
        };
        let own = &mut self.tenants[of];
        let (rule, bytes) = own.started.pop_front()?;
        own.bytes -= bytes;
        self.count -= 1;
        Some(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const NONE: [usize; 0] = [];

    fn gone(instances: &mut Instances, tenant: usize, rule: usize, bytes: usize) -> Vec<usize> {
        instances.add(tenant, rule, bytes);
        std::iter::from_fn(|| instances.next_to_go(tenant)).collect()
    }

    #[test]
    fn a_tenant_that_has_too_many_loses_its_own_oldest() {
        let mut instances = Instances::new(4, [false, true, true].into_iter());
        for rule in 0..16 {
            assert_eq!(gone(&mut instances, 1, rule, 16 * MIB), NONE);
            assert_eq!(gone(&mut instances, 0, 100 + rule, 256 * MIB), NONE);
        }
        assert_eq!(gone(&mut instances, 1, 16, 16 * MIB), [0]);
        assert_eq!(gone(&mut instances, 2, 50, 256 * MIB), NONE);
        instances.remove(1, 1);
        assert_eq!(gone(&mut instances, 1, 17, 16 * MIB), NONE);
        assert_eq!(gone(&mut instances, 1, 18, 64 * MIB), [2, 3, 4, 5]);
        // One that is larger than all is left alone with itself.
        assert_eq!(gone(&mut instances, 2, 51, 512 * MIB), [50]);
        assert_eq!(instances.count(), 16 + 12 + 1 + 1);
    }

    #[test]
    fn when_there_are_too_many_in_all_who_has_most_loses_the_oldest() {
        let mut instances = Instances::new(1, [false, true, true].into_iter());
        (0..20).for_each(|rule| assert_eq!(gone(&mut instances, 1, rule, MIB), NONE));
        (100..MOST + 80).for_each(|rule| assert_eq!(gone(&mut instances, 0, rule, MIB), NONE));
        assert_eq!(gone(&mut instances, 2, 50, MIB), [100]);
        assert_eq!(gone(&mut instances, 0, 99, MIB), [101]);
        assert_eq!(instances.count(), MOST);
    }
}

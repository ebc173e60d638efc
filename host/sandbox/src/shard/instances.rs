//! Instances: which rules of a shard have one, and whose must go when there are too many.
//!
//! What a tenant's instances take is bounded by what the configuration gives the tenant: so many rules, and so much for an instance of each. But all
//! have their number together. An instance that goes costs its rule the time to start it again and nothing else. It is the oldest of the tenant
//! that has most.

use std::collections::VecDeque;

/// Instances at once, all shards together. Each takes 4 mappings of the 65,530 that Linux gives a process by default
/// (`vm.max_map_count`), and where those end nothing can be loaded or reloaded any more: a quarter is left for that.
const MOST: usize = 12_288;

/// The rules that have an instance.
#[derive(Debug)]
pub(super) struct Instances {
    /// By the places of tenants in the generation, in the order in which they got it.
    started: Vec<VecDeque<usize>>,
    count: usize,
    /// The bound of this shard.
    most: usize,
}

impl Instances {
    /// None yet of so many tenants, in one of `shards`.
    pub(super) fn new(shards: usize, tenants: usize) -> Self {
        Self { started: vec![VecDeque::new(); tenants], count: 0, most: MOST / shards }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// A rule has got one. If that is one too many, the rule whose instance must go.
    pub(super) fn add(&mut self, tenant: usize, rule: usize) -> Option<usize> {
        self.started[tenant].push_back(rule);
        self.count += 1;
        if self.count <= self.most {
            return None;
        }
        // As seldom as an instance is started, which takes longer.
        let most = self.started.iter_mut().max_by_key(|started| started.len())?;
        self.count -= 1;
        most.pop_front()
    }

    /// A rule has lost the one that it had.
    pub(super) fn remove(&mut self, tenant: usize, rule: usize) {
        let started = &mut self.started[tenant];
        if let Some(at) = started.iter().position(|other| *other == rule) {
            started.remove(at);
            self.count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_there_are_too_many_who_has_most_loses_the_oldest() {
        let mut instances = Instances::new(1, 3);
        assert!((0..20).all(|rule| instances.add(1, rule).is_none()));
        assert!((100..MOST + 80).all(|rule| instances.add(0, rule).is_none()));
        assert_eq!(instances.add(2, 50), Some(100));
        assert_eq!(instances.add(0, 99), Some(101));
        assert_eq!(instances.count(), MOST);
        instances.remove(1, 7);
        instances.remove(1, 7);
        assert_eq!(instances.count(), MOST - 1);
        assert_eq!(instances.add(1, 7), None);
        assert_eq!(instances.add(1, 30), Some(102));
    }

    #[test]
    fn each_shard_has_its_part() {
        let mut instances = Instances::new(4, 1);
        assert!((0..MOST / 4).all(|rule| instances.add(0, rule).is_none()));
        assert_eq!(instances.add(0, MOST), Some(0));
    }
}

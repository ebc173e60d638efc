//! Trying: in which order the rules of several owners are tried, and for how long, so that no tenant's keep the others' waiting.
//!
//! A rule is tried by starting it with its settings, which takes as long as its module likes, up to a limit. So tenants take turns by what they
//! have used, and each has a budget: whoever has used it up goes on in the next load, and what was tried by then is not tried again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use postern_core::{RuleId, TenantId};

use crate::loaded_rule::ReadyRule;

/// CPU time for the rules of one tenant in one load, and of all tenants together. Each may be exceeded by the start of one rule. Some 5,000
/// rules of the stock module or 80 of a module of Python are tried in the time of one tenant.
const OF_TENANT: Duration = Duration::from_millis(200);
const OF_ALL: Duration = Duration::from_millis(800);
/// Who has used less than so much more than another comes no later for it: some rules that start quickly are tried one after the other.
const STEP: Duration = Duration::from_millis(20);

/// How long rules are tried in one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until all are tried.
    Endless,
    /// Until all of the host's are tried, and those of tenants as far as the budgets of tenants go.
    OfReload,
}

impl Patience {
    /// CPU time that trying the rules of one tenant may take in one load; none if there is no bound.
    #[must_use]
    pub const fn of_tenant(self) -> Option<Duration> {
        match self {
            Self::Endless => None,
            Self::OfReload => Some(OF_TENANT),
        }
    }
}

/// What one load leaves for the next.
#[derive(Default)]
pub(crate) struct TriedBefore {
    /// Rules that are good, of tenants that did not get all of theirs.
    pub(crate) rules: HashMap<RuleId, ReadyRule>,
    /// CPU time that tenants have used, half as much of each load as of the next.
    used: HashMap<TenantId, Duration>,
}

/// The rules that are to be tried.
pub(crate) struct Turns<'a> {
    host: Vec<usize>,
    /// By the owner's place in `owners`.
    places: HashMap<&'a TenantId, usize>,
    owners: Vec<Owner<'a>>,
}

struct Owner<'a> {
    id: &'a TenantId,
    /// By their places, in their order.
    waiting: VecDeque<usize>,
    /// In the loads before.
    used_before: Duration,
    used: Duration,
}

impl Owner<'_> {
    /// Whoever has less comes first: who has used less, and of those who have used about as much whoever waits for fewer rules.
    fn rank(&self) -> (u128, usize) {
        ((self.used_before + self.used).as_nanos() / STEP.as_nanos(), self.waiting.len())
    }
}

impl<'a> Turns<'a> {
    pub(crate) fn new() -> Self {
        Self { host: Vec::new(), places: HashMap::new(), owners: Vec::new() }
    }

    /// The rule of `owner` with this place is to be tried.
    pub(crate) fn add(&mut self, owner: &'a TenantId, rule: usize) {
        if owner.is_host() {
            return self.host.push(rule);
        }
        let place = *self.places.entry(owner).or_insert(self.owners.len());
        if place == self.owners.len() {
            self.owners.push(Owner {
                id: owner,
                waiting: VecDeque::new(),
                used_before: Duration::ZERO,
                used: Duration::ZERO,
            });
        }
        self.owners[place].waiting.push_back(rule);
    }

    /// Tries them with `attempt`, whose CPU time is measured with `cpu_time`: all of the host's, and then always one of the tenant that has used
    /// least, now and in the loads before. The places of those that were not tried, in their order.
    pub(crate) fn take(
        self,
        patience: Patience,
        before: &mut TriedBefore,
        cpu_time: impl Fn() -> Duration,
        mut attempt: impl FnMut(usize),
    ) -> Vec<usize> {
        self.host.into_iter().for_each(&mut attempt);
        let (of_tenant, of_all) = match patience {
            Patience::Endless => (Duration::MAX, Duration::MAX),
            Patience::OfReload => (OF_TENANT, OF_ALL),
        };
        let mut owners = self.owners;
        for owner in &mut owners {
            owner.used_before = before.used.get(owner.id).copied().unwrap_or_default();
        }
        let turn = |owners: &[Owner<'_>], place: usize| Reverse((owners[place].rank(), place));
        let mut turns: BinaryHeap<_> = (0..owners.len()).map(|place| turn(&owners, place)).collect();
        let (mut used, mut now) = (Duration::ZERO, cpu_time());
        while used < of_all
            && let Some(Reverse((_, place))) = turns.pop()
        {
            let owner = &mut owners[place];
            let Some(rule) = owner.waiting.pop_front() else { continue };
            attempt(rule);
            let begun = std::mem::replace(&mut now, cpu_time());
            let took = now.saturating_sub(begun);
            used += took;
            owner.used += took;
            if owner.used < of_tenant {
                turns.push(turn(&owners, place));
            }
        }
        before.used.values_mut().for_each(|used| *used /= 2);
        for owner in &owners {
            *before.used.entry(owner.id.clone()).or_default() += owner.used;
        }
        before.used.retain(|_, used| *used >= Duration::from_millis(1));
        let mut left: Vec<_> = owners.into_iter().flat_map(|owner| owner.waiting).collect();
        left.sort_unstable();
        left
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Tenants by name, how many rules each has, and how long one takes in milliseconds. What was tried of each, and all that was left.
    fn take(
        patience: Patience,
        before: &mut TriedBefore,
        tenants: &[(&'static str, usize, u32)],
    ) -> (Vec<usize>, Vec<usize>) {
        let ids: Vec<_> = tenants.iter().map(|(name, ..)| TenantId::new(name)).collect();
        let mut turns = Turns::new();
        let mut rules = Vec::new();
        for (n, (_, count, _)) in tenants.iter().enumerate() {
            for _ in 0..*count {
                turns.add(&ids[n], rules.len());
                rules.push(n);
            }
        }
        let now = Cell::new(Duration::ZERO);
        let mut tried = vec![0; tenants.len()];
        let left = turns.take(
            patience,
            before,
            || now.get(),
            |rule| {
                tried[rules[rule]] += 1;
                now.set(now.get() + MILLI * tenants[rules[rule]].2);
            },
        );
        let mut of_each = vec![0; tenants.len()];
        left.iter().for_each(|rule| of_each[rules[*rule]] += 1);
        (tried, of_each)
    }

    fn bounded(tenants: &[(&'static str, usize, u32)]) -> (Vec<usize>, Vec<usize>) {
        take(Patience::OfReload, &mut TriedBefore::default(), tenants)
    }

    #[test]
    fn a_tenant_has_its_budget_and_one_rule_more() {
        assert_eq!(bounded(&[("a", 100, 30)]), (vec![7], vec![93]));
        assert_eq!(bounded(&[("a", 7, 30)]), (vec![7], vec![0]));
        assert_eq!(bounded(&[("a", 100, 200)]), (vec![1], vec![99]));
        assert_eq!(bounded(&[("a", 199, 1)]), (vec![199], vec![0]));
    }

    #[test]
    fn those_who_need_little_get_it_beside_however_many_who_need_much() {
        let mut tenants = vec![("slow", 100, 30), ("good", 32, 1)];
        assert_eq!(bounded(&tenants), (vec![7, 32], vec![93, 0]));
        tenants = vec![("a", 100, 30), ("b", 100, 30), ("c", 100, 30), ("d", 100, 30), ("e", 100, 30)];
        tenants.push(("good", 100, 1));
        let (tried, left) = bounded(&tenants);
        assert_eq!((tried[5], left[5]), (100, 0), "{tried:?}");
        let all: usize = tried[..5].iter().sum();
        // All together no more than theirs, and one rule.
        assert!(all * 30 + 100 <= 800 + 30, "{tried:?}");
    }

    #[test]
    fn whoever_waits_for_few_rules_or_has_used_little_comes_first() {
        let names: Vec<_> = (0..100).map(|n| &*Box::leak(format!("bad-{n}").into_boxed_str())).collect();
        let mut tenants: Vec<_> = names.into_iter().map(|name| (name, 100, 40)).collect();
        tenants.push(("good", 3, 2));
        let before = &mut TriedBefore::default();
        // There is not enough for one rule of each.
        for _ in 0..10 {
            let (tried, left) = take(Patience::OfReload, before, &tenants);
            assert_eq!((tried[100], left[100]), (3, 0));
        }
        // In the end nothing is kept of those who are tried no more.
        (0..20).for_each(|_| _ = take(Patience::OfReload, before, &[]));
        assert!(before.used.is_empty());
    }

    #[test]
    fn the_hosts_are_all_tried_and_all_are_if_there_is_no_hurry() {
        assert_eq!(bounded(&[(TenantId::HOST, 100, 40), ("a", 2, 1)]), (vec![100, 2], vec![0, 0]));
        let all = take(Patience::Endless, &mut TriedBefore::default(), &[("a", 100, 40), ("b", 2, 1)]);
        assert_eq!(all, (vec![100, 2], vec![0, 0]));
    }
}

//! Generation: one immutable set of loaded rules. A reload builds the next one beside it.

use std::collections::HashMap;
use std::sync::Arc;

use postern_core::{Bounds, Dispatch, RuleId, TenantId, TenantLimits};

use crate::loaded_rule::{LoadedRule, ReadyRule};
use crate::owner_rules::OwnerRules;
use crate::runtime::Runtime;
use crate::share_owner::ShareOwner;
use crate::tenant_part::{MeteredShare, TenantPart};

/// One immutable set of loaded rules.
pub struct Generation {
    /// Counts from 1.
    pub number: u64,
    /// The rules; a rule's number in the dispatch is its place here.
    pub rules: Vec<LoadedRule>,
    /// Their tenants, and those that have limits and no rules.
    pub(crate) tenants: Vec<TenantPart>,
    /// What may be remembered for all of them together.
    pub(crate) memory: Bounds,
    /// Which of them asked for a packet.
    pub dispatch: Dispatch,
    /// The members of each group.
    pub(crate) groups: Vec<Vec<usize>>,
}

impl Generation {
    /// The generation of the rules of these owners, which see a packet in this order. Rules of a tenant that has no `limits` are held to those
    /// of the machine alone: to `memory`, as all together are.
    #[must_use]
    pub fn of_rules(
        runtime: &Runtime,
        number: u64,
        owners: Vec<OwnerRules>,
        memory: Bounds,
        limits: &HashMap<TenantId, TenantLimits>,
    ) -> Self {
        let mut places: HashMap<TenantId, usize> = HashMap::new();
        let mut tenants: Vec<TenantPart> = Vec::new();
        for id in limits.keys().chain(owners.iter().map(|of| &of.owner)) {
            places.entry(id.clone()).or_insert_with(|| {
                tenants.push(TenantPart::new(runtime, id, limits.get(id)));
                tenants.len() - 1
            });
        }
        // Tenants may call their groups the same; they share nothing all the same, nor does a rule on trial with one that opens doors.
        let mut group_numbers: HashMap<(TenantId, Arc<str>, bool), usize> = HashMap::new();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut rules = Vec::new();
        let mut parts = Vec::with_capacity(owners.len());
        for OwnerRules { owner, rules: own, part } in owners {
            parts.push(part);
            let tenant = places[&owner];
            for mut rule in own {
                let key = (owner.clone(), Arc::clone(&rule.group_name), rule.is_trial);
                let group = *group_numbers.entry(key).or_insert(groups.len());
                if group == groups.len() {
                    groups.push(Vec::new());
                }
                groups[group].push(rules.len());
                let share = match &tenants[tenant] {
                    TenantPart { is_bounded: false, .. } => {
                        MeteredShare::new(runtime, ShareOwner::Rule(rule.id.clone()), rule.own_share)
                            .map(Arc::new)
                    }
                    part if rule.is_trial => part.share_on_trial.clone(),
                    part => part.share.clone(),
                };
                rule.counts = runtime.rule_counts(&rule.id);
                (rule.group, rule.tenant, rule.share) = (group, tenant, share);
                rules.push(rule);
            }
        }
        Self { number, rules, tenants, memory, dispatch: Dispatch::new(parts), groups }
    }

    /// The rules of a tenant, to be part of another generation as they are.
    #[must_use]
    pub fn rules_of(&self, tenant: &TenantId) -> Vec<ReadyRule> {
        self.ready().filter(|rule| rule.tenant() == tenant).collect()
    }

    /// Those rules that are as they were loaded.
    pub(crate) fn by_id(&self) -> HashMap<RuleId, ReadyRule> {
        let as_loaded = self.ready().filter(|rule| rule.rule.is_as_loaded());
        as_loaded.map(|rule| (rule.id().clone(), rule)).collect()
    }

    fn ready(&self) -> impl Iterator<Item = ReadyRule> + '_ {
        self.rules.iter().enumerate().map(|(n, rule)| ReadyRule {
            rule: rule.clone(),
            subscription: self.dispatch.subscription(n).clone(),
        })
    }
}

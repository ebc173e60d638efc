//! RunningModules: which modules the rules run that are in force, as far as the supervisor has found that out for the engine.

use std::collections::{HashMap, HashSet};

use postern_config::RuleFile;
use postern_core::{ModuleDigest, ModuleSource, TenantId};

/// The module of each rule in force, by the rule's number.
#[derive(Debug, Default)]
pub(super) struct RunningModules(HashMap<u32, (TenantId, ModuleDigest)>);

impl RunningModules {
    /// These rules are in force now, of which modules were `found` by the rules' places; but rules with a number in the ranges `kept` run what
    /// they ran before, and are in force even if they are not here. A module is found once for all rules of an owner that name it.
    pub(super) fn change(
        &mut self,
        rules: &[RuleFile],
        found: &HashMap<u32, ModuleDigest>,
        kept: &[(u32, u32)],
    ) {
        let is_kept = |number: u32| kept.iter().any(|(first, last)| (*first..=*last).contains(&number));
        let mut before = std::mem::take(&mut self.0);
        before.retain(|number, _| is_kept(*number));
        let named =
            |rule: &RuleFile| -> (TenantId, ModuleSource) { (rule.id.tenant.clone(), rule.module.clone()) };
        let places = rules.iter().zip(0_u32..);
        let digests: HashMap<_, _> =
            places.filter_map(|(rule, place)| Some((named(rule), *found.get(&place)?))).collect();
        let read = rules.iter().filter_map(|rule| {
            let digest = digests.get(&named(rule))?;
            Some((rule.number, (rule.id.tenant.clone(), *digest)))
        });
        self.0 = read.chain(before).collect();
    }

    /// Each module, by whose rules it is run.
    pub(super) fn of_owners(&self) -> Vec<(TenantId, ModuleDigest)> {
        let modules: HashSet<_> = self.0.values().cloned().collect();
        modules.into_iter().collect()
    }
}

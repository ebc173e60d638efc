//! Assembly: puts a generation together, each tenant's part by itself.
//!
//! A tenant with mistakes keeps the rules that it has in the generation in force, and every other tenant goes on with what its files say now.
//! The kept rules are those in force, not their files read once more; what `postern.toml` does not let them do, use or be any more, they do not. A mistake of the host refuses the whole generation.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use postern_config::{Config, ConfigReading, LostDoor, Mistakes, RuleFile, first_of};
use postern_core::{RuleId, TenantId};
use postern_sandbox::{Generation, Loader, OwnerRules, Patience, ReadyRule};

use crate::load_rules::{LoadedRules, by_owner, limits_of_tenants, not_tried, overlap, read_modules};
use crate::origin::Preparation;

/// The rules in force, of which a tenant with mistakes keeps its own.
pub(crate) struct RunningRules {
    /// As they were read.
    pub(crate) rules: Vec<RuleFile>,
    /// As they were loaded.
    pub(crate) generation: Arc<Generation>,
}

/// A tenant whose files are not what is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedTenant {
    pub(crate) tenant: TenantId,
    /// Why; none if its modules are being compiled, or if there was no time for all of its rules.
    pub(crate) mistakes: Mistakes,
    /// How many of its rules there was no time for. Without a mistake it goes on with them next time.
    pub(crate) untried: usize,
    /// Whether that was said when it began.
    pub(crate) is_told: bool,
    /// How many of its rules go on as before.
    pub(crate) kept: usize,
    /// Doors that rules of it could open before and cannot any more.
    pub(crate) lost: Vec<LostDoor>,
    /// Rules that it had and that do not go on, since their modules are not signed by a key that is trusted now.
    pub(crate) untrusted: Vec<RuleId>,
}

/// A generation, or what is wrong as a whole; and whose files are not in it.
pub(crate) struct Assembled {
    /// What is run: as it was read, but for the rules that tenants keep. Only if `postern.toml` is right.
    pub(crate) config: Option<Config>,
    pub(crate) generation: Result<Generation, Mistakes>,
    pub(crate) refused: Vec<RefusedTenant>,
}

/// Puts the generation of a configuration together: all modules are loaded, as `preparation` gets them, and each rule is tried with its
/// settings, those of tenants as far as `patience` goes.
pub(crate) fn assemble(
    reading: ConfigReading,
    in_force: Option<&RunningRules>,
    loader: &Loader,
    preparation: &dyn Preparation,
    patience: Patience,
) -> Assembled {
    let ConfigReading { config, mut mistakes, mut mistakes_of_tenants, .. } = reading;
    let Some(mut config) = config else {
        return Assembled { config: None, generation: Err(Mistakes::new(mistakes)), refused: Vec::new() };
    };
    let LoadedRules { rules: ready, mistakes: found, compiling, untried } = read_modules(
        &config,
        in_force.map(|before| &*before.generation),
        loader,
        &*preparation.code(&config),
        patience,
    );
    // Without a mistake it goes on with what it had all the same.
    for tenant in compiling {
        mistakes_of_tenants.entry(tenant).or_default();
    }
    for (tenant, found) in found {
        if tenant.is_host() {
            mistakes.extend(found);
        } else {
            let of_tenant = mistakes_of_tenants.entry(tenant).or_default();
            of_tenant.extend(found);
            *of_tenant = first_of(mem::take(of_tenant));
        }
    }
    for (tenant, rules) in &untried {
        let of_tenant = mistakes_of_tenants.entry(tenant.clone()).or_default();
        if let (false, Some(budget)) = (of_tenant.is_empty(), patience.of_tenant()) {
            of_tenant.push(not_tried(&config, tenant, *rules, budget));
        }
    }
    let mut owners = Vec::with_capacity(config.tenants.len() + 1);
    for (owner, rules) in by_owner(&config, ready) {
        let wanted =
            (!mistakes_of_tenants.contains_key(&owner)).then(|| OwnerRules::new(owner.clone(), rules));
        let rules = match wanted {
            Some(Ok(rules)) => rules,
            Some(Err(error)) if owner.is_host() => {
                mistakes.push(overlap(&config, &owner, error));
                continue;
            }
            wanted => {
                if let Some(Err(error)) = wanted {
                    mistakes_of_tenants.insert(owner.clone(), vec![overlap(&config, &owner, error)]);
                }
                let before = rules_before(in_force, &config, &owner);
                OwnerRules::new(owner, before).expect("rules in force fit, the more so if they may see less")
            }
        };
        owners.push(rules);
    }
    let generation = if mistakes.is_empty() {
        let limits = limits_of_tenants(&config);
        Ok(Generation::of_rules(loader.runtime(), 1, owners, config.memory, &limits))
    } else {
        Err(Mistakes::new(mistakes))
    };
    let refused = mistakes_of_tenants.into_iter().map(|(tenant, mistakes)| {
        let before = in_force.map_or(&[][..], |before| &before.rules);
        let untrusted = untrusted(in_force, &config, &tenant);
        let lost = config.keep_rules(&tenant, before.iter().filter(|rule| !untrusted.contains(&rule.id)));
        let kept = config.rules.iter().filter(|rule| rule.id.tenant == tenant).count();
        let untried = untried.get(&tenant).copied().unwrap_or_default();
        RefusedTenant {
            mistakes: Mistakes::new(mistakes),
            untried,
            is_told: false,
            kept,
            lost,
            untrusted,
            tenant,
        }
    });
    let refused = refused.collect();
    Assembled { config: Some(config), generation, refused }
}

/// What a tenant has in the generation in force, without what it is not granted any more.
fn rules_before(in_force: Option<&RunningRules>, config: &Config, id: &TenantId) -> Vec<ReadyRule> {
    let (Some(RunningRules { rules, generation }), Some(tenant)) = (in_force, config.tenant(id)) else {
        return Vec::new();
    };
    let files = by_id(rules);
    let untrusted = untrusted(in_force, config, id);
    let mut before = generation.rules_of(id);
    before.retain(|rule| !untrusted.contains(rule.id()));
    for rule in &mut before {
        let file = files.get(rule.id());
        let interfaces = tenant.grant.interfaces_of(file.map_or(&[], |file| &file.interfaces));
        let is_trial = file.is_none_or(|file| config.is_on_trial(file));
        rule.hold_to(&tenant.grant.watch, interfaces, tenant.ceilings.instance, is_trial);
    }
    before
}

/// Rules that a tenant has in the generation in force, and whose modules it may not run any more.
fn untrusted(in_force: Option<&RunningRules>, config: &Config, id: &TenantId) -> Vec<RuleId> {
    let (Some(RunningRules { rules, generation }), Some(tenant)) = (in_force, config.tenant(id)) else {
        return Vec::new();
    };
    let files = by_id(rules);
    let may_run = |rule: &ReadyRule| {
        files.get(rule.id()).is_some_and(|file| tenant.may_run(&file.module, rule.signer()))
    };
    let before = generation.rules_of(id);
    before.iter().filter(|rule| !may_run(rule)).map(|rule| rule.id().clone()).collect()
}

fn by_id(rules: &[RuleFile]) -> HashMap<&RuleId, &RuleFile> {
    rules.iter().map(|rule| (&rule.id, rule)).collect()
}

#[cfg(test)]
mod tests;

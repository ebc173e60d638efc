//! Assembly: puts a generation together, each tenant's part by itself.
//!
//! A tenant with mistakes keeps the rules that it has in the generation in force, and every other tenant goes on with what its files say now.
//! The kept rules are those in force, not their files read once more; what `postern.toml` does not let them do, use or be any more, they do not. A mistake of the host refuses the whole generation.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::Arc;

use postern_config::{Config, ConfigReading, LostDoor, Mistake, Mistakes, RuleFile, first_of};
use postern_core::{RuleId, TenantId};
use postern_sandbox::{Generation, Loader, ReadyRule};

use crate::load_rules::{LoadedRules, limits_of_tenants, overlap, read_modules};
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
    /// Why; none if its modules are being compiled.
    pub(crate) mistakes: Mistakes,
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

/// The rules of each owner, the host first.
type Parts = Vec<(TenantId, Vec<ReadyRule>)>;

/// Puts the generation of a configuration together: all modules are loaded, as `preparation` gets them, and each rule is tried with its
/// settings.
pub(crate) fn assemble(
    reading: ConfigReading,
    in_force: Option<&RunningRules>,
    loader: &Loader,
    preparation: &dyn Preparation,
) -> Assembled {
    let ConfigReading { config, mut mistakes, mut mistakes_of_tenants, .. } = reading;
    let Some(mut config) = config else {
        return Assembled { config: None, generation: Err(Mistakes::new(mistakes)), refused: Vec::new() };
    };
    let LoadedRules { rules: ready, mistakes: found, compiling } = read_modules(
        &config,
        in_force.map(|before| &*before.generation),
        loader,
        &*preparation.code(&config),
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
    let mut parts: Parts = vec![(TenantId::host(), Vec::new())];
    parts.extend(config.tenants.iter().map(|tenant| (tenant.id.clone(), Vec::new())));
    for rule in ready {
        if let Some((_, rules)) = parts.iter_mut().find(|(tenant, _)| tenant == rule.tenant()) {
            rules.push(rule);
        }
    }
    for (tenant, rules) in parts.iter_mut().filter(|(tenant, _)| mistakes_of_tenants.contains_key(tenant)) {
        *rules = rules_before(in_force, &config, tenant);
    }
    let generation = if mistakes.is_empty() {
        fit(&config, parts, in_force, loader, &mut mistakes_of_tenants)
    } else {
        Err(Mistakes::new(mistakes))
    };
    let refused = mistakes_of_tenants.into_iter().map(|(tenant, mistakes)| {
        let before = in_force.map_or(&[][..], |before| &before.rules);
        let untrusted = untrusted(in_force, &config, &tenant);
        let lost = config.keep_rules(&tenant, before.iter().filter(|rule| !untrusted.contains(&rule.id)));
        let kept = config.rules.iter().filter(|rule| rule.id.tenant == tenant).count();
        RefusedTenant { mistakes: Mistakes::new(mistakes), kept, lost, untrusted, tenant }
    });
    let refused = refused.collect();
    Assembled { config: Some(config), generation, refused }
}

/// The generation of these parts. If together they ask for too much, tenants that ask for more than before are refused, as far as necessary.
fn fit(
    config: &Config,
    mut parts: Parts,
    in_force: Option<&RunningRules>,
    loader: &Loader,
    mistakes_of_tenants: &mut BTreeMap<TenantId, Vec<Mistake>>,
) -> Result<Generation, Mistakes> {
    let limits = limits_of_tenants(config);
    let of = |parts: &Parts| {
        let rules: Vec<_> = parts.iter().flat_map(|(_, rules)| rules).cloned().collect();
        Generation::of_rules(loader.runtime(), 1, &rules, config.memory, &limits)
    };
    if let Ok(generation) = of(&parts) {
        return Ok(generation);
    }
    // What the tenants have now must have its place beside what the host says.
    let wanted: Vec<_> = parts
        .iter_mut()
        .skip(1)
        .map(|(tenant, rules)| mem::replace(rules, rules_before(in_force, config, tenant)))
        .collect();
    let mut generation = of(&parts).map_err(|error| overlap(&config.rules_dir, error))?;
    for ((n, wanted), tenant) in (1..).zip(wanted).zip(&config.tenants) {
        let before = mem::replace(&mut parts[n].1, wanted);
        match of(&parts) {
            Ok(fits) => generation = fits,
            Err(error) => {
                parts[n].1 = before;
                let found = overlap(&tenant.rules_dir, error);
                mistakes_of_tenants.entry(tenant.id.clone()).or_default().extend(found.iter().cloned());
            }
        }
    }
    Ok(generation)
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

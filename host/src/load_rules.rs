//! Loads the rules of a configuration into the sandbox, and puts what is wrong with them at its place in the files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_config::{Activity, Config, Mistake, Mistakes, OwnFiles, RuleFile};
use postern_core::{ModuleSource, TenantId, TenantLimits, TooManyOverlaps};
use postern_sandbox::{
    CodeSource, Generation, LoadError, Loader, OwnerRules, Patience, Problem, ProblemKind, ReadyRule,
    StartError, TriedRules,
};
use postern_text::{duration, piece};

use crate::module_code::Modules;

/// The generation of a configuration: the modules of all its rules are loaded, and each rule is tried with its settings; `activity` shows
/// what is being done.
///
/// # Errors
/// Every rule that could not be loaded or started, whosever it is.
pub fn load_rules(
    number: u64,
    config: &Config,
    modules: &Modules,
    activity: &Activity,
) -> Result<Generation, Mistakes> {
    let code = modules.code.code_of(config, &OwnFiles, activity);
    let LoadedRules { rules, mistakes, .. } =
        read_modules(config, None, &modules.loader, &*code, Patience::Endless);
    if !mistakes.is_empty() {
        return Err(Mistakes::new(mistakes.into_values().flatten().collect()));
    }
    let (mut owners, mut mistakes) = (Vec::new(), Vec::new());
    for (owner, rules) in by_owner(config, rules) {
        match OwnerRules::new(owner.clone(), rules) {
            Ok(rules) => owners.push(rules),
            Err(error) => mistakes.push(overlap(config, &owner, error)),
        }
    }
    if !mistakes.is_empty() {
        return Err(Mistakes::new(mistakes));
    }
    let (runtime, limits) = (modules.loader.runtime(), limits_of_tenants(config));
    Ok(Generation::of_rules(runtime, number, owners, config.memory, &limits))
}

/// These rules by whose they are: the host's first, then those of each tenant that there is.
pub(crate) fn by_owner(config: &Config, ready: Vec<ReadyRule>) -> Vec<(TenantId, Vec<ReadyRule>)> {
    let owners = [TenantId::host()].into_iter().chain(config.tenants.iter().map(|tenant| tenant.id.clone()));
    let mut of_owners: Vec<_> = owners.map(|owner| (owner, Vec::new())).collect();
    let places: HashMap<_, _> =
        of_owners.iter().enumerate().map(|(n, (owner, _))| (owner.clone(), n)).collect();
    for rule in ready {
        if let Some(place) = places.get(rule.tenant()) {
            of_owners[*place].1.push(rule);
        }
    }
    of_owners
}

/// What the rules of each tenant may use together. The host has the limits of the machine alone.
pub(crate) fn limits_of_tenants(config: &Config) -> HashMap<TenantId, TenantLimits> {
    config.tenants.iter().map(|tenant| (tenant.id.clone(), tenant.limits)).collect()
}

/// The rules of a configuration as far as they were loaded.
pub(crate) struct LoadedRules {
    /// Those that could be loaded and started, in its order.
    pub(crate) rules: Vec<ReadyRule>,
    /// The mistakes in the others, by whose they are.
    pub(crate) mistakes: BTreeMap<TenantId, Vec<Mistake>>,
    /// Tenants of which modules are being compiled.
    pub(crate) compiling: BTreeSet<TenantId>,
    /// How many rules of which tenants there was no time for.
    pub(crate) untried: BTreeMap<TenantId, usize>,
}

/// Loads the modules of a configuration, whose code `code` gets, and tries its rules but those that are as they were `before`, as far as
/// `patience` goes.
pub(crate) fn read_modules(
    config: &Config,
    before: Option<&Generation>,
    loader: &Loader,
    code: &dyn CodeSource,
    patience: Patience,
) -> LoadedRules {
    let TriedRules { rules, problems, untried: left } =
        ReadyRule::load_all(&config.specs(), before, loader, code, patience);
    let (mut found, mut compiling) = (BTreeMap::<_, Vec<_>>::new(), BTreeSet::new());
    for Problem { rule, what } in problems {
        let rule = &config.rules[rule];
        // A tenant whose modules were not waited for has made no mistake by that.
        let is_late = |error: &LoadError| match error {
            LoadError::Compiling => true,
            LoadError::Overtaken => !rule.id.tenant.is_host(),
            _ => false,
        };
        if matches!(&what, ProblemKind::Module(error) if is_late(error)) {
            compiling.insert(rule.id.tenant.clone());
            continue;
        }
        found.entry(rule.id.tenant.clone()).or_default().extend(mistakes(rule, what));
    }
    let mut untried = BTreeMap::new();
    for rule in left {
        *untried.entry(config.rules[rule].id.tenant.clone()).or_default() += 1;
    }
    LoadedRules { rules, mistakes: found, compiling, untried }
}

/// That rules of a tenant which has mistakes were not tried, since others took too long.
pub(crate) fn not_tried(config: &Config, owner: &TenantId, rules: usize, budget: Duration) -> Mistake {
    let what = format!(
        "{} not tried: trying others took {}, which is what each tenant has for it at a time; mend the mistakes first, or have modules do less when they start",
        if rules == 1 { "1 rule was".to_owned() } else { format!("{rules} rules were") },
        duration::show(budget)
    );
    whole(folder(config, owner).to_owned(), what)
}

/// What is wrong with the rules of `owner` as a whole.
pub(crate) fn overlap(config: &Config, owner: &TenantId, error: TooManyOverlaps) -> Mistake {
    whole(folder(config, owner).to_owned(), error.to_string())
}

/// Where the rules of `owner` are.
fn folder<'a>(config: &'a Config, owner: &TenantId) -> &'a Path {
    config.tenant(owner).map_or(&config.rules_dir, |tenant| &tenant.rules_dir)
}

/// A problem is one mistake, or one for each setting that the module refuses.
fn mistakes(rule: &RuleFile, problem: ProblemKind) -> Vec<Mistake> {
    match problem {
        ProblemKind::Module(error) => match &*error {
            // About the module's file, or a folder, which many rules may share.
            LoadError::Distrusted { path, what } => vec![whole(path.clone(), what.clone())],
            error => {
                let what =
                    format!("the module{} {}; {}", where_it_is(rule, error), piece(error), error.remedy());
                vec![rule.module_mistake(what)]
            }
        },
        ProblemKind::Start(StartError::Refused(what)) => rule.settings_mistakes(&what),
        ProblemKind::Start(error) => vec![rule.module_mistake(error.to_string())],
        ProblemKind::Beyond(beyond) => {
            let tenant = &rule.id.tenant;
            vec![rule.module_mistake(format!(
                "with these settings it {beyond}, as [tenants.{tenant}.grant] in postern.toml says"
            ))]
        }
        ProblemKind::Panicked => {
            vec![rule.module_mistake("loading the module panicked; see the standard error")]
        }
    }
}

/// The path of a rule's module, where the file itself is what is wrong: the rule's file names it by another path, which begins there.
fn where_it_is(rule: &RuleFile, error: &LoadError) -> String {
    match &rule.module {
        ModuleSource::File(path) if matches!(error, LoadError::Read(_) | LoadError::File(_)) => {
            format!(" {}", piece(path.display()))
        }
        _ => String::new(),
    }
}

fn whole(file: PathBuf, what: String) -> Mistake {
    Mistake { file, line: None, key: String::new(), what }
}

//! Generation: one immutable set of loaded rules. A reload builds the next one beside it.

use std::collections::HashMap;
use std::sync::Arc;

use postern_core::{Bounds, Dispatch, Observer, RuleId, RuleLimits, RuleSpec, Subscription};

use crate::instance::{Instance, StartError};
use crate::loader::{Loader, Module};
use crate::module_files::ModuleFiles;
use crate::problem::Problem;

/// One immutable set of loaded rules.
pub struct Generation {
    /// Counts from 1.
    pub number: u64,
    /// The rules; a rule's number in the dispatch is its place here.
    pub rules: Vec<LoadedRule>,
    /// What may be remembered for all of them together.
    pub(crate) memory: Bounds,
    /// Which of them asked for a packet.
    pub dispatch: Dispatch,
    /// The members of each group.
    pub(crate) groups: Vec<Vec<usize>>,
}

/// A rule that was compiled, started once, and found good.
#[derive(Clone)]
pub struct LoadedRule {
    /// Who it is.
    pub id: RuleId,
    pub(crate) module: Arc<Module>,
    pub(crate) settings: Arc<str>,
    pub(crate) limits: RuleLimits,
    pub(crate) bounds: Bounds,
    pub(crate) memory_format: u32,
    pub(crate) group: usize,
    observer: Arc<dyn Observer>,
}

impl LoadedRule {
    /// Whether an instance of the other rule would serve this one as well.
    pub(crate) fn runs_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.module, &other.module)
            && self.settings == other.settings
            && self.limits == other.limits
    }

    pub(crate) fn start(&self) -> Result<Instance, StartError> {
        let started = Instance::start(&self.module, &self.id, self.limits, &self.settings, &self.observer);
        started.map(|(instance, _)| instance)
    }
}

impl Generation {
    /// Loads the modules of all rules, whose files `files` reads, and tries each rule with its settings. `memory` bounds what may be
    /// remembered for all of them together.
    ///
    /// # Errors
    /// Every rule that could not be loaded or started.
    pub fn build(
        number: u64,
        specs: &[RuleSpec],
        memory: Bounds,
        loader: &Loader,
        files: &dyn ModuleFiles,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut rules = Vec::with_capacity(specs.len());
        let mut subscriptions = Vec::with_capacity(specs.len());
        let mut group_numbers: HashMap<&str, usize> = HashMap::new();
        let _ahead = loader.load_ahead(specs.iter().map(|spec| &spec.module), files);
        for (n, spec) in specs.iter().enumerate() {
            let next_group = group_numbers.len();
            let group = *group_numbers.entry(&spec.group).or_insert(next_group);
            match load(n, spec, group, loader, files) {
                Ok((rule, subscription)) => {
                    rules.push(rule);
                    subscriptions.push(subscription);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut groups = vec![Vec::new(); group_numbers.len()];
        for (n, rule) in rules.iter().enumerate() {
            groups[rule.group].push(n);
        }
        let dispatch = Dispatch::new(subscriptions).map_err(|error| vec![Problem::Overlaps(error)])?;
        Ok(Self { number, rules, memory, dispatch, groups })
    }
}

/// Loads the rule at place `n`.
fn load(
    n: usize,
    spec: &RuleSpec,
    group: usize,
    loader: &Loader,
    files: &dyn ModuleFiles,
) -> Result<(LoadedRule, Subscription), Problem> {
    let module = loader.load(&spec.module, files).map_err(|error| Problem::Module { rule: n, error })?;
    let observer = Arc::clone(&loader.observer);
    let started = Instance::start(&module, &spec.id, spec.limits, &spec.settings, &observer);
    let (_, interest) = started.map_err(|error| Problem::Start { rule: n, error })?;
    let rule = LoadedRule {
        id: spec.id.clone(),
        module,
        settings: Arc::clone(&spec.settings),
        limits: spec.limits,
        bounds: spec.bounds,
        memory_format: interest.memory_format ^ spec.memory_epoch,
        group,
        observer,
    };
    let (interfaces, sees_outgoing) = (spec.interfaces.clone(), spec.sees_outgoing);
    Ok((rule, Subscription { interest, interfaces, sees_outgoing }))
}

//! TriedRules: loads the modules of rules, and tries each rule.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use postern_core::RuleSpec;

use crate::code_source::CodeSource;
use crate::generation::Generation;
use crate::instance::Instance;
use crate::loaded_rule::ReadyRule;
use crate::loader::Loader;
use crate::module::LoadedModule;
use crate::problem::{Problem, ProblemKind};
use crate::rule_observer::RuleObserver;
use crate::thread_cpu_time::thread_cpu_time;
use crate::trying::{Patience, Turns};

/// What came of loading and trying rules.
pub struct TriedRules {
    /// Those that are good, in their order.
    pub rules: Vec<ReadyRule>,
    /// What is wrong with each of the others.
    pub problems: Vec<Problem>,
    /// The places of those that there was no time for.
    pub untried: Vec<usize>,
}

impl ReadyRule {
    /// Loads the modules of all rules, whose code `code` gets, and tries each rule with its settings, unless it is as it was in the generation
    /// `before`, or when it was tried before for a tenant that did not get all of its rules: the same settings give the same answer.
    pub fn load_all(
        specs: &[RuleSpec],
        before: Option<&Generation>,
        loader: &Loader,
        code: &dyn CodeSource,
        patience: Patience,
    ) -> TriedRules {
        let before = before.map_or_else(HashMap::new, Generation::by_id);
        let modules = loader.load_all(specs.iter().map(|spec| (&spec.id.tenant, &spec.module)), code);
        let mut earlier = loader.take_tried();
        let mut tried: Vec<Option<Result<Self, ProblemKind>>> = specs.iter().map(|_| None).collect();
        let mut turns = Turns::new();
        for (n, spec) in specs.iter().enumerate() {
            let known = [before.get(&spec.id), earlier.rules.get(&spec.id)];
            match modules.get(&(&spec.id.tenant, &spec.module)) {
                Some(Ok(module)) => {
                    match known.into_iter().flatten().find(|known| known.is_of(spec, module)) {
                        Some(same) => tried[n] = Some(Ok(same.signed_by(module))),
                        None => turns.add(&spec.id.tenant, n),
                    }
                }
                Some(Err(Some(error))) => tried[n] = Some(Err(ProblemKind::Module(Arc::clone(error)))),
                Some(Err(None)) | None => tried[n] = Some(Err(ProblemKind::Panicked)),
            }
        }
        let untried = turns.take(patience, &mut earlier, thread_cpu_time, |n| {
            let spec = &specs[n];
            if let Some(Ok(module)) = modules.get(&(&spec.id.tenant, &spec.module)) {
                // Wasmtime is a large program, and what it runs comes from outside.
                let loaded = catch_unwind(AssertUnwindSafe(|| ready(spec, module.clone(), loader)));
                tried[n] = Some(loaded.unwrap_or(Err(ProblemKind::Panicked)));
            }
        });
        let (mut rules, mut problems) = (Vec::with_capacity(specs.len()), Vec::new());
        for (n, tried) in tried.into_iter().enumerate() {
            match tried {
                Some(Ok(rule)) => rules.push(rule),
                Some(Err(what)) => problems.push(Problem { rule: n, what }),
                None => {}
            }
        }
        let missing = problems.iter().map(|problem| problem.rule).chain(untried.iter().copied());
        let unfinished: HashSet<_> = missing.map(|n| &specs[n].id.tenant).collect();
        let kept = rules.iter().filter(|rule| unfinished.contains(rule.tenant()));
        earlier.rules = kept.map(|rule| (rule.id().clone(), rule.clone())).collect();
        loader.keep_tried(earlier);
        TriedRules { rules, problems, untried }
    }
}

/// Tries a rule.
fn ready(spec: &RuleSpec, module: LoadedModule, loader: &Loader) -> Result<ReadyRule, ProblemKind> {
    let observer = RuleObserver::of(spec.log, &loader.observer);
    let started = Instance::start(&module.module, &spec.id, spec.limits, &spec.settings, &observer);
    let (_, interest) = started.map_err(ProblemKind::Start)?;
    spec.watch.check(&interest).map_err(ProblemKind::Beyond)?;
    Ok(ReadyRule::new(spec, module, interest, observer))
}

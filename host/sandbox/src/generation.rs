//! Generation: one immutable set of loaded rules. A reload builds the next one beside it.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use postern_core::{
    Bounds, CpuShare, Dispatch, Observer, RuleId, RuleLimits, RuleLogLevel, RuleSpec, Subscription, TenantId,
    TenantLimits, WatchGrant,
};

use crate::code_source::{CodeSource, ModuleDigest};
use crate::instance::{Instance, StartError};
use crate::loader::{LoadedModule, Loader, Module};
use crate::owner_rules::OwnerRules;
use crate::problem::{Problem, ProblemKind};
use crate::rule_counts::RuleCounts;
use crate::rule_observer::RuleObserver;
use crate::runtime::Runtime;
use crate::share_owner::ShareOwner;
use crate::tenant_part::{MeteredShare, TenantPart};
use crate::thread_cpu_time::thread_cpu_time;
use crate::trying::{Patience, Turns};

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

/// A rule that was compiled, started once, and found good.
#[derive(Clone)]
pub struct LoadedRule {
    /// Its tenant and name.
    pub id: RuleId,
    /// As it was loaded; none if it was changed since then.
    spec: Option<Arc<RuleSpec>>,
    pub(crate) module: Arc<Module>,
    /// The key whose signature let its module be loaded, as [`crate::FoundModule::signer`] has it.
    signer: Option<Arc<str>>,
    pub(crate) settings: Arc<str>,
    pub(crate) limits: RuleLimits,
    pub(crate) bounds: Bounds,
    pub(crate) memory_format: u32,
    /// The name of its group, which is one of its tenant's.
    group_name: Arc<str>,
    /// Whether it is on trial.
    is_trial: bool,
    /// The number of its group in its generation.
    pub(crate) group: usize,
    /// The place of its tenant in its generation.
    pub(crate) tenant: usize,
    /// How much CPU time it may use by itself, if its tenant has no share for all its rules.
    own_share: CpuShare,
    /// Its share or its tenant's; none if it may use all CPU time that there is.
    pub(crate) share: Option<Arc<MeteredShare>>,
    /// Which of the lines that its module writes are logged.
    pub(crate) log: RuleLogLevel,
    /// What it said and used, in all generations together.
    pub(crate) counts: Arc<RuleCounts>,
    observer: Arc<dyn Observer>,
}

impl LoadedRule {
    /// Whether an instance of the other rule would serve this one as well.
    pub(crate) fn runs_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.module, &other.module)
            && self.settings == other.settings
            && self.limits == other.limits
            && self.log == other.log
    }

    /// Which module it runs.
    #[must_use]
    pub fn module(&self) -> ModuleDigest {
        self.module.digest
    }

    /// What it said and used so far, in all generations together.
    #[must_use]
    pub const fn counts(&self) -> &Arc<RuleCounts> {
        &self.counts
    }

    /// The key whose signature let its module be loaded, as [`FoundModule::signer`](crate::FoundModule::signer) has it; none if it needed
    /// none.
    #[must_use]
    pub fn signer(&self) -> Option<&str> {
        self.signer.as_deref()
    }

    /// An instance of it, as those that judge packets.
    ///
    /// # Errors
    /// If it faults or refuses its settings now.
    pub fn start(&self) -> Result<Instance, StartError> {
        let started = Instance::start(&self.module, &self.id, self.limits, &self.settings, &self.observer);
        started.map(|(instance, _)| instance)
    }
}

/// A loaded rule with what it asked for, of which a generation can be made.
#[derive(Clone)]
pub struct ReadyRule {
    pub(crate) rule: LoadedRule,
    pub(crate) subscription: Subscription,
}

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

    /// Whether it is what would be loaded for this.
    fn is_of(&self, spec: &RuleSpec, module: &LoadedModule) -> bool {
        self.rule.spec.as_deref() == Some(spec) && Arc::ptr_eq(&self.rule.module, &module.module)
    }

    /// The same with the module's signature as it is now.
    fn signed_by(&self, module: &LoadedModule) -> Self {
        let mut same = self.clone();
        same.rule.signer.clone_from(&module.signer);
        same
    }

    /// Takes from a rule that was loaded before what it may not see or use any more. Its instances are started anew if they may use less.
    pub fn hold_to(
        &mut self,
        watch: &WatchGrant,
        interfaces: Vec<Arc<str>>,
        limits: RuleLimits,
        is_trial: bool,
    ) {
        let Self { rule, subscription } = self;
        watch.cut(&mut subscription.interest);
        subscription.interfaces = interfaces;
        subscription.is_local_only = !watch.anywhere;
        rule.limits = rule.limits.min(limits);
        rule.is_trial = is_trial;
        rule.spec = None;
    }

    /// The key whose signature let its module be loaded, as [`FoundModule::signer`](crate::FoundModule::signer) has it; none if it needed
    /// none.
    #[must_use]
    pub fn signer(&self) -> Option<&str> {
        self.rule.signer.as_deref()
    }

    /// Which rule it is.
    #[must_use]
    pub const fn id(&self) -> &RuleId {
        &self.rule.id
    }

    /// Whose rule it is.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.rule.id.tenant
    }
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
            for rule in own {
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
                let counts = runtime.rule_counts(&rule.id);
                rules.push(LoadedRule { group, tenant, share, counts, ..rule });
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
    fn by_id(&self) -> HashMap<RuleId, ReadyRule> {
        let as_loaded = self.ready().filter(|rule| rule.rule.spec.is_some());
        as_loaded.map(|rule| (rule.id().clone(), rule)).collect()
    }

    fn ready(&self) -> impl Iterator<Item = ReadyRule> + '_ {
        self.rules.iter().enumerate().map(|(n, rule)| ReadyRule {
            rule: rule.clone(),
            subscription: self.dispatch.subscription(n).clone(),
        })
    }
}

/// Tries a rule.
fn ready(spec: &RuleSpec, module: LoadedModule, loader: &Loader) -> Result<ReadyRule, ProblemKind> {
    let LoadedModule { module, signer } = module;
    let observer = RuleObserver::of(spec.log, &loader.observer);
    let started = Instance::start(&module, &spec.id, spec.limits, &spec.settings, &observer);
    let (_, interest) = started.map_err(ProblemKind::Start)?;
    spec.watch.check(&interest).map_err(ProblemKind::Beyond)?;
    let rule = LoadedRule {
        id: spec.id.clone(),
        spec: Some(Arc::new(spec.clone())),
        module,
        signer,
        settings: Arc::clone(&spec.settings),
        limits: spec.limits,
        bounds: spec.bounds,
        memory_format: interest.memory_format ^ spec.memory_epoch,
        group_name: Arc::clone(&spec.group),
        is_trial: spec.is_trial,
        group: 0,
        tenant: 0,
        own_share: spec.share,
        share: None,
        log: spec.log,
        counts: Arc::default(),
        observer,
    };
    let subscription = Subscription {
        interest,
        interfaces: spec.interfaces.clone(),
        sees_outgoing: spec.sees_outgoing,
        is_local_only: !spec.watch.anywhere,
    };
    Ok(ReadyRule { rule, subscription })
}

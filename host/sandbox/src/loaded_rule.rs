//! LoadedRule: a rule that was compiled, started once and found good.

use std::sync::Arc;

use postern_core::{
    Bounds, CpuShare, Interest, Observer, RuleId, RuleLimits, RuleLogLevel, RuleSpec, Subscription, TenantId,
    WatchGrant,
};

use crate::code_source::ModuleDigest;
use crate::instance::{Instance, StartError};
use crate::module::{LoadedModule, Module};
use crate::rule_counts::RuleCounts;
use crate::tenant_part::MeteredShare;

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
    pub(crate) group_name: Arc<str>,
    /// Whether it is on trial.
    pub(crate) is_trial: bool,
    /// The number of its group in its generation.
    pub(crate) group: usize,
    /// The place of its tenant in its generation.
    pub(crate) tenant: usize,
    /// How much CPU time it may use by itself, if its tenant has no share for all its rules.
    pub(crate) own_share: CpuShare,
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

    /// Whether nothing was taken from it since it was loaded.
    pub(crate) const fn is_as_loaded(&self) -> bool {
        self.spec.is_some()
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

impl ReadyRule {
    /// The rule of `spec`, whose module has been started and has asked for `interest`.
    pub(crate) fn new(
        spec: &RuleSpec,
        module: LoadedModule,
        interest: Interest,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let LoadedModule { module, signer } = module;
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
        Self { rule, subscription }
    }

    /// Whether it is what would be loaded for this.
    pub(crate) fn is_of(&self, spec: &RuleSpec, module: &LoadedModule) -> bool {
        self.rule.spec.as_deref() == Some(spec) && Arc::ptr_eq(&self.rule.module, &module.module)
    }

    /// The same with the module's signature as it is now.
    pub(crate) fn signed_by(&self, module: &LoadedModule) -> Self {
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

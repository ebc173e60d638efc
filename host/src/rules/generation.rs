//! Generation: one immutable set of loaded rules. A reload builds the next one beside it.

use std::collections::HashMap;
use std::sync::Arc;

use postern_core::{Bounds, Dispatch, Interest, RuleId, Subscription};
use postern_text::piece;

use super::guest_log::{LogLimit, log_limit};
use super::instance::{Instance, StartError};
use super::limits::Limits;
use super::load_error::LoadError;
use super::loader::{Loader, Module};
use crate::activity::Activity;
use crate::config::{Config, Mistake, Mistakes, OneTime, RuleFile};
use crate::trust::Trust;

/// One immutable set of loaded rules.
pub struct Generation {
    /// Counts from 1.
    pub number: u64,
    /// The rules; a rule's number in the dispatch is its place here.
    pub rules: Vec<LoadedRule>,
    /// What may be remembered for all of them together.
    pub(super) memory: Bounds,
    /// Which of them asked for a packet.
    pub dispatch: Dispatch,
    /// The members of each group.
    pub(super) groups: Vec<Vec<usize>>,
}

/// A rule that was compiled, started once, and found good.
#[derive(Clone)]
pub struct LoadedRule {
    /// Who it is.
    pub id: RuleId,
    pub(super) module: Arc<Module>,
    pub(super) settings: Arc<str>,
    pub(super) limits: Limits,
    pub(super) bounds: Bounds,
    pub(super) memory_format: u32,
    pub(super) group: usize,
    log_limit: LogLimit,
}

impl LoadedRule {
    /// Whether an instance of the other rule would serve this one as well.
    pub(super) fn runs_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.module, &other.module)
            && self.settings == other.settings
            && self.limits == other.limits
    }

    pub(super) fn start(&self) -> Result<Instance, StartError> {
        let started = Instance::start(&self.module, &self.id, self.limits, &self.settings, &self.log_limit);
        started.map(|(instance, _)| instance)
    }
}

impl Generation {
    /// Loads the modules of all rules and tries each rule with its settings; `activity` tells others what is being done.
    ///
    /// # Errors
    /// Every rule that could not be loaded or started.
    pub fn build(
        number: u64,
        config: &Config,
        loader: &Loader,
        activity: &Activity,
    ) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut rules = Vec::with_capacity(config.rules.len());
        let mut subscriptions = Vec::with_capacity(config.rules.len());
        let mut group_numbers: HashMap<Arc<str>, usize> = HashMap::new();
        let _ahead = loader.load_ahead(config.rules.iter().map(|file| &file.module), config.trust, activity);
        for file in &config.rules {
            let next_group = group_numbers.len();
            let group = *group_numbers.entry(Arc::clone(&file.group)).or_insert(next_group);
            match load(file, group, loader, config.trust, activity) {
                Ok((rule, subscription)) => {
                    rules.push(rule);
                    subscriptions.push(subscription);
                }
                Err(found) => mistakes.extend(found),
            }
        }
        if !mistakes.is_empty() {
            return Err(Mistakes::new(mistakes));
        }
        let mut groups = vec![Vec::new(); group_numbers.len()];
        for (n, rule) in rules.iter().enumerate() {
            groups[rule.group].push(n);
        }
        let dispatch = Dispatch::new(subscriptions).map_err(|error| {
            let (file, key) = (config.rules_dir.clone(), String::new());
            Mistakes::new(vec![Mistake { file, line: None, key, what: error.to_string() }])
        })?;
        Ok(Self { number, rules, memory: config.memory, dispatch, groups })
    }
}

/// What says whether half-finished knocks mean the same. With each one-time sequence they are begun anew, even if its steps are the same.
fn memory_format(interest: &Interest, one_time: Option<&OneTime>) -> u32 {
    let offset = one_time.map_or(0, |line| line.offset).to_le_bytes();
    // By an odd number, so that no two places of a file below 4 GiB are one.
    let [a, b, c, d, ..] = offset;
    interest.memory_format ^ u32::from_le_bytes([a, b, c, d]).wrapping_mul(0x9e37_79b1)
}

fn load(
    file: &RuleFile,
    group: usize,
    loader: &Loader,
    trust: Trust,
    activity: &Activity,
) -> Result<(LoadedRule, Subscription), Vec<Mistake>> {
    let module = loader.load(&file.module, trust, activity).map_err(|error| match error {
        // About the module's file, or a folder, which many rules may share.
        LoadError::Distrust(distrust) => vec![distrust.into()],
        error => vec![file.module_mistake(format!("the module {}; {}", piece(&error), error.remedy()))],
    })?;
    let log_limit = log_limit();
    let started = Instance::start(&module, &file.id, file.limits, &file.settings, &log_limit);
    let (_, interest) = started.map_err(|error| match error {
        StartError::Refused(what) => file.settings_mistakes(&what),
        other => vec![file.module_mistake(other.to_string())],
    })?;
    let rule = LoadedRule {
        id: file.id.clone(),
        module,
        settings: file.settings.as_str().into(),
        limits: file.limits,
        bounds: file.bounds,
        memory_format: memory_format(&interest, file.one_time.as_ref()),
        group,
        log_limit,
    };
    let (interfaces, sees_outgoing) = (file.interfaces.clone(), file.sees_outgoing);
    Ok((rule, Subscription { interest, interfaces, sees_outgoing }))
}

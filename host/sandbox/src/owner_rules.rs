//! OwnerRules: all rules of one owner, which fit into what each owner has of the dispatch for itself.

use postern_core::{DispatchPart, TenantId, TooManyOverlaps};

use crate::loaded_rule::{LoadedRule, ReadyRule};

/// All rules of one owner, of which a generation can be made together with others'. Whether an owner's rules fit depends on no others.
pub struct OwnerRules {
    pub(crate) owner: TenantId,
    pub(crate) rules: Vec<LoadedRule>,
    pub(crate) part: DispatchPart,
}

impl OwnerRules {
    /// These rules, which are all of `owner`.
    ///
    /// # Errors
    /// If what they watch overlaps in too many ways. Some of the rules in force, held to less than before, never do.
    pub fn new(owner: TenantId, rules: Vec<ReadyRule>) -> Result<Self, TooManyOverlaps> {
        let (rules, subscriptions) = rules.into_iter().map(|ready| (ready.rule, ready.subscription)).unzip();
        let part = DispatchPart::new(&owner, subscriptions)?;
        Ok(Self { owner, rules, part })
    }
}

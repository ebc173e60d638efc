//! ShareOwner: whose a share of a processor is.

use std::borrow::Cow;

use postern_core::{RuleId, Scope, TenantId};

/// Whose share it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ShareOwner {
    /// All rules of a tenant that open doors.
    Tenant(TenantId),
    /// All rules of a tenant that are on trial.
    OnTrial(TenantId),
    /// A single rule.
    Rule(RuleId),
}

impl ShareOwner {
    /// Whose packets are dropped when it is used up.
    pub(crate) const fn tenant(&self) -> &TenantId {
        match self {
            Self::Tenant(tenant) | Self::OnTrial(tenant) => tenant,
            Self::Rule(rule) => &rule.tenant,
        }
    }

    /// What a report about it is about.
    pub(crate) const fn scope(&self) -> Scope<'_> {
        match self {
            Self::Tenant(tenant) | Self::OnTrial(tenant) => Scope::Tenant(Cow::Borrowed(tenant)),
            Self::Rule(rule) => Scope::Rule(Cow::Borrowed(rule)),
        }
    }
}

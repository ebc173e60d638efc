//! ShareOwner: whose a share of a processor is.

use postern_core::{RuleId, TenantId};

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

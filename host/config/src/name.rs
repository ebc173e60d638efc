//! Name: what a tenant, a rule or a door may be called.

use postern_core::TenantId;
use thiserror::Error;

/// The message about a name that is not valid.
pub(crate) const NAME_RULE: &str = "a name is 1 to 64 letters, digits, `-` and `_`";

/// Why a name is that of no tenant besides the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotATenant {
    /// It is the host's.
    #[error(
        "{} is the owner of the host's own rules, which `posternd check` without --tenant checks",
        TenantId::HOST
    )]
    Host,
    /// No tenant can be called so.
    #[error("{NAME_RULE}")]
    NoName,
}

/// Whether a tenant, a rule or a door may be called this.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The tenant of this name, which is also fit to be a part of a file's name.
///
/// # Errors
/// If no tenant besides the host can have it.
pub fn tenant_named(name: &str) -> Result<TenantId, NotATenant> {
    match name {
        TenantId::HOST => Err(NotATenant::Host),
        name if is_name(name) => Ok(TenantId::new(name)),
        _ => Err(NotATenant::NoName),
    }
}

/// Whether a rule can have this name, which is also fit to be a part of a file's name.
///
/// # Errors
/// What such a name is.
pub fn rule_named(name: &str) -> Result<(), NotARule> {
    if is_name(name) { Ok(()) } else { Err(NotARule) }
}

/// Why a name is that of no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{NAME_RULE}")]
pub struct NotARule;

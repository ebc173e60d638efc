//! Name: what a tenant, a rule or a door may be called.

/// The message about a name that is not valid.
pub(crate) const NAME_RULE: &str = "a name is 1 to 64 letters, digits, `-` and `_`";

/// Whether a tenant, a rule or a door may be called this.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

//! Stock modules: embedded in the daemon, so that the binary alone is useful.

/// The names of the stock modules.
pub const NAMES: [&str; 1] = ["sequence"];

/// The stock module of this name; empty for any other.
#[must_use]
pub fn bytes(name: &str) -> &'static [u8] {
    match name {
        "sequence" => include_bytes!(env!("POSTERN_RULE_SEQUENCE")),
        _ => &[],
    }
}

//! Stock modules: embedded in the daemon, so that the binary alone is useful.

/// The stock module of this name; empty for any other.
#[must_use]
pub fn bytes(name: &str) -> &'static [u8] {
    match name {
        "sequence" => include_bytes!(env!("POSTERN_RULE_SEQUENCE")),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use postern_core::ModuleSource;

    use super::bytes;

    #[test]
    fn every_stock_module_is_embedded() {
        for name in ModuleSource::STOCK {
            assert!(!bytes(name).is_empty(), "{name}");
        }
    }
}

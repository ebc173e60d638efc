//! The one law of imports, read from cargo's own list of packages.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// These know nothing of Postern's parts, so everybody may import them.
const LEAVES: [&str; 4] = ["postern-confine", "postern-protocol", "postern-state", "postern-text"];
/// Decides, and imports no other crate of ours.
const CORE: &str = "postern-core";
/// What the configuration says; it imports core.
const CONFIG: &str = "postern-config";
/// Puts the parts together, so it imports all of them.
const DAEMON: &str = "posternd";

/// Packages of this workspace by name, each with those of the workspace that it is built of.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--offline", "--no-deps", "--format-version", "1", "--manifest-path"];
    let output = Command::new(cargo).args(arguments).arg(manifest).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    // What tests and build scripts need is not part of what runs.
    let is_built_in = |dependency: &&Value| dependency["kind"].is_null() && dependency["path"].is_string();
    let imports = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        (text(&package["name"]), dependencies.filter(is_built_in).map(|it| text(&it["name"])).collect())
    };
    packages.iter().map(imports).collect()
}

/// Whether a part of the daemon may import another.
fn may_import(part: &str, other: &str) -> bool {
    match part {
        DAEMON => true,
        CORE => false,
        CONFIG => other == CORE || LEAVES.contains(&other),
        _ if LEAVES.contains(&part) => LEAVES.contains(&other),
        _ => other == CORE || other == CONFIG || LEAVES.contains(&other),
    }
}

#[test]
fn no_part_imports_what_it_may_not() {
    let imports = imports();
    let parts = [
        "capture", "code", "config", "core", "doorman", "knockd", "ledger", "protocol", "runner", "sandbox",
        "state", "text",
    ];
    for part in parts {
        assert!(imports.contains_key(&format!("postern-{part}")), "there is no postern-{part}: {imports:?}");
    }
    // Of all that the daemon is made of, directly or not.
    let (mut reached, mut next) = (BTreeSet::new(), vec![DAEMON.to_owned()]);
    while let Some(part) = next.pop() {
        if reached.insert(part.clone()) {
            next.extend(imports[&part].iter().cloned());
        }
    }
    let wrong: Vec<_> = reached
        .iter()
        .flat_map(|part| imports[part].iter().map(move |other| (part.as_str(), other.as_str())))
        .filter(|(part, other)| !may_import(part, other))
        .collect();
    assert!(wrong.is_empty(), "against the law of imports: {wrong:?}");
    for part in parts {
        assert!(reached.contains(&format!("postern-{part}")), "the daemon has no {part}");
    }
}

#[test]
fn nobody_imports_the_daemon() {
    let wrong: Vec<_> = imports().into_iter().filter(|(_, others)| others.contains(DAEMON)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

//! What rules depend on can be published as it is, and nothing else can.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use serde_json::Value;

use crate::modules::root;

/// The crates, and what each must bring besides its sources.
const PUBLISHED: [(&str, &[&str]); 3] = [
    ("postern-lines", &[]),
    // The contract, of which its bindings are made.
    ("postern-sdk", &["wit/rule.wit"]),
    ("postern-sdk-build", &[]),
];
/// The most keywords and categories that a crate may have.
const MOST_WORDS: usize = 5;

fn cargo(arguments: &[&str]) -> Output {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// All packages of this workspace by name.
fn packages() -> BTreeMap<String, Value> {
    let output = cargo(&["metadata", "--offline", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().clone();
    packages.into_iter().map(|package| (package["name"].as_str().unwrap().to_owned(), package)).collect()
}

#[test]
fn only_what_rules_depend_on() {
    let packages = packages();
    // None: to any registry. An empty list: to none.
    let published: Vec<_> =
        packages.iter().filter(|(_, it)| it["publish"].is_null()).map(|(name, _)| name).collect();
    assert_eq!(published, PUBLISHED.map(|(name, _)| name));
    for (name, _) in PUBLISHED {
        let package = &packages[name];
        for field in ["description", "license", "readme", "rust_version"] {
            assert!(package[field].is_string(), "{name} has no {field}");
        }
        for field in ["keywords", "categories"] {
            let words = package[field].as_array().unwrap();
            assert!((1..=MOST_WORDS).contains(&words.len()), "{name}: {field}: {words:?}");
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let of = dependency["name"].as_str().unwrap();
            let is_ours = dependency["path"].is_string();
            assert!(dependency["req"] != "*", "{name}: {of} has no version");
            assert!(!is_ours || packages[of]["publish"].is_null(), "{name}: {of} is not published");
        }
    }
}

#[test]
fn with_all_that_belongs_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().to_str().unwrap();
    // With what is in the folders now, and without building it once more.
    let mut arguments = vec!["package", "--offline", "--allow-dirty", "--no-verify", "--target-dir", target];
    arguments.extend(PUBLISHED.iter().flat_map(|(name, _)| ["--package", *name]));
    cargo(&arguments);
    let packages = packages();
    for (name, files) in PUBLISHED {
        let folder = format!("{name}-{}", packages[name]["version"].as_str().unwrap());
        let packed = dir.path().join(format!("package/{folder}.crate"));
        let listed = Command::new("tar").arg("-tzf").arg(&packed).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        for file in ["src/lib.rs", "README.md", "LICENSE-MIT", "LICENSE-APACHE"].iter().chain(files) {
            assert!(
                listed.lines().any(|line| line == format!("{folder}/{file}")),
                "{name} lacks {file}:\n{listed}"
            );
        }
    }
}

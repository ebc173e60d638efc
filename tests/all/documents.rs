//! The examples in the documents, as a reader would copy them: each is taken as it stands.

use std::fs;

use postern_config::{Activity, Config};
use posternd::load_rules;

use crate::world::modules;

const README: &str = include_str!("../../README.md");
const CONFIG: &str = include_str!("../../host/docs/config.md");
const DIST: &str = include_str!("../../host/dist/postern.toml");

/// The indented lines below the first line that contains `heading`.
fn example(document: &str, heading: &str) -> String {
    let mut lines = document.lines().skip_while(|line| !line.contains(heading)).skip(1);
    let is_code = |line: &&str| line.starts_with("    ") || line.is_empty();
    let first =
        lines.find(|line| line.starts_with("    ")).unwrap_or_else(|| panic!("no example below {heading}"));
    let rest = lines.take_while(is_code).map(|line| line.strip_prefix("    ").unwrap_or(line));
    std::iter::once(first.trim_start()).chain(rest).collect::<Vec<_>>().join("\n")
}

/// Takes a configuration as the daemon does.
fn take(postern: &str, rules: &[(&str, &str)]) -> Config {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("postern.toml"), postern).unwrap();
    fs::create_dir(dir.path().join("rules")).unwrap();
    // Of the tenant in the example.
    fs::create_dir_all(dir.path().join("tenants/web")).unwrap();
    for (name, text) in rules {
        fs::write(dir.path().join("rules").join(format!("{name}.toml")), text).unwrap();
    }
    let config = Config::load(&dir.path().join("postern.toml"))
        .unwrap_or_else(|mistakes| panic!("{mistakes}\n{postern}\n{rules:?}"));
    if let Err(mistakes) = load_rules(1, &config, &modules(), &Activity::default()) {
        panic!("{mistakes}\n{rules:?}");
    }
    config
}

#[test]
fn the_first_configuration_is_right_on_any_machine() {
    let postern = example(README, "`/etc/postern/postern.toml`:");
    let rule = example(README, "`/etc/postern/rules/ssh.toml`:");
    // Few machines have an eth0: an operator who copies it is locked out.
    assert_eq!(take(&postern, &[("ssh", &rule)]).interfaces, ["any"]);
    assert_eq!(take(DIST, &[("ssh", &rule)]).interfaces, ["any"]);
}

#[test]
fn every_key_is_shown_as_it_is_taken() {
    // Few machines have such a program, and those without the package no such account.
    let postern = example(CONFIG, "## postern.toml")
        .replace("/usr/local/bin/lamp", "/bin/true")
        .replace("= \"postern\"", "= \"nobody\"");
    let rule = example(CONFIG, "## rules/NAME.toml");
    let config = take(&postern, &[("ssh", &rule)]);
    assert!(config.doors.len() >= 3 && config.rules.len() == 1, "{config:?}");
}

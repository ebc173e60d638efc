//! The examples in the documents, as a reader would copy them: each is taken as it stands.

use std::fs;
use std::path::{Path, PathBuf};

use postern_config::{Activity, Config, Mistakes};
use posternd::load_rules;

use crate::modules::root;
use crate::world::modules;

const README: &str = include_str!("../../README.md");
const GUEST_SDK: &str = include_str!("../../guest-sdk/README.md");
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

/// Reads a configuration as the daemon does.
fn read(postern: &str, rules: &[(&str, &str)]) -> Result<Config, Mistakes> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("postern.toml"), postern).unwrap();
    fs::create_dir(dir.path().join("rules")).unwrap();
    // Of the tenant in the example.
    fs::create_dir_all(dir.path().join("tenants/web")).unwrap();
    for (name, text) in rules {
        fs::write(dir.path().join("rules").join(format!("{name}.toml")), text).unwrap();
    }
    Config::load(&dir.path().join("postern.toml"))
}

/// Takes a configuration as the daemon does.
fn take(postern: &str, rules: &[(&str, &str)]) -> Config {
    let config = read(postern, rules).unwrap_or_else(|mistakes| panic!("{mistakes}\n{postern}\n{rules:?}"));
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
        .replace("/usr/local/bin/tell", "/bin/true")
        .replace("= \"postern\"", "= \"nobody\"");
    let rule = example(CONFIG, "## rules/NAME.toml");
    let config = take(&postern, &[("ssh", &rule)]);
    assert!(config.doors.len() >= 3 && config.rules.len() == 1, "{config:?}");
}

#[test]
fn the_limits_of_rules_are_what_the_page_for_their_authors_says() {
    let postern = example(README, "`/etc/postern/postern.toml`:");
    let rule = example(README, "`/etc/postern/rules/ssh.toml`:");
    let with = |key: &str, value: &str| {
        let (table, key) = key.split_once('.').unwrap();
        let value = if key == "entries" { value.to_owned() } else { format!("\"{value}\"") };
        read(&postern, &[("ssh", &format!("{rule}\n[{table}]\n{key} = {value}\n"))])
    };
    let rows = GUEST_SDK.lines().filter(|line| line.starts_with("| "));
    let rows: Vec<Vec<_>> = rows.map(|line| line.split('|').map(str::trim).collect()).collect();
    // What is a step beyond the least and the most.
    for (key, below, above) in [
        ("limits.cpu", "0ms", "101ms"),
        ("limits.share", "0%", "101%"),
        ("limits.memory", "63KiB", "257MiB"),
        ("memory.entries", "0", "1048577"),
        ("memory.bytes", "63KiB", "257MiB"),
    ] {
        let row =
            rows.iter().find(|row| row.get(5).is_some_and(|place| place.starts_with(&format!("`{key}`"))));
        let [_, _, default, least, most, ..] = row.unwrap_or_else(|| panic!("no row for {key}"))[..] else {
            panic!("{key}")
        };
        for value in [least, most] {
            with(key, value).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        }
        for value in [below, above] {
            assert!(with(key, value).is_err(), "{key} = {value} is refused");
        }
        let limits = |config: Config| (config.rules[0].limits, config.rules[0].share, config.rules[0].bounds);
        let unsaid = read(&postern, &[("ssh", &rule)]).unwrap();
        assert_eq!(limits(with(key, default).unwrap()), limits(unsaid), "{key} = {default}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let pages = pages(&root());
    assert!(pages.len() > 25, "{pages:?}");
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        // Indented lines are code.
        let links =
            text.lines().filter(|line| !line.starts_with("    ")).flat_map(|line| line.split("](").skip(1));
        for link in links.filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            let is_there = match heading {
                "" => file.exists(),
                heading => fs::read_to_string(&file).is_ok_and(|text| has_heading(&text, heading)),
            };
            if !is_there {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "these lead nowhere:\n{}", wrong.join("\n"));
}

/// All pages of the repository, without what was built or fetched.
fn pages(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let is_ours = !name.to_string_lossy().starts_with('.') && name != "target" && name != "node_modules";
        if entry.file_type().unwrap().is_dir() && is_ours {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|it| it == "md") {
            found.push(path);
        }
    }
    found
}

/// Whether a page has a heading of this anchor: its letters and digits, with dashes between words.
fn has_heading(text: &str, anchor: &str) -> bool {
    let headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings.map(|heading| heading.to_lowercase().replace(' ', "-")).any(|heading| {
        heading.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).eq(anchor.chars())
    })
}

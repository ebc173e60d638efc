//! The recipes, as their build scripts make them: each says what its scenarios expect, and takes the settings of its rule file.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use postern_config::Config;
use postern_tests::capture_file::Pcap;
use postern_tests::examples;
use postern_tests::frame::udp;

use crate::modules::root;

/// The doors that rule files of recipes name.
const DOORS: &str = "interfaces = [\"lo\"]\n[doors.ssh]\nguard = \"tcp/22\"\nfor = \"2h\"\n[doors.scanners]\nset = \"inet filter scanners\"\nfor = \"1h\"\n";

/// Calls `posternd rule`: whether it was content, and what it printed.
fn rule(arguments: &[&str], files: &[&Path]) -> (bool, String) {
    let posternd = Path::new(env!("CARGO_BIN_EXE_posternd"));
    // Code of the same bytes is compiled once for all runs.
    let code = posternd.ancestors().nth(2).unwrap().join("guests/code");
    let output =
        Command::new(posternd).arg("rule").args(arguments).args(files).env("CACHE_DIRECTORY", code).output();
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

fn folder(name: &str) -> PathBuf {
    root().join("rules/recipes").join(name)
}

/// Builds a recipe and plays all its scenarios to it; then takes its rule file, with a secret in the place of one that is left to fill in.
fn is_as_its_scenarios_say(name: &str, secret: Option<&str>) {
    let Some(module) = examples::recipe(name) else { return };
    let dir = tempfile::tempdir().unwrap();
    let wasm = dir.path().join(name).with_extension("wasm");
    fs::write(&wasm, module).unwrap();
    let (is_right, said) = rule(&["test", "--module"], &[&wasm, &folder(name)]);
    assert!(is_right, "{name}: {said}");

    let file = folder(name).join(name).with_extension("toml");
    let (is_taken, said) = rule(&["inspect", "--settings"], &[&file, &wasm]);
    assert_eq!(is_taken, secret.is_none(), "{name}: {said}");
    let mut text = fs::read_to_string(&file).unwrap();
    if let Some(key) = secret {
        let line = 1 + text.lines().position(|line| line.starts_with(key)).unwrap();
        let refuses = format!("refuses     {}:{line}: settings.{key}: write ", file.display());
        assert!(said.contains(&refuses), "{name}: {said}");
        text = text.replacen("\"\"", "\"0123456789abcdef0123456789abcdef\"", 1);
    }
    fs::create_dir(dir.path().join("rules")).unwrap();
    let file = dir.path().join("rules").join(name).with_extension("toml");
    fs::write(&file, text).unwrap();
    fs::write(dir.path().join("postern.toml"), DOORS).unwrap();
    let (is_taken, said) = rule(&["inspect", "--settings"], &[&file, &wasm]);
    assert!(is_taken, "{name}: {said}");
    let config =
        Config::load(&dir.path().join("postern.toml")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(config.rules.len(), 1, "{name}");
}

#[test]
fn decoy() {
    is_as_its_scenarios_say("decoy", None);
}

#[test]
fn networks() {
    is_as_its_scenarios_say("networks", None);
}

#[test]
fn office_hours() {
    is_as_its_scenarios_say("office-hours", None);
}

#[test]
fn office_hours_are_right_on_a_machine_that_begins_in_1970() {
    let Some(module) = examples::recipe("office-hours") else { return };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("office-hours.wasm"), module).unwrap();
    let knock = udp(SocketAddr::from(([203, 0, 113, 7], 1)), SocketAddr::from(([192, 0, 2, 1], 7000)), b"");
    // Half past midnight, which is seven in the evening of the day before where clocks are five and a half hours behind.
    fs::write(at("a.pcap"), Pcap::ethernet().frame(30 * 60 * 1_000_000, &knock).into_bytes()).unwrap();
    for (days, is_open) in [("wed", true), ("mon tue thu fri sat sun", false)] {
        let settings =
            format!("port = 7000\ndays = \"{days}\"\nfrom = \"19:00\"\nto = \"19:30\"\noffset = \"-05:30\"");
        let rule = format!("module = \"./office-hours.wasm\"\ndoor = \"ssh\"\n[settings]\n{settings}\n");
        fs::write(at("office-hours.toml"), rule).unwrap();
        let posternd = Command::new(env!("CARGO_BIN_EXE_posternd"))
            .args(["replay", "--no-strict-modes", "--rules", ".", "a.pcap"])
            .current_dir(dir.path())
            .env("CACHE_DIRECTORY", at("code"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&posternd.stdout).into_owned();
        assert!(posternd.status.success() && said.contains("ssh is open") == is_open, "{days}: {posternd:?}");
    }
}

#[test]
fn payload_match() {
    is_as_its_scenarios_say("payload-match", Some("secret"));
}

#[test]
fn ping_length() {
    is_as_its_scenarios_say("ping-length", None);
}

#[test]
fn syn_sequence() {
    is_as_its_scenarios_say("syn-sequence", Some("key"));
}

#[test]
fn every_recipe_is_built_tested_and_on_their_page() {
    let names: BTreeSet<_> = fs::read_dir(folder(""))
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, examples::RECIPES.map(str::to_owned).into());
    let page = fs::read_to_string(folder("README.md")).unwrap();
    for name in names {
        assert!(page.contains(&format!("[{name}]({name}/README.md)")), "{name}");
        for file in ["README.md", "build.sh", &format!("{name}.toml"), &format!("{name}.scenario")] {
            assert!(folder(&name).join(file).is_file(), "{name}/{file}");
        }
    }
}

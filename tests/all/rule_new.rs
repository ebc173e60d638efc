//! What `posternd rule new` makes builds and passes its test as it stands, in each language whose compiler is here.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use postern_tests::compilers::{self, NOT_INSTALLED, target_dir};
use postern_tests::skip;

use crate::modules::root;

/// A command in a folder.
pub(crate) fn command(program: &Path, dir: &Path) -> Command {
    let mut command = compilers::command(program, &compilers::toolchains());
    command
        .current_dir(dir)
        .env("CARGO_TARGET_DIR", target_dir().join("guests/new"))
        .env("CARGO_NET_OFFLINE", "true")
        // Code of the same bytes is compiled once for all runs.
        .env("CACHE_DIRECTORY", target_dir().join("guests/code"));
    command
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn builds_and_passes_its_test(language: &str) {
    let posternd = Path::new(env!("CARGO_BIN_EXE_posternd"));
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(target_dir().join("guests")).unwrap();
    let mut new = command(posternd, dir.path());
    new.args(["rule", "new", "office-hours", "--lang", language]);
    if language == "rust" {
        new.arg("--sdk").arg(root().join("guest-sdk"));
    }
    let made = new.output().unwrap();
    assert!(made.status.success(), "{language}: {}", said(&made));
    let folder = dir.path().join("office-hours");
    let built = command(&folder.join("build.sh"), &folder).arg("office-hours.wasm").output().unwrap();
    if built.status.code() == Some(NOT_INSTALLED) {
        return skip(said(&built).trim());
    }
    assert!(built.status.success(), "{language}: {}", said(&built));
    let tested = command(posternd, &folder).args(["rule", "test", "."]).output().unwrap();
    assert!(tested.status.success(), "{language}: {}", said(&tested));
    // A rule that was broken by a change does not pass.
    let scenario = folder.join("office-hours.scenario");
    let other = fs::read_to_string(&scenario).unwrap().replace("    open\n", "    ignore\n");
    fs::write(&scenario, other).unwrap();
    let tested = command(posternd, &folder).args(["rule", "test", "."]).output().unwrap();
    assert_eq!(tested.status.code(), Some(1), "{language}: {}", said(&tested));
    let again = command(posternd, dir.path())
        .args(["rule", "new", "office-hours", "--lang", language])
        .output()
        .unwrap();
    let told = "office-hours: is there already and is not empty; name another folder with --dir\n";
    assert_eq!((again.status.code(), said(&again).as_str()), (Some(2), told));
}

#[test]
fn assemblyscript() {
    builds_and_passes_its_test("assemblyscript");
}

#[test]
fn c() {
    builds_and_passes_its_test("c");
}

#[test]
fn cpp() {
    builds_and_passes_its_test("cpp");
}

#[test]
fn go() {
    builds_and_passes_its_test("go");
}

#[test]
fn javascript() {
    builds_and_passes_its_test("javascript");
}

#[test]
fn python() {
    builds_and_passes_its_test("python");
}

#[test]
fn rust() {
    builds_and_passes_its_test("rust");
}

#[test]
fn typescript() {
    builds_and_passes_its_test("typescript");
}

#[test]
fn web_assembly_text() {
    builds_and_passes_its_test("wat");
}

#[test]
fn zig() {
    builds_and_passes_its_test("zig");
}

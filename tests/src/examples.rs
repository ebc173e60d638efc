//! Examples: the modules of `rules/examples` and `rules/recipes`, built when they are needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compilers::{self, NOT_INSTALLED, target_dir};
use crate::skip;

/// The languages that there are examples in.
pub const LANGUAGES: [&str; 10] =
    ["assemblyscript", "c", "cpp", "go", "javascript", "python", "rust", "typescript", "wat", "zig"];

/// The recipes.
pub const RECIPES: [&str; 6] =
    ["decoy", "networks", "office-hours", "payload-match", "ping-length", "syn-sequence"];

/// How a language is written, and where its example is below `rules/examples/LANGUAGE`.
///
/// # Panics
/// If it is none of [`LANGUAGES`].
#[must_use]
pub fn described(language: &str) -> (&'static str, &'static str) {
    match language {
        "assemblyscript" => ("AssemblyScript", "knock.ts"),
        "c" => ("C", "knock.c"),
        "cpp" => ("C++", "knock.cpp"),
        "go" => ("Go", "knock.go"),
        "javascript" => ("JavaScript", "knock.js"),
        "python" => ("Python", "knock.py"),
        "rust" => ("Rust", "src/lib.rs"),
        "typescript" => ("TypeScript", "knock.ts"),
        "wat" => ("WebAssembly text", "knock.wat"),
        "zig" => ("Zig", "knock.zig"),
        other => panic!("there is no example in {other}"),
    }
}

/// The example in this language as its compiler makes it. Where there is none, the test is [skipped](skip).
///
/// # Panics
/// If it cannot be built, or as [`skip`] does.
#[must_use]
pub fn module(language: &str) -> Option<Vec<u8>> {
    built(language).map(|module| fs::read(module).expect("it was built"))
}

/// The file of [`module`].
///
/// # Panics
/// As there.
#[must_use]
pub fn built(language: &str) -> Option<PathBuf> {
    build(language, &format!("examples/{language}"))
}

/// The recipe of this name, as [`module`] is the example in a language.
///
/// # Panics
/// As [`module`] does.
#[must_use]
pub fn recipe(name: &str) -> Option<Vec<u8>> {
    let place = format!("recipes/{name}");
    build(&place, &place).map(|module| fs::read(module).expect("it was built"))
}

/// What the script builds by a name, at a place.
fn build(name: &str, place: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests.sh");
    let target = target_dir();
    let mut command = compilers::command(script, &compilers::toolchains());
    command.args(["--build", name]).env("CARGO_TARGET_DIR", &target);
    let output = command.output().expect("the script is there");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(NOT_INSTALLED) {
        skip(said.trim());
        return None;
    }
    assert!(output.status.success(), "{name}: {said}");
    Some(target.join("guests").join(place).with_extension("wasm"))
}

/// This compiler, as `tests/toolchains.sh` has put it into the build folder or the machine has it. Where there is none, the test is
/// [skipped](skip).
///
/// # Panics
/// As [`skip`] does.
#[must_use]
pub fn compiler(name: &str) -> Option<Command> {
    let path: Vec<_> = std::env::split_paths(&compilers::path()).collect();
    // Zig comes as a package of Python's.
    let (program, first) = if name == "zig" { ("python3", &["-m", "ziglang"][..]) } else { (name, &[][..]) };
    let is_here = match name {
        "zig" => compilers::toolchains().join("python/ziglang").is_dir(),
        _ => path.iter().any(|dir| dir.join(program).is_file()),
    };
    if !is_here {
        skip(&format!("there is no `{name}`; see tests/toolchains.sh"));
        return None;
    }
    let found = path.iter().map(|dir| dir.join(program)).find(|file| file.is_file());
    let mut command = compilers::command(found.expect("Python is here"), &compilers::toolchains());
    command.args(first).envs([("GOOS", "wasip1"), ("GOARCH", "wasm")]);
    Some(command)
}

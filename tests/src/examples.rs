//! Examples: the modules of `rules/examples` and `rules/recipes`, built when they are needed.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::compilers::{self, NOT_INSTALLED, target_dir};
use crate::skip;

/// The languages that there are examples in.
pub const LANGUAGES: [&str; 10] =
    ["assemblyscript", "c", "cpp", "go", "javascript", "python", "rust", "typescript", "wat", "zig"];

/// The recipes.
pub const RECIPES: [&str; 6] =
    ["decoy", "networks", "office-hours", "payload-match", "ping-length", "syn-sequence"];

/// The example in this language as its compiler makes it. Where there is none, the test is [skipped](skip).
///
/// # Panics
/// If it cannot be built, or as [`skip`] does.
#[must_use]
pub fn module(language: &str) -> Option<Vec<u8>> {
    built(language, &format!("examples/{language}"))
}

/// The recipe of this name, as [`module`] is the example in a language.
///
/// # Panics
/// As [`module`] does.
#[must_use]
pub fn recipe(name: &str) -> Option<Vec<u8>> {
    let place = format!("recipes/{name}");
    built(&place, &place)
}

/// What the script builds by a name, at a place.
fn built(name: &str, place: &str) -> Option<Vec<u8>> {
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
    Some(fs::read(target.join("guests").join(place).with_extension("wasm")).expect("it was built"))
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

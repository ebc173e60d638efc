//! Examples: the modules of `rules/examples` and `rules/recipes`, built when they are needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::skip;

/// The languages that there are examples in.
pub const LANGUAGES: [&str; 10] =
    ["assemblyscript", "c", "cpp", "go", "javascript", "python", "rust", "typescript", "wat", "zig"];

/// The recipes.
pub const RECIPES: [&str; 6] =
    ["decoy", "networks", "office-hours", "payload-match", "ping-length", "syn-sequence"];

/// The status of a build script that finds no compiler, as a shell's is for a command that is not there.
const NOT_INSTALLED: i32 = 127;

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
    let mut command = Command::new(script);
    command.args(["--build", name]).env("CARGO_TARGET_DIR", &target);
    // What the cargo outside tells the tests is not for the one inside.
    for (variable, _) in std::env::vars_os() {
        let is_cargos = |variable: &str| variable.starts_with("CARGO_PKG_") || variable.starts_with("RUST");
        if variable.to_str().is_some_and(is_cargos) && variable != "RUSTUP_HOME" {
            command.env_remove(variable);
        }
    }
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
    let toolchains = target_dir().join("toolchains");
    let said = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("toolchains.sh"))
        .arg("--path")
        .env("CARGO_TARGET_DIR", target_dir())
        .output()
        .expect("the script is there");
    let own = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<_> = std::env::split_paths(&path).chain(std::env::split_paths(&own)).collect();
    // Zig comes as a package of Python's.
    let (program, first) = if name == "zig" { ("python3", &["-m", "ziglang"][..]) } else { (name, &[][..]) };
    let is_here = match name {
        "zig" => toolchains.join("python/ziglang").is_dir(),
        _ => path.iter().any(|dir| dir.join(program).is_file()),
    };
    if !is_here {
        skip(&format!("there is no `{name}`; see tests/toolchains.sh"));
        return None;
    }
    let found = path.iter().map(|dir| dir.join(program)).find(|file| file.is_file());
    let mut command = Command::new(found.expect("Python is here"));
    command
        .args(first)
        .env("PATH", std::env::join_paths(path).expect("it came from one"))
        .env("PYTHONPATH", toolchains.join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("ZIG_GLOBAL_CACHE_DIR", toolchains.join("zig-cache"))
        .env("ZIG_LOCAL_CACHE_DIR", toolchains.join("zig-cache"))
        .env("GOCACHE", toolchains.join("go-cache"))
        .envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "")]);
    Some(command)
}

/// Cargo's, which it marks if it made it itself; without a mark: target/PROFILE/deps/TEST.
fn target_dir() -> PathBuf {
    let program = std::env::current_exe().expect("a test has a file");
    let marked = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked.or_else(|| program.ancestors().nth(3)).expect("cargo built this test").to_owned()
}

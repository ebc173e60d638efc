//! Modules to test with: a rule in several languages.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, io};

pub(crate) use postern_tests::guest::{guest, judging};
use postern_tests::skip;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The status of a build script that finds no compiler, as a shell's is for a command that is not there.
const NOT_INSTALLED: i32 = 127;

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The rule in C, built by its own script; the test is skipped where there is no compiler.
pub(crate) fn knock_c() -> Option<Vec<u8>> {
    built(|module| Command::new(root().join("rules/examples/c/build.sh")).arg(module).output())
}

/// The rule in Go, as a core module; the test is skipped where there is no compiler.
pub(crate) fn knock_go() -> Option<Vec<u8>> {
    let go = toolchain("go/bin/go")?;
    built(|module| {
        Command::new(go)
            .args(["build", "-buildmode=c-shared", "-ldflags=-s -w", "-trimpath", "-o"])
            .args([module, &examples().join("go/knock.go")])
            .envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "")])
            .env("GOCACHE", toolchains().join("go-cache"))
            .output()
    })
}

/// The rule in Python, as a component with an interpreter; the test is skipped where there is no componentize-py.
pub(crate) fn knock_python() -> Option<Vec<u8>> {
    let componentize_py = toolchain("bin/componentize-py")?;
    built(|module| {
        // A copy, because Python writes what it has compiled beside what it compiles.
        fs::copy(examples().join("python/knock.py"), module.with_file_name("rule.py"))?;
        Command::new(componentize_py)
            .arg("-d")
            .arg(root().join("guest-sdk/wit"))
            .args(["-w", "rule", "componentize", "--stub-wasi", "rule", "-o"])
            .arg(module)
            .current_dir(module.with_file_name(""))
            .env("PYTHONPATH", toolchains())
            .output()
    })
}

/// What a compiler makes in a place of its own, as tests run side by side; a compiler that fails is no reason to skip.
fn built(compile: impl FnOnce(&Path) -> io::Result<Output>) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("rule.wasm");
    let output = compile(&module).unwrap();
    if output.status.code() == Some(NOT_INSTALLED) {
        skip(&String::from_utf8_lossy(&output.stderr));
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(fs::read(module).unwrap())
}

/// A compiler that `tests/toolchains.sh` has put into the build folder.
fn toolchain(name: &str) -> Option<PathBuf> {
    let program = toolchains().join(name);
    if program.is_file() {
        return Some(program);
    }
    skip(&format!("there is no {}; see tests/toolchains.sh", program.display()));
    None
}

fn toolchains() -> PathBuf {
    // The daemon stands in a folder of the build folder.
    Path::new(env!("CARGO_BIN_EXE_posternd")).ancestors().nth(2).unwrap().join("toolchains")
}

fn examples() -> PathBuf {
    root().join("rules/examples")
}

/// The rule in WebAssembly text.
pub(crate) fn knock_wat() -> Vec<u8> {
    wat::parse_file(root().join("tests/guests/sequence.wat")).unwrap()
}

/// The component that a core module makes: the host calls it another way.
pub(crate) fn component(module: &[u8]) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root().join("guest-sdk/wit")).unwrap();
    let world = resolve.select_world(&[package], Some("rule")).unwrap();
    let mut module = module.to_vec();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

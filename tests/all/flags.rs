//! Flags: what is said of the example when its compiler was called with a wrong flag, or without one that it needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use postern_sandbox::{Loader, Runtime};
use postern_tests::examples;

use crate::modules::{clang, root};

/// What was done to the flags, what is said, and what the remedy names.
type Mistaken = (&'static [&'static str], &'static str, &'static str);

/// Has `command` make a module with each of these flags, and holds what is said of it to what should be.
fn check(mistaken: &[Mistaken], command: impl Fn(&[&str], &Path) -> Option<Command>) {
    let loader = Loader::new(Runtime::start().unwrap(), Arc::new(())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("knock.wasm");
    for (flags, words, remedy) in mistaken {
        let Some(mut command) = command(flags, &module) else { return };
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        let error = loader.load_bytes(&fs::read(&module).unwrap()).err();
        let error = error.unwrap_or_else(|| panic!("{command:?} makes a rule"));
        let said = error.to_string();
        assert!(said.starts_with(words), "{command:?}: {said}");
        assert!(error.remedy().contains(remedy), "{command:?}: {said}; {}", error.remedy());
    }
}

fn example(language: &str, file: &str) -> PathBuf {
    root().join("rules/examples").join(language).join(file)
}

fn sdk(language: &str) -> PathBuf {
    root().join("guest-sdk").join(language)
}

#[test]
fn of_clang() {
    let Some(clang) = clang("clang") else { return };
    check(
        &[
            (&["-c"], "is an object file", "clang and zig cc: no -c"),
            (&["-Wl,--import-memory"], "imports `env memory`", "clang and zig cc: no -Wl,--import-memory"),
            (
                &["-matomics", "-mbulk-memory", "-Wl,--shared-memory,--max-memory=131072"],
                "uses threads",
                "no -Wl,--shared-memory",
            ),
            (
                &["-matomics", "-mbulk-memory", "-Wl,--shared-memory,--import-memory,--max-memory=131072"],
                "uses threads",
                "no -Wl,--shared-memory",
            ),
        ],
        |flags, module| {
            let mut command = Command::new(&clang);
            // Not optimized: clang would call wasm-opt where there is one, which does not take every flag.
            command.args(["--target=wasm32", "-std=c11", "-O0", "-ffreestanding", "-nostdlib"]);
            command.args(["-Wl,--no-entry", "-Wno-unused-command-line-argument"]).args(flags);
            command.arg("-I").arg(sdk("c")).arg("-o").arg(module).arg(example("c", "knock.c"));
            Some(command)
        },
    );
}

#[test]
fn of_zig() {
    check(
        &[
            (&["-target", "wasm32-freestanding"], "does not export `configure`", "and -rdynamic"),
            (
                &["-rdynamic", "-target", "wasm64-freestanding"],
                "uses memory64",
                "Zig: -target wasm32-freestanding",
            ),
            (
                &["-rdynamic", "-target", "wasm32-wasi"],
                "imports `wasi_snapshot_preview1 ",
                "Zig: -target wasm32-freestanding",
            ),
            (
                &["-rdynamic", "-target", "wasm32-freestanding", "-mcpu=bleeding_edge"],
                "uses SIMD",
                "Zig: -mcpu=baseline-simd128",
            ),
        ],
        |flags, module| {
            let mut command = examples::compiler("zig")?;
            command
                .args(["build-exe", "-O", "ReleaseSmall", "-fstrip", "-fno-entry", "--dep", "postern"])
                .args(flags);
            command.arg(format!("-femit-bin={}", module.display()));
            command.arg(format!("-Mroot={}", example("zig", "knock.zig").display()));
            command.arg(format!("-Mpostern={}", sdk("zig").join("postern.zig").display()));
            Some(command)
        },
    );
}

#[test]
fn of_assembly_script() {
    const ABORT: &str = "abort=../../../guest-sdk/assemblyscript/postern/abort";
    check(
        &[
            (&[], "imports `env abort`", "--use abort=FILE/abort"),
            (
                &["--use", ABORT, "--importMemory"],
                "imports `env memory`",
                "AssemblyScript: no --importMemory",
            ),
            (
                &["--use", ABORT, "--enable", "threads", "--sharedMemory", "--maximumMemory", "9"],
                "uses threads",
                "AssemblyScript: no --enable threads and no --sharedMemory",
            ),
            (
                &["--use", ABORT, "--exportStart", "_start"],
                "is a program",
                "AssemblyScript: no --exportStart",
            ),
        ],
        |flags, module| {
            let mut command = examples::compiler("asc")?;
            command.args(["knock.ts", "-o"]).arg(module).args(flags);
            command.current_dir(example("assemblyscript", ""));
            Some(command)
        },
    );
}

#[test]
fn of_componentize_qjs() {
    check(
        &[
            (&["--stub-wasi"], "uses asynchronous functions", "componentize-qjs: --sync"),
            (&["--sync"], "imports `wasi:", "componentize-qjs: --sync --stub-wasi"),
        ],
        |flags, module| {
            let mut command = examples::compiler("componentize-qjs")?;
            command
                .arg("-w")
                .arg(sdk("wit"))
                .args(["-n", "rule", "-j"])
                .arg(example("javascript", "knock.js"));
            command.args(flags).arg("-o").arg(module);
            Some(command)
        },
    );
}

#[test]
fn of_go() {
    check(&[(&[], "is a program", "Go: -buildmode=c-shared")], |flags, module| {
        let mut command = examples::compiler("go")?;
        command.arg("build").args(flags).arg("-o").arg(module).arg(".").current_dir(example("go", ""));
        Some(command)
    });
}

//! Modules to test with: rules in three languages, and guests whose every misdeed is a few lines of text.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The rule in C, built by its own script; none, with the reason told, where there is no compiler and none is required.
pub(crate) fn knock_c() -> Option<Vec<u8>> {
    // Tests run side by side; each builds its own.
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("knock.wasm");
    let built = Command::new(root().join("rules/knock-c/build.sh")).arg(&module).output().unwrap();
    if built.status.success() {
        return Some(fs::read(module).unwrap());
    }
    let words = String::from_utf8_lossy(&built.stderr);
    assert!(std::env::var_os("CI").is_none(), "the rule in C cannot be built: {words}");
    eprintln!("skipped the rule in C: {words}");
    None
}

/// The rule in WebAssembly text.
pub(crate) fn knock_wat() -> Vec<u8> {
    wat::parse_file(root().join("rules/knock-wat/knock.wat")).unwrap()
}

/// A rule that watches UDP 7 and whose `judge` is these instructions; `$call` is where its arguments are.
///
/// At 96 stands the verdict `ignore`, which `judge` answers by returning 96.
pub(crate) fn judging(instructions: &str) -> Vec<u8> {
    guest("", "(i32.const 64)", instructions)
}

/// A rule with definitions of its own, and these instructions for `configure` and `judge`.
pub(crate) fn guest(definitions: &str, configure: &str, judge: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            {imports}
            (memory (export "memory") 1)
            (global $arena (mut i32) (i32.const 1024))
            (data (i32.const 16) "\01\00\07\00\07\00\00\00")
            (data (i32.const 64) "\00\00\00\00\10\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00")
            {definitions}
            (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
                (global.set $arena (i32.add (global.get $arena) (i32.and (i32.add (local.get $size) (i32.const 15)) (i32.const -8))))
                (i32.sub (global.get $arena) (i32.and (i32.add (local.get $size) (i32.const 15)) (i32.const -8))))
            (func (export "configure") (param i32 i32) (result i32)
                (global.set $arena (i32.const 1024))
                {configure})
            (func $judge (export "judge") (param $call i32) (result i32)
                (global.set $arena (i32.const 1024))
                {judge}))"#,
        // Imports must come before everything else.
        imports = definitions.lines().filter(|line| line.contains("(import ")).collect::<String>(),
        definitions = definitions.lines().filter(|line| !line.contains("(import ")).collect::<String>(),
    );
    wat::parse_str(text).unwrap()
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

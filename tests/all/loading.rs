//! Modules that are no rules: each is refused with what is wrong and what would be right.

use std::sync::Arc;

use expect_test::{Expect, expect};
use postern_sandbox::{Loader, Runtime};

use crate::modules::{component, guest, judging};

fn check(bytes: &[u8], expected: Expect) {
    let loader = Loader::new(Runtime::start().unwrap(), Arc::new(())).unwrap();
    let error = loader.load_bytes(bytes).err().expect("no rule");
    expected.assert_eq(&format!("{error}\n{}\n", error.remedy()));
}

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[test]
fn not_wasm() {
    check(
        b"",
        expect![[r#"
        is empty
        build the rule again, and look whether that fails
    "#]],
    );
    check(
        b"#!/bin/sh\n",
        expect![[r#"
        is a script
        compile the rule to WebAssembly
    "#]],
    );
    check(
        b"\x7fELF\x02\x01\x01",
        expect![[r#"
        is a program or library in machine code (ELF)
        compile the rule to WebAssembly
    "#]],
    );
    check(
        b"PK\x03\x04",
        expect![[r#"
        is a zip archive or a jar
        unpack it, and name the .wasm file in it
    "#]],
    );
    check(
        b"\x1f\x8b\x08",
        expect![[r#"
            is compressed (gzip)
            unpack it with gunzip, and name the .wasm file in it
        "#]],
    );
    check(
        b"\0asm",
        expect![[r#"
        is not valid WebAssembly: it ends after 4 bytes
        the file may be cut or damaged; build the rule again
    "#]],
    );
    check(
        b";; a rule (; of mine ;)\n(; for (; all ;) ;) (module)",
        expect![[r#"
        is WebAssembly text
        assemble it to binary first: wat2wasm or wasm-tools parse
    "#]],
    );
    check(
        b"(module)",
        expect![[r#"
            is WebAssembly text
            assemble it to binary first: wat2wasm or wasm-tools parse
        "#]],
    );
    check(
        b"\0asm\x02\0\0\0",
        expect![[r#"
            is WebAssembly of an unknown version [02, 00, 00, 00]
            compile the rule to WebAssembly
        "#]],
    );
    check(
        b"\0asm\x01\0\0\0\xff",
        expect![[r#"
            is not valid WebAssembly: malformed section id (at offset 0x8)
            the file may be cut or damaged; build the rule again
        "#]],
    );
}

#[test]
fn another_world() {
    check(
        &text("(module (memory (export \"memory\") 1) (func (export \"run\")) (func (export \"stop\")))"),
        expect![[r#"
            does not export `configure`; it exports: memory, run, stop
            build it for the world `rule` of postern:rule@0.2.0
        "#]],
    );
    check(
        &text("(component)"),
        expect![[r#"
            does not export `configure`; it exports: nothing
            build it for the world `rule` of postern:rule@0.2.0
        "#]],
    );
    let wrong_type = text(
        "(module (memory (export \"memory\") 1) (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable)
         (func (export \"configure\") (param i32 i32) (result i32) unreachable)
         (func (export \"judge\") (param i64) (result i32) unreachable))",
    );
    check(
        &wrong_type,
        expect![[r#"
            does not fit the contract: failed to classify export `judge`: failed to validate export for `judge`: type mismatch for function `judge`: expected `[I32] -> [I32]` but found `[I64] -> [I32]`
            build it for the world `rule` of postern:rule@0.2.0
        "#]],
    );
}

#[test]
fn another_version() {
    let import = "(import \"postern:rule/host@0.1.0\" \"log\" (func (param i32 i32 i32)))\n";
    check(
        &guest(import, "(i32.const 48)", "(i32.const 96)"),
        expect![[r#"
            imports `postern:rule/host@0.1.0`, which is version 0.1.0 of the contract
            this daemon speaks postern:rule@0.2.0; build the rule against that
        "#]],
    );
    check(
        &text("(component (import \"postern:rule/types@0.3.1\" (instance)))"),
        expect![[r#"
            imports `postern:rule/types@0.3.1`, which is version 0.3.1 of the contract
            this daemon speaks postern:rule@0.2.0; build the rule against that
        "#]],
    );
}

#[test]
fn a_program() {
    check(
        &text("(module (memory (export \"memory\") 1) (func (export \"_start\")))"),
        expect![[r#"
        is a program, which is started once (it exports `_start`)
        build a library: Go: -buildmode=c-shared; clang and zig cc for WASI: -mexec-model=reactor; Rust: crate-type = ["cdylib"]; Zig: -fno-entry
    "#]],
    );
}

/// A feature that is not offered is reported by its name, with the way to switch it off, whether it stands in a module or in one within a component.
#[test]
fn features_that_no_rule_gets() {
    let cases = [
        ("SIMD", "-mno-simd128", "(func (drop (v128.const i32x4 0 0 0 0)))"),
        ("threads", "-Ctarget-feature=-atomics", "(func (drop (i32.atomic.load (i32.const 0))))"),
        ("threads", "-pthread", "(memory $other 1 2 shared)"),
        ("exceptions", "-Cpanic=abort", "(tag $oops)"),
        ("garbage collection", "--enable gc", "(type $box (struct (field i32)))"),
        ("memory64", "--target=wasm32", "(memory $other i64 1)"),
        (
            "wide arithmetic",
            "-mno-wide-arithmetic",
            "(func (param i64) (result i64 i64)
            (i64.mul_wide_u (local.get 0) (local.get 0)))",
        ),
        ("memory pages of another size", "--page-size", "(memory $other 1 (pagesize 1))"),
        ("references to the host's objects (externref)", "AssemblyScript", "(func (param externref))"),
    ];
    let loader = Loader::new(Runtime::start().unwrap(), Arc::new(())).unwrap();
    for (name, flag, definition) in cases {
        let module = guest(definition, "(i32.const 48)", "(i32.const 96)");
        let whole = component(&guest("", "(i32.const 48)", "(i32.const 96)"));
        // A component that uses it in a module that is not even started.
        let within = [&whole[..], &section(1, &text(&format!("(module (memory 1) {definition})")))].concat();
        for bytes in [module, within] {
            let error = loader.load_bytes(&bytes).err().unwrap_or_else(|| panic!("{name} is taken"));
            let words = format!("{error}; {}", error.remedy());
            let begin = format!("uses {name}, which rules are not offered; switch it off: ");
            assert!(words.starts_with(&begin) && words.contains(flag), "{name}: {words}");
        }
    }
}

/// A section of a binary.
fn section(id: u8, contents: &[u8]) -> Vec<u8> {
    let length = u8::try_from(contents.len()).expect("it is short");
    // LEB128 in two bytes.
    [&[id, length | 0x80, length >> 7], contents].concat()
}

/// What compilers of today use without being asked.
#[test]
fn features_that_everybody_gets() {
    let definitions = "(func $same (param i32) (result i32) (return_call $same (local.get 0)))
        (memory $other 1)
        (global i32 (i32.add (i32.const 1) (i32.const 2)))
        (table 2 funcref) (elem declare func $same)
        (func (result i32 i64) (i32.extend8_s (i32.trunc_sat_f32_u (f32.const 1))) (i64.const 2))
        (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)) (drop (ref.func $same)))";
    let module = guest(definitions, "(i32.const 48)", "(i32.const 96)");
    Loader::new(Runtime::start().unwrap(), Arc::new(())).unwrap().load_bytes(&module).unwrap();
}

#[test]
fn imports_that_no_rule_gets() {
    let with = |import: &str| guest(&format!("(import {import})\n"), "(i32.const 48)", "(i32.const 96)");
    check(
        &with("\"env\" \"printf\" (func (param i32))"),
        expect![[r#"
            imports `env printf`, which is not offered to rules
            an undefined symbol: link what defines it into the module
        "#]],
    );
    check(
        &with("\"env\" \"abort\" (func (param i32 i32 i32 i32))"),
        expect![[r#"
        imports `env abort`, which is not offered to rules
        link what defines it into the module; AssemblyScript: asc FILE.ts --use abort=FILE/abort, and in FILE.ts a function `abort` of four parameters
    "#]],
    );
    check(
        &with("\"acme:net/sockets@1.0.0\" \"connect\" (func (param i32))"),
        expect![[r#"
            imports `acme:net/sockets@1.0.0 connect`, which is not offered to rules
            a rule may import postern:rule/host@0.2.0 and nothing else
        "#]],
    );
    check(
        &with("\"postern:rule/host@0.2.0\" \"shout\" (func (param i32))"),
        expect![[r#"
            does not fit the contract: failed to resolve import `postern:rule/host@0.2.0::shout`: import interface `postern:rule/host@0.2.0` is missing function `shout` that is required by the module
            build it for the world `rule` of postern:rule@0.2.0
        "#]],
    );
    check(
        &with("\"wasi_snapshot_preview1\" \"path_create_directory\" (func (param i32 i32 i32) (result i32))"),
        expect![[r#"
            does not fit the contract: failed to decode world from module: failed to validate the imports of the adapter module `wasi_snapshot_preview1`: adapter module did not export `path_create_directory`
            build it for the world `rule` of postern:rule@0.2.0
        "#]],
    );
    check(
        &text("(component (import \"wasi:clocks/wall-clock@0.2.0\" (instance)))"),
        expect![[r#"
            imports `wasi:clocks/wall-clock@0.2.0`, which is not offered to rules
            a rule gets no WASI; componentize-py and componentize-qjs leave it out with --stub-wasi; elsewhere build for wasm32-unknown-unknown, or a core module for WASI preview 1
        "#]],
    );
}

#[test]
fn wasi_without_power_is_given_to_those_who_insist() {
    let import = "(import \"wasi_snapshot_preview1\" \"clock_time_get\" (func $clock (param i32 i64 i32) (result i32)))\n";
    let module = guest(
        import,
        "(i32.const 48)",
        "(drop (call $clock (i32.const 0) (i64.const 0) (i32.const 200))) (i32.const 96)",
    );
    let loader = Loader::new(Runtime::start().unwrap(), Arc::new(())).unwrap();
    loader.load_bytes(&module).unwrap();
}

#[test]
fn the_same_bytes_are_compiled_once() {
    let loader = Loader::new(Runtime::start().unwrap(), Arc::new(())).unwrap();
    let bytes = judging("(i32.const 96)");
    let (first, second) = (loader.load_bytes(&bytes).unwrap(), loader.load_bytes(&bytes).unwrap());
    assert!(Arc::ptr_eq(&first, &second));
}

/// Globals are kept outside of memory, where no limit of an instance counts them.
#[test]
fn very_many_globals() {
    let module = format!("(module {})", "(global i64 (i64.const 0))".repeat(10_001));
    check(
        &text(&module),
        expect![[r#"
        has 10001 global variables; at most 10000
        keep them in its memory
    "#]],
    );
}

//! Modules that are no rules: each is refused with what is wrong and what would be right.

use expect_test::{Expect, expect};
use posternd::rules::{Loader, Runtime};

use crate::modules::{guest, judging};

fn check(bytes: &[u8], expected: Expect) {
    let loader = Loader::new(Runtime::start().unwrap()).unwrap();
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
        is not WebAssembly
        compile the rule to WebAssembly
    "#]],
    );
    check(
        b"#!/bin/sh\n",
        expect![[r#"
        is not WebAssembly
        compile the rule to WebAssembly
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
            compile the rule to WebAssembly
        "#]],
    );
}

#[test]
fn another_world() {
    check(
        &text("(module (memory (export \"memory\") 1) (func (export \"run\")) (func (export \"stop\")))"),
        expect![[r#"
            does not export `configure`; it exports: memory, run, stop
            build it for the world `rule` of postern:rule@0.1.0
        "#]],
    );
    check(
        &text("(component)"),
        expect![[r#"
            does not export `configure`; it exports: 
            build it for the world `rule` of postern:rule@0.1.0
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
            build it for the world `rule` of postern:rule@0.1.0
        "#]],
    );
}

#[test]
fn another_version() {
    let import = "(import \"postern:rule/host@0.2.0\" \"log\" (func (param i32 i32 i32)))\n";
    check(
        &guest(import, "(i32.const 64)", "(i32.const 96)"),
        expect![[r#"
            imports `postern:rule/host@0.2.0`, which is version 0.2.0 of the contract
            this daemon speaks postern:rule@0.1.0; build the rule against that
        "#]],
    );
    check(
        &text("(component (import \"postern:rule/types@0.3.1\" (instance)))"),
        expect![[r#"
            imports `postern:rule/types@0.3.1`, which is version 0.3.1 of the contract
            this daemon speaks postern:rule@0.1.0; build the rule against that
        "#]],
    );
}

#[test]
fn imports_that_nobody_gets() {
    let with = |import: &str| guest(&format!("(import {import})\n"), "(i32.const 64)", "(i32.const 96)");
    check(
        &with("\"env\" \"printf\" (func (param i32))"),
        expect![[r#"
            imports `env printf`, which is not offered to rules
            an undefined symbol: link what defines it into the module
        "#]],
    );
    check(
        &with("\"acme:net/sockets@1.0.0\" \"connect\" (func (param i32))"),
        expect![[r#"
            imports `acme:net/sockets@1.0.0 connect`, which is not offered to rules
            a rule may import postern:rule/host@0.1.0 and nothing else
        "#]],
    );
    check(
        &with("\"postern:rule/host@0.1.0\" \"shout\" (func (param i32))"),
        expect![[r#"
            does not fit the contract: failed to resolve import `postern:rule/host@0.1.0::shout`: import interface `postern:rule/host@0.1.0` is missing function `shout` that is required by the module
            build it for the world `rule` of postern:rule@0.1.0
        "#]],
    );
    check(
        &with("\"wasi_snapshot_preview1\" \"path_create_directory\" (func (param i32 i32 i32) (result i32))"),
        expect![[r#"
            does not fit the contract: failed to decode world from module: failed to validate the imports of the adapter module `wasi_snapshot_preview1`: adapter module did not export `path_create_directory`
            build it for the world `rule` of postern:rule@0.1.0
        "#]],
    );
    check(
        &text("(component (import \"wasi:clocks/wall-clock@0.2.0\" (instance)))"),
        expect![[r#"
            imports `wasi:clocks/wall-clock@0.2.0`, which is not offered to rules
            a rule gets no WASI; build for wasm32-unknown-unknown, or for WASI preview 1 as a core module
        "#]],
    );
}

#[test]
fn wasi_without_power_is_given_to_those_who_insist() {
    let import = "(import \"wasi_snapshot_preview1\" \"clock_time_get\" (func $clock (param i32 i64 i32) (result i32)))\n";
    let module = guest(
        import,
        "(i32.const 64)",
        "(drop (call $clock (i32.const 0) (i64.const 0) (i32.const 200))) (i32.const 96)",
    );
    let loader = Loader::new(Runtime::start().unwrap()).unwrap();
    loader.load_bytes(&module).unwrap();
}

#[test]
fn the_same_bytes_are_compiled_once() {
    let loader = Loader::new(Runtime::start().unwrap()).unwrap();
    let bytes = judging("(i32.const 96)");
    let (first, second) = (loader.load_bytes(&bytes).unwrap(), loader.load_bytes(&bytes).unwrap());
    assert!(std::sync::Arc::ptr_eq(&first, &second));
}

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
            build it for the world `rule` of postern:rule@0.2.0; Rust: postern_sdk::export!(THE_RULE) in a cdylib; C and C++: export_name("configure") at a function; Zig: postern.exportRule(@This()) within comptime, and -rdynamic; Go: //go:wasmexport in package main; AssemblyScript: export in the file that asc is given; JavaScript: -n rule
        "#]],
    );
    check(
        &text("(component)"),
        expect![[r#"
            does not export `configure`; it exports: nothing
            build it for the world `rule` of postern:rule@0.2.0; Rust: postern_sdk::export!(THE_RULE) in a cdylib; C and C++: export_name("configure") at a function; Zig: postern.exportRule(@This()) within comptime, and -rdynamic; Go: //go:wasmexport in package main; AssemblyScript: export in the file that asc is given; JavaScript: -n rule
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
        &text("(component (import \"postern:rule/host\" (instance)))"),
        expect![[r#"
        imports `postern:rule/host`, which names no version of the contract
        name it as well: this daemon speaks postern:rule@0.2.0, so import postern:rule/host@0.2.0
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
            build a library: Go: -buildmode=c-shared; clang and zig cc for WASI: -mexec-model=reactor; Rust: crate-type = ["cdylib"]; Zig: -fno-entry; AssemblyScript: no --exportStart _start
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

/// All features are told at once, each with its remedy; and a module for 64 bits is told of that before it is told what it does not export.
#[test]
fn several_features_that_no_rule_gets() {
    let two = "(memory $other 1 2 shared) (func (drop (v128.const i32x4 0 0 0 0)))";
    check(
        &guest(two, "(i32.const 48)", "(i32.const 96)"),
        expect![[r#"
        uses SIMD and threads, which rules are not offered
        switch them off: SIMD (Rust: -Ctarget-feature=-simd128; clang and zig cc: -mno-simd128; Zig: -mcpu=baseline-simd128; AssemblyScript: no --enable simd); threads (Rust: -Ctarget-feature=-atomics and no target with threads in its name; clang and zig cc: no -pthread and no -Wl,--shared-memory, -mno-atomics; Zig: -fsingle-threaded -mcpu=baseline-atomics, no --shared-memory; AssemblyScript: no --enable threads and no --sharedMemory)
    "#]],
    );
    let error = |bytes: &[u8]| {
        let loader = Loader::new(Runtime::start().unwrap(), Arc::new(())).unwrap();
        loader.load_bytes(bytes).err().expect("no rule").to_string()
    };
    assert_eq!(error(&text("(module (memory i64 1))")), "uses memory64, which rules are not offered");
    assert_eq!(
        error(&text("(component (core func (canon task.return)))")),
        "uses asynchronous functions of the component model, which rules are not offered"
    );
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

/// An import that no rule gets is told with what its author can do, by the compiler that makes such imports.
#[test]
fn imports_that_no_rule_gets() {
    let loader = Loader::new(Runtime::start().unwrap(), Arc::new(())).unwrap();
    let refused = |bytes: &[u8]| {
        let error = loader.load_bytes(bytes).err().expect("no rule");
        format!("{error}; {}", error.remedy())
    };
    let function = "(func (param i32))";
    for (import, names, remedy) in [
        ("\"env\" \"printf\"", "`env printf`, which is", "an undefined symbol: link what defines it"),
        ("\"env\" \"abort\"", "`env abort`, which is", "--use abort=FILE/abort"),
        (
            "\"env\" \"console.log\"",
            "`env console.log`, which is",
            "AssemblyScript: in place of trace and console",
        ),
        ("\"env\" \"__cxa_throw\"", "`env __cxa_throw`, which is", "-fno-exceptions"),
        ("\"env\" \"emscripten_notify_memory_growth\"", "`env emscripten_", "in place of emcc"),
        (
            "\"gojs\" \"runtime.ticks\"",
            "`gojs runtime.ticks`, which is",
            "Go: GOOS=wasip1 GOARCH=wasm go build -buildmode",
        ),
        (
            "\"__wbindgen_placeholder__\" \"__wbindgen_throw\"",
            "`__wbindgen_placeholder__ __wbindgen_throw`",
            "wasm-bindgen",
        ),
        ("\"./knock_bg.js\" \"now\"", "`./knock_bg.js now`, which is", "wasm-bindgen"),
        ("\"GOT.mem\" \"errno\"", "`GOT.mem errno`, which is", "no -shared and no -fPIC"),
        (
            "\"acme:net/sockets@1.0.0\" \"connect\"",
            "`acme:net/sockets@1.0.0 connect`, which is",
            "a rule may import postern:rule/host@0.2.0 and nothing else",
        ),
        (
            "\"wasi_snapshot_preview1\" \"path_create_directory\"",
            "`wasi_snapshot_preview1 path_create_directory`, which is",
            "Zig: -target wasm32-freestanding; Rust: --target wasm32-unknown-unknown",
        ),
        (
            "\"wasi_unstable\" \"fd_write\"",
            "`wasi_unstable fd_write`, which is",
            "of WASI a core module gets",
        ),
    ] {
        let module = guest(&format!("(import {import} {function})"), "(i32.const 48)", "(i32.const 96)");
        let words = refused(&module);
        assert!(words.starts_with(&format!("imports {names}")) && words.contains(remedy), "{words}");
    }
    for (import, names, remedy) in [
        ("\"env\" \"memory\" (memory 1)", "imports `env memory`, which is", "no -Wl,--import-memory;"),
        ("\"env\" \"memory\" (memory 1 2 shared)", "uses threads, which", "and no -Wl,--shared-memory"),
        (
            "\"env\" \"__indirect_function_table\" (table 1 funcref)",
            "imports `env __indirect",
            "no -Wl,--import-table;",
        ),
    ] {
        let module =
            format!("(module (import {import}) (func (export \"configure\")) (func (export \"judge\")))");
        let words = refused(&text(&module));
        assert!(words.starts_with(names) && words.contains(remedy), "{words}");
    }
    let several = "(import \"env\" \"a\" (func)) (import \"env\" \"b\" (func)) (import \"x\" \"c\" (func))";
    assert_eq!(
        refused(&guest(several, "(i32.const 48)", "(i32.const 96)")),
        "imports `env a`, `env b` and `x c`, which are not offered to rules; an undefined symbol: link what defines it into the \
         module; a rule may import postern:rule/host@0.2.0 and nothing else"
    );
    let wasi = |name: &str| format!("(import \"wasi:{name}@0.2.0\" (instance))");
    let many = ["a/a", "b/b", "c/c", "d/d", "e/e"].map(wasi).concat();
    check(
        &text(&format!("(component {many})")),
        expect![[r#"
        imports `wasi:a/a@0.2.0`, `wasi:b/b@0.2.0`, `wasi:c/c@0.2.0` and 2 more, which are not offered to rules
        a rule gets no WASI: componentize-py: --stub-wasi; componentize-qjs: --sync --stub-wasi; Rust: --target wasm32-unknown-unknown; elsewhere a core module for WASI preview 1 or without WASI
    "#]],
    );
    check(
        &guest(
            "(import \"postern:rule/host@0.2.0\" \"shout\" (func (param i32)))",
            "(i32.const 48)",
            "(i32.const 96)",
        ),
        expect![[r#"
            does not fit the contract: failed to resolve import `postern:rule/host@0.2.0::shout`: import interface `postern:rule/host@0.2.0` is missing function `shout` that is required by the module
            build it for the world `rule` of postern:rule@0.2.0
        "#]],
    );
}

/// What a linker is still to make a module of, or what is made for another program's memory.
#[test]
fn what_is_not_linked_for_itself() {
    let with = |section: &str| {
        text(&format!(
            "(module (@custom \"{section}\" \"\") (import \"env\" \"__linear_memory\" (memory 1)))"
        ))
    };
    check(
        &with("linking"),
        expect![[r#"
        is an object file, which is not linked yet
        link it: clang and zig cc: no -c; Zig: build-exe in place of build-obj; Rust: crate-type = ["cdylib"], and no --emit=obj
    "#]],
    );
    check(
        &with("dylink.0"),
        expect![[r#"
        is a dynamic library, which has no memory of its own
        link it for itself: clang and zig cc: no -shared and no -fPIC; Zig: build-exe in place of build-lib -dynamic
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

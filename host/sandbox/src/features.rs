//! Features: which parts of WebAssembly a module uses, and the compiler flags that leave out those that no rule gets.
//!
//! Before a module is compiled it is checked once with what rules get, and with nothing else: that reads all code, and is a small part of
//! compiling it. Only if that fails it is asked which feature is to blame.

mod offered;
mod refused;

use wasmparser::{Validator, WasmFeatures};

use crate::load_error::LoadError;

/// A part of WebAssembly that no rule gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name, as compilers call it.
    pub name: &'static str,
    /// How compilers leave it out.
    pub remedy: &'static str,
    without: WasmFeatures,
}

/// A part of WebAssembly that a module uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureUse {
    /// Its name, as compilers call it.
    pub name: &'static str,
    /// How compilers leave it out, if no rule gets it.
    pub remedy: Option<&'static str>,
}

const ALL: WasmFeatures = WasmFeatures::all();

/// What rules get: what the engine of [`crate::engine`] takes.
const OFFERED: WasmFeatures = WasmFeatures::WASM3.union(WasmFeatures::COMPONENT_MODEL).difference(
    WasmFeatures::SIMD
        .union(WasmFeatures::RELAXED_SIMD)
        .union(WasmFeatures::THREADS)
        .union(WasmFeatures::EXCEPTIONS)
        .union(WasmFeatures::MEMORY64)
        .union(WasmFeatures::GC_TYPES),
);

const REFUSED: [Feature; 12] = [
    Feature {
        name: "SIMD",
        remedy: "Rust: -Ctarget-feature=-simd128; clang and zig cc: -mno-simd128; Zig: -mcpu=baseline-simd128; \
                 AssemblyScript: no --enable simd",
        without: WasmFeatures::SIMD.union(WasmFeatures::RELAXED_SIMD),
    },
    Feature {
        name: "threads",
        remedy: "Rust: -Ctarget-feature=-atomics and no target with threads in its name; clang and zig cc: no -pthread \
                 and no -Wl,--shared-memory, -mno-atomics; Zig: -fsingle-threaded -mcpu=baseline-atomics, no --shared-memory; \
                 AssemblyScript: no --enable threads and no --sharedMemory",
        without: WasmFeatures::THREADS.union(WasmFeatures::SHARED_EVERYTHING_THREADS),
    },
    Feature {
        name: "exceptions",
        remedy: "Rust: -Cpanic=abort; clang and zig c++: -fno-exceptions, no -fwasm-exceptions, and no setjmp; Zig: \
                 -mcpu=baseline-exception_handling",
        without: WasmFeatures::EXCEPTIONS.union(WasmFeatures::LEGACY_EXCEPTIONS),
    },
    Feature {
        name: "garbage collection",
        remedy: "AssemblyScript: no --enable gc; languages that need it, such as Kotlin, Dart or OCaml, cannot make rules",
        without: WasmFeatures::GC
            .union(WasmFeatures::FUNCTION_REFERENCES)
            .union(WasmFeatures::CUSTOM_DESCRIPTORS),
    },
    Feature {
        name: "memory64",
        remedy: "build for 32 bits: Rust: --target wasm32-unknown-unknown; clang: --target=wasm32; Zig: -target \
                 wasm32-freestanding",
        without: WasmFeatures::MEMORY64,
    },
    Feature {
        name: "wide arithmetic",
        remedy: "Rust: -Ctarget-feature=-wide-arithmetic; clang and zig cc: -mno-wide-arithmetic; Zig: \
                 -mcpu=baseline-wide_arithmetic",
        without: WasmFeatures::WIDE_ARITHMETIC,
    },
    Feature {
        name: "memory pages of another size",
        remedy: "wasm-ld: no --page-size",
        without: WasmFeatures::CUSTOM_PAGE_SIZES,
    },
    Feature { name: "stack switching", remedy: "build it without", without: WasmFeatures::STACK_SWITCHING },
    Feature {
        name: "asynchronous functions of the component model",
        remedy: "componentize-qjs: --sync; elsewhere: no async in the rule's exports",
        without: WasmFeatures::CM_ASYNC
            .union(WasmFeatures::CM_ASYNC_STACKFUL)
            .union(WasmFeatures::CM_MORE_ASYNC_BUILTINS)
            .union(WasmFeatures::CM_THREADING)
            .union(WasmFeatures::CM_ERROR_CONTEXT),
    },
    Feature {
        name: "parts of the component model that are not finished",
        remedy: "build it with a release of its tools and without their experimental flags",
        without: WasmFeatures::CM_VALUES
            .union(WasmFeatures::CM_NESTED_NAMES)
            .union(WasmFeatures::CM_FIXED_LENGTH_LISTS)
            .union(WasmFeatures::CM_GC)
            .union(WasmFeatures::CM_MAP)
            .union(WasmFeatures::CM64)
            .union(WasmFeatures::CM_IMPLEMENTS)
            .union(WasmFeatures::CM_CANON_NAMES),
    },
    Feature {
        name: "parts of WebAssembly that are not finished",
        remedy: "build it with a release of its compiler and without experimental flags",
        without: WasmFeatures::MEMORY_CONTROL.union(WasmFeatures::COMPACT_IMPORTS),
    },
    EXTERNREF,
];

/// Some of the others need it as well, so that it is named only where it is used alone.
const EXTERNREF: Feature = Feature {
    name: "references to the host's objects (externref)",
    remedy: "AssemblyScript: no --enable reference-types; elsewhere: no bindings for JavaScript",
    without: WasmFeatures::GC_TYPES,
};

/// Checks all code of `bytes`, which use nothing but what rules get if this succeeds.
///
/// # Errors
/// If they are malformed, or which other features they use.
pub(crate) fn check(bytes: &[u8]) -> Result<(), LoadError> {
    let Err(error) = Validator::new_with_features(OFFERED).validate_all(bytes) else { return Ok(()) };
    match refused::used(bytes) {
        Ok(features) if !features.is_empty() => Err(LoadError::Features(features)),
        Ok(_) => Err(LoadError::Invalid(error.to_string())),
        Err(malformed) => Err(LoadError::Invalid(malformed)),
    }
}

/// What `bytes` use, first what rules get.
///
/// # Errors
/// If they are malformed, and how.
pub(crate) fn used(bytes: &[u8]) -> Result<Vec<FeatureUse>, String> {
    let is_offered = Validator::new_with_features(OFFERED).validate_all(bytes).is_ok();
    let refused = if is_offered { Vec::new() } else { refused::used(bytes)? };
    let offered = offered::used(bytes).map_err(|error| error.to_string())?;
    let offered = offered.into_iter().map(|name| FeatureUse { name, remedy: None });
    let refused =
        refused.iter().map(|feature| FeatureUse { name: feature.name, remedy: Some(feature.remedy) });
    Ok(offered.chain(refused).collect())
}

#[cfg(test)]
mod tests {
    use wasmtime::Module;

    use super::*;
    use crate::engine::engine;

    /// What is refused before compiling and what the compiler refuses are the same.
    #[test]
    fn what_is_offered_is_what_the_engine_takes() {
        let engine = engine().unwrap();
        let mut offered = 0;
        for part in [
            "(func $same (return_call $same))",
            "(memory 1) (memory 1)",
            "(func (param i32) (result i32) (i32.extend8_s (local.get 0)))",
            "(func (result i32 i32) (i32.const 0) (i32.const 0))",
            "(func (param f32) (result i32) (i32.trunc_sat_f32_u (local.get 0)))",
            "(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)))",
            "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
            "(global (import \"a\" \"b\") (mut i32))",
            "(table 1 funcref) (func (drop (table.get 0 (i32.const 0))))",
            "(type $f (func)) (func (param (ref null $f)) (call_ref $f (local.get 0)))",
            "(type $f (func)) (func (param (ref $f)))",
            "(func (drop (v128.const i64x2 0 0)))",
            "(func (param v128))",
            "(func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))",
            "(memory 1 2 shared)",
            "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))",
            "(tag)",
            "(func (try_table))",
            "(type (struct))",
            "(type (array i8))",
            "(func (param i31ref))",
            "(func (param externref))",
            "(func (param exnref))",
            "(memory i64 1)",
            "(table i64 1 funcref)",
            "(memory 1 (pagesize 1))",
            "(func (param i64) (result i64 i64) (i64.mul_wide_u (local.get 0) (local.get 0)))",
            "(rec (type (cont 1)) (type (func)))",
            "(memory 1) (func (memory.discard (i32.const 0) (i32.const 0)))",
        ] {
            let bytes = wat::parse_str(format!("(module {part})")).unwrap();
            let taken = Module::validate(&engine, &bytes);
            let refused = check(&bytes);
            assert_eq!(refused.is_ok(), taken.is_ok(), "{part}: {refused:?}, {taken:?}");
            assert!(matches!(refused, Ok(()) | Err(LoadError::Features(_))), "{part}: {refused:?}");
            offered += u8::from(refused.is_ok());
        }
        assert_eq!(offered, 11);
    }

    #[test]
    fn whatever_is_not_offered_has_a_name() {
        let refused = REFUSED.iter().fold(WasmFeatures::empty(), |all, feature| all.union(feature.without));
        assert_eq!(ALL.difference(OFFERED).difference(refused), WasmFeatures::empty());
    }
}

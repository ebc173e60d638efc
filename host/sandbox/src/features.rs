//! Features: which parts of WebAssembly a module uses, and the compiler flags that leave out those that no rule gets.
//!
//! Of what no rule gets the module is checked with everything switched on but one feature after the other. What fails without a feature uses
//! it. Each check reads all code, so that this is done only if the module fails without any of them.

mod offered;

use wasmparser::{Validator, WasmFeatures};

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

const REFUSED: [Feature; 10] = [
    Feature {
        name: "SIMD",
        remedy: "Rust: -Ctarget-feature=-simd128; clang and zig cc: -mno-simd128; Zig: -mcpu=baseline-simd128; \
                 AssemblyScript: no --enable simd",
        // Relaxed SIMD is of no use without.
        without: WasmFeatures::SIMD,
    },
    Feature {
        name: "threads",
        remedy: "Rust: -Ctarget-feature=-atomics and no target with threads in its name; clang and zig cc: no -pthread, \
                 -mno-atomics; Zig: -fsingle-threaded -mcpu=baseline-atomics; AssemblyScript: no --enable threads",
        without: WasmFeatures::THREADS.union(WasmFeatures::SHARED_EVERYTHING_THREADS),
    },
    Feature {
        name: "exceptions",
        remedy: "Rust: -Cpanic=abort; clang and zig c++: -fno-exceptions, no -fwasm-exceptions, and no setjmp",
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
    // Last, as some of the others need it as well.
    Feature {
        name: "references to the host's objects (externref)",
        remedy: "AssemblyScript: no --enable reference-types; elsewhere: no bindings for JavaScript",
        without: WasmFeatures::GC_TYPES,
    },
];

/// Why a module or a component was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It is malformed, and how.
    Malformed(String),
    /// It uses what no rule gets.
    Uses(Feature),
}

/// Why `bytes` were refused, if the cause is in them.
pub(crate) fn explain(bytes: &[u8]) -> Option<Cause> {
    if let Err(what) = check_form(bytes) {
        return Some(Cause::Malformed(what));
    }
    REFUSED.iter().find(|feature| fails_without(bytes, feature.without)).map(|feature| Cause::Uses(*feature))
}

/// What `bytes` use, first what rules get.
///
/// # Errors
/// If they are malformed, and how.
pub(crate) fn used(bytes: &[u8]) -> Result<Vec<FeatureUse>, String> {
    check_form(bytes)?;
    let offered = offered::used(bytes).map_err(|error| error.to_string())?;
    let offered = offered.into_iter().map(|name| FeatureUse { name, remedy: None });
    let all_refused = REFUSED.iter().fold(WasmFeatures::empty(), |all, feature| all.union(feature.without));
    let refused: &[Feature] = if fails_without(bytes, all_refused) { &REFUSED } else { &[] };
    let refused = refused.iter().filter(|feature| fails_without(bytes, feature.without));
    let refused = refused.map(|feature| FeatureUse { name: feature.name, remedy: Some(feature.remedy) });
    Ok(offered.chain(refused).collect())
}

fn check_form(bytes: &[u8]) -> Result<(), String> {
    Validator::new_with_features(ALL).validate_all(bytes).map(drop).map_err(|error| error.to_string())
}

fn fails_without(bytes: &[u8], features: WasmFeatures) -> bool {
    Validator::new_with_features(ALL.difference(features)).validate_all(bytes).is_err()
}

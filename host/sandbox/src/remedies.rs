//! Remedies: what the author of a module can do about what it imports or does not export, by the compiler that makes such modules.

use crate::contract::HOST_INTERFACE;

/// What makes a rule export `configure` and `judge`.
pub(crate) const OF_EXPORTS: &str = "Rust: postern_sdk::export!(THE_RULE) in a cdylib; C and C++: export_name(\"configure\") at a function; Zig: \
    postern.exportRule(@This()) within comptime, and -rdynamic; Go: //go:wasmexport in package main; AssemblyScript: export in the \
    file that asc is given; JavaScript: -n rule";

/// Which imports something is to be done about, and what.
struct ImportRemedy {
    /// Whether an import of this name is one of them: its interface, and its name for a core module.
    is_for: fn(&str, &str) -> bool,
    what: &'static str,
}

/// The first that fits counts.
const OF_IMPORTS: [ImportRemedy; 12] = [
    ImportRemedy {
        is_for: |interface, _| interface.starts_with("wasi_"),
        what: "of WASI a core module gets what languages need to start, and no files: build it without a file system: Zig: -target \
            wasm32-freestanding; Rust: --target wasm32-unknown-unknown; C: call nothing that opens files",
    },
    ImportRemedy {
        is_for: |interface, _| interface.contains("wasi"),
        what: "a rule gets no WASI: componentize-py: --stub-wasi; componentize-qjs: --sync --stub-wasi; Rust: --target \
            wasm32-unknown-unknown; elsewhere a core module for WASI preview 1 or without WASI",
    },
    ImportRemedy {
        is_for: |interface, name| interface == "env" && ["memory", "__linear_memory"].contains(&name),
        what: "let it have a memory of its own: clang and zig cc: no -Wl,--import-memory; Zig: no --import-memory; AssemblyScript: no \
            --importMemory",
    },
    ImportRemedy {
        is_for: |interface, name| {
            interface == "env" && ["table", "__indirect_function_table"].contains(&name)
        },
        what: "let it have a table of its own: clang and zig cc: no -Wl,--import-table; Zig: no --import-table; AssemblyScript: no \
            --importTable",
    },
    ImportRemedy {
        is_for: |interface, name| interface == "env" && name == "abort",
        what: "link what defines it into the module; AssemblyScript: asc FILE.ts --use abort=FILE/abort, and in FILE.ts a function \
            `abort` of four parameters, such as that of postern.ts",
    },
    ImportRemedy {
        is_for: |interface, name| interface == "env" && is_of_assemblyscript(name),
        what: "a rule has no console, clock or random numbers; AssemblyScript: in place of trace and console the function log of \
            postern.ts, in place of Date the time of the knock, and nothing of Math.random",
    },
    ImportRemedy {
        is_for: |interface, _| ["gojs", "go"].contains(&interface),
        what: "it is made for a browser; Go: GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared",
    },
    ImportRemedy {
        is_for: |interface, _| {
            interface.starts_with("__wbindgen") || interface == "wbg" || interface.ends_with("_bg.js")
        },
        what: "a rule has no JavaScript around it; Rust: no wasm-bindgen, also none in dependencies (cargo tree -i wasm-bindgen \
            shows why it is there; getrandom, chrono and uuid have features for it)",
    },
    ImportRemedy {
        is_for: |interface, name| interface == "env" && is_of_exceptions(name),
        what: "nothing catches exceptions in a rule: clang++ and zig c++: -fno-exceptions, and no setjmp",
    },
    ImportRemedy {
        is_for: |interface, name| interface == "env" && is_of_emscripten(name),
        what: "it needs Emscripten's JavaScript: build it with clang or zig cc in place of emcc",
    },
    ImportRemedy {
        is_for: |interface, _| interface == "env",
        what: "an undefined symbol: link what defines it into the module",
    },
    ImportRemedy {
        is_for: |interface, _| interface.starts_with("GOT."),
        what: "link it for itself: clang and zig cc: no -shared and no -fPIC",
    },
];

/// What is to be done about these imports, each kind once.
pub(crate) fn of_imports(imports: &[String]) -> String {
    let mut told: Vec<&str> = Vec::new();
    let mut is_unknown = false;
    for import in imports {
        let (interface, name) = import.split_once(' ').unwrap_or((import, ""));
        let known = OF_IMPORTS.iter().find(|remedy| (remedy.is_for)(interface, name));
        match known {
            Some(remedy) if !told.contains(&remedy.what) => told.push(remedy.what),
            Some(_) => {}
            None => is_unknown = true,
        }
    }
    let rest = format!("a rule may import {HOST_INTERFACE} and nothing else");
    if is_unknown {
        told.push(&rest);
    }
    told.join("; ")
}

fn is_of_assemblyscript(name: &str) -> bool {
    ["trace", "seed"].contains(&name)
        || ["console.", "Date.", "Math.", "performance.", "process.", "crypto."]
            .iter()
            .any(|object| name.starts_with(object))
}

fn is_of_exceptions(name: &str) -> bool {
    ["__cxa_", "__gxx_", "_Unwind_", "__cpp_exception", "__c_longjmp", "setjmp", "longjmp", "__wasm_setjmp"]
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

fn is_of_emscripten(name: &str) -> bool {
    ["emscripten_", "_emscripten_", "invoke_", "__syscall_", "__asyncjs__"]
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

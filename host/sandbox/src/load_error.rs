//! LoadError: why a module was not loaded, and what its author can do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::contract::{HOST_INTERFACE, PACKAGE};
use crate::features::Feature;
use crate::file_kind::FileKind;
use crate::remedies;

/// Why a module was not loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The file is no file.
    #[error("{0}")]
    File(String),
    /// The file is longer than a module of this rule may be.
    #[error("{0}")]
    TooLong(String),
    /// Other users could have written it.
    #[error("is not read: {} {what}", path.display())]
    Distrusted {
        /// The file, or the folder on the way to it, that others can write.
        path: PathBuf,
        /// Which users, and what to do.
        what: String,
    },
    /// Not WebAssembly at all.
    #[error("is {0}")]
    NotWasm(FileKind),
    /// WebAssembly text.
    #[error("is WebAssembly text")]
    Text,
    /// WebAssembly of another version.
    #[error("is WebAssembly of an unknown version {0:02x?}")]
    BinaryVersion(Vec<u8>),
    /// Malformed WebAssembly.
    #[error("is not valid WebAssembly: {0}")]
    Invalid(String),
    /// Parts of WebAssembly that no rule gets.
    #[error("uses {}, which rules are not offered", names(.0))]
    Features(Vec<Feature>),
    /// A version of the contract that we do not speak.
    #[error("imports `{name}`, which {}", of_version(.version))]
    Version {
        /// The import.
        name: String,
        /// Its version; empty if it names none.
        version: String,
    },
    /// Something that no rule gets; at least one.
    #[error("imports {}", not_offered(.0))]
    Imports(Vec<String>),
    /// More global variables than any compiler makes.
    #[error("has {count} global variables; at most {most}")]
    Globals {
        /// How many.
        count: u32,
        /// How many are allowed.
        most: u32,
    },
    /// Something that every rule must have is not there.
    #[error("does not export `{wanted}`; it exports: {exports}")]
    Export {
        /// What is missing.
        wanted: &'static str,
        /// What is there.
        exports: String,
    },
    /// A program, whose functions work only while it runs.
    #[error("is a program, which is started once (it exports `_start`)")]
    Command,
    /// An object file, which a linker is still to make a module of.
    #[error("is an object file, which is not linked yet")]
    Object,
    /// A library that is loaded beside a program and uses its memory.
    #[error("is a dynamic library, which has no memory of its own")]
    DynamicLibrary,
    /// The module's types are not those of the contract.
    #[error("does not fit the contract: {0}")]
    World(String),
    /// The compiler refused it.
    #[error("cannot be compiled: {0}")]
    Compile(String),
    /// What the compiler's process said, or what became of it.
    #[error("{what}")]
    Refused {
        /// What is wrong, as the rest of a sentence about the module.
        what: String,
        /// What its author can do about it.
        remedy: String,
    },
    /// It is not compiled yet, and there is a newer configuration by now.
    #[error("is still being compiled")]
    Overtaken,
    /// It is not compiled yet, which is not waited for.
    #[error("is being compiled")]
    Compiling,
}

impl LoadError {
    /// What the author of the module can do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Imports(names) => remedies::of_imports(names),
            Self::Version { version, .. } if version.is_empty() => {
                format!("name it as well: this daemon speaks {PACKAGE}, so import {HOST_INTERFACE}")
            }
            Self::Version { .. } => format!("this daemon speaks {PACKAGE}; build the rule against that"),
            Self::Command => "build a library: Go: -buildmode=c-shared; clang and zig cc for WASI: -mexec-model=reactor; Rust: \
                crate-type = [\"cdylib\"]; Zig: -fno-entry; AssemblyScript: no --exportStart _start"
                .to_owned(),
            Self::Object => "link it: clang and zig cc: no -c; Zig: build-exe in place of build-obj; Rust: crate-type = \
                [\"cdylib\"], and no --emit=obj"
                .to_owned(),
            Self::DynamicLibrary => "link it for itself: clang and zig cc: no -shared and no -fPIC; Zig: build-exe in place of \
                build-lib -dynamic"
                .to_owned(),
            Self::Export { .. } => format!("build it for the world `rule` of {PACKAGE}; {}", remedies::OF_EXPORTS),
            Self::World(_) => format!("build it for the world `rule` of {PACKAGE}"),
            Self::Text => "assemble it to binary first: wat2wasm or wasm-tools parse".to_owned(),
            Self::NotWasm(kind) => kind.remedy().to_owned(),
            Self::BinaryVersion(_) => "compile the rule to WebAssembly".to_owned(),
            Self::Invalid(_) => "the file may be cut or damaged; build the rule again".to_owned(),
            Self::Features(features) => switch_off(features),
            Self::Distrusted { .. } => "see to it that only root can write it".to_owned(),
            Self::Read(_) => "check the path and its permissions".to_owned(),
            Self::File(_) => "name a module's file".to_owned(),
            Self::TooLong(_) => "build it for size and strip it, or leave out what it does not need; how much a tenant's may have is \
                limits.module of the tenant"
                .to_owned(),
            Self::Globals { .. } => "keep them in its memory".to_owned(),
            Self::Refused { remedy, .. } => remedy.clone(),
            Self::Compiling => "wait: it is taken up when that is done".to_owned(),
            Self::Overtaken => "see what the newer configuration says".to_owned(),
            Self::Compile(_) => "make it smaller or simpler".to_owned(),
        }
    }
}

/// The names of features, as part of a sentence.
fn names(features: &[Feature]) -> String {
    let names: Vec<_> = features.iter().map(|feature| feature.name).collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => names.concat(),
    }
}

/// How compilers leave features out.
fn switch_off(features: &[Feature]) -> String {
    if let [feature] = features {
        return format!("switch it off: {}", feature.remedy);
    }
    let each: Vec<_> = features.iter().map(|of| format!("{} ({})", of.name, of.remedy)).collect();
    format!("switch them off: {}", each.join("; "))
}

/// What a version of the contract is, as part of a sentence.
fn of_version(version: &str) -> String {
    if version.is_empty() {
        return "names no version of the contract".to_owned();
    }
    format!("is version {version} of the contract")
}

/// Most imports that are named.
const MOST_NAMED: usize = 3;

/// The names of imports, and that they are not offered.
fn not_offered(imports: &[String]) -> String {
    let named: Vec<_> = imports.iter().take(MOST_NAMED).map(|name| format!("`{name}`")).collect();
    match (named.split_last(), imports.len().saturating_sub(named.len())) {
        (_, more @ 1..) => format!("{} and {more} more, which are not offered to rules", named.join(", ")),
        (Some((last, others)), 0) if !others.is_empty() => {
            format!("{} and {last}, which are not offered to rules", others.join(", "))
        }
        _ => format!("{}, which is not offered to rules", named.concat()),
    }
}

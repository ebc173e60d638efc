//! LoadError: why a module was not loaded, and what its author can do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::contract::{HOST_INTERFACE, PACKAGE};
use crate::features::{Cause, Feature};
use crate::file_kind::FileKind;

/// Why a module was not loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The file is no file, or too large.
    #[error("{0}")]
    File(String),
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
    /// A part of WebAssembly that no rule gets.
    #[error("uses {}, which rules are not offered", .0.name)]
    Feature(Feature),
    /// A version of the contract that we do not speak.
    #[error("imports `{name}`, which is {version} of the contract")]
    Version {
        /// The import.
        name: String,
        /// Its version.
        version: String,
    },
    /// Something that no rule gets.
    #[error("imports `{0}`, which is not offered to rules")]
    Import(String),
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

impl From<Cause> for LoadError {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Malformed(what) => Self::Invalid(what),
            Cause::Uses(feature) => Self::Feature(feature),
        }
    }
}

impl LoadError {
    /// What the author of the module can do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Import(name) if name.contains("wasi") => "a rule gets no WASI; componentize-py and componentize-qjs leave it \
                out with --stub-wasi; elsewhere build for wasm32-unknown-unknown, or a core module for WASI preview 1"
                .to_owned(),
            Self::Import(name) if name == "env abort" => "link what defines it into the module; AssemblyScript: asc FILE.ts \
                --use abort=FILE/abort, and in FILE.ts a function `abort` of four parameters"
                .to_owned(),
            Self::Import(name) if name.starts_with("env ") => {
                "an undefined symbol: link what defines it into the module".to_owned()
            }
            Self::Import(_) => format!("a rule may import {HOST_INTERFACE} and nothing else"),
            Self::Version { .. } => format!("this daemon speaks {PACKAGE}; build the rule against that"),
            Self::Command => "build a library: Go: -buildmode=c-shared; clang and zig cc for WASI: -mexec-model=reactor; Rust: \
                crate-type = [\"cdylib\"]; Zig: -fno-entry"
                .to_owned(),
            Self::Export { .. } | Self::World(_) => format!("build it for the world `rule` of {PACKAGE}"),
            Self::Text => "assemble it to binary first: wat2wasm or wasm-tools parse".to_owned(),
            Self::NotWasm(kind) => kind.remedy().to_owned(),
            Self::BinaryVersion(_) => "compile the rule to WebAssembly".to_owned(),
            Self::Invalid(_) => "the file may be cut or damaged; build the rule again".to_owned(),
            Self::Feature(feature) => format!("switch it off: {}", feature.remedy),
            Self::Distrusted { .. } => "see to it that only root can write it".to_owned(),
            Self::Read(_) => "check the path and its permissions".to_owned(),
            Self::File(_) => "name a module's file".to_owned(),
            Self::Globals { .. } => "keep them in its memory".to_owned(),
            Self::Refused { remedy, .. } => remedy.clone(),
            Self::Compiling => "wait: it is taken up when that is done".to_owned(),
            Self::Overtaken => "see what the newer configuration says".to_owned(),
            Self::Compile(_) => "make it smaller or simpler".to_owned(),
        }
    }
}

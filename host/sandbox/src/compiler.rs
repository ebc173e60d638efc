//! Compiler: a module's bytes to code that a loader can load, or what is wrong with them.
//!
//! Whatever a module holds is looked at here and nowhere else. A hostile one may overflow the stack, take all memory or never end, so the
//! daemon runs this in a process of its own for each module; tests run it where they are.

use std::fs::File;
use std::io;

use postern_text::chain;
use wasmtime::Engine;

use crate::componentize::{Form, componentize};
use crate::engine::{compiler_identity, engine};
use crate::load_error::LoadError;
use crate::runtime::Runtime;
use crate::setup_error::SetupError;

/// Most bytes of a module. Python rules are 18 MB; beyond this compiling would take minutes.
pub const MAX_MODULE: u64 = 64 << 20;

/// How compiled code is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// It was a core module, which is called as it is.
    Module,
    /// It is a component.
    Component,
}

/// What a compiler made of a module.
#[derive(Debug)]
pub struct Artifact {
    /// How it is called.
    pub kind: CodeKind,
    /// The code.
    pub code: ArtifactCode,
}

/// Compiled code; there may be other bytes behind it.
#[derive(Debug)]
pub enum ArtifactCode {
    /// A file that nobody writes any more.
    File(File),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// Compiles modules. What comes of it is never made executable here: the process that does this may be one that cannot.
pub struct Compiler {
    engine: Engine,
}

impl Artifact {
    /// The same once more: a file is the same file.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn try_clone(&self) -> io::Result<Self> {
        let code = match &self.code {
            ArtifactCode::File(file) => ArtifactCode::File(file.try_clone()?),
            ArtifactCode::Bytes(bytes) => ArtifactCode::Bytes(bytes.clone()),
        };
        Ok(Self { kind: self.kind, code })
    }
}

impl CodeKind {
    /// Its number where code is kept or handed on.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Module => 1,
            Self::Component => 2,
        }
    }

    /// The kind of this number; none if there is none.
    #[must_use]
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Module),
            2 => Some(Self::Component),
            _ => None,
        }
    }
}

impl Compiler {
    /// A compiler with an engine of its own.
    ///
    /// # Errors
    /// If this machine cannot run what the engine would compile.
    pub fn new() -> Result<Self, SetupError> {
        Ok(Self { engine: engine()? })
    }

    /// One that shares the engine of a runtime.
    #[must_use]
    pub fn of(runtime: &Runtime) -> Self {
        Self { engine: runtime.engine().clone() }
    }

    /// What tells this compiler from every other whose code is not the same.
    ///
    /// # Errors
    /// If this machine cannot run what the engine would compile.
    pub fn identity() -> Result<[u8; 16], SetupError> {
        Ok(compiler_identity(&engine()?))
    }

    /// The code of the module in `bytes`. The types of a component are held against the contract when it is loaded.
    ///
    /// # Errors
    /// If it is not WebAssembly, is not a rule, or cannot be compiled.
    pub fn compile(&self, bytes: &[u8]) -> Result<Artifact, LoadError> {
        compile_with(bytes, |form| match form {
            Form::Direct(module) => self.engine.precompile_module(module),
            Form::Component(component) => self.engine.precompile_component(component),
        })
    }
}

/// Has the module in `bytes` compiled by `compile`, if it may be a rule at all: what is wrong with what it imports, exports and uses is found out
/// before that, since compiling takes up to half a minute.
fn compile_with(
    bytes: &[u8],
    compile: impl FnOnce(&Form<'_>) -> wasmtime::Result<Vec<u8>>,
) -> Result<Artifact, LoadError> {
    let form = componentize(bytes)?;
    let code = compile(&form).map_err(|error| LoadError::Compile(chain(&*error).to_string()))?;
    let kind = match form {
        Form::Direct(_) => CodeKind::Module,
        Form::Component(_) => CodeKind::Component,
    };
    Ok(Artifact { kind, code: ArtifactCode::Bytes(code) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why a module is refused, by what is read of it alone.
    fn refused(bytes: &[u8]) -> LoadError {
        let compiled = compile_with(bytes, |_| panic!("the compiler is asked"));
        compiled.expect_err("it is no rule")
    }

    #[test]
    fn the_compiler_is_never_asked_for_what_cannot_be_a_rule() {
        let judge = "(memory (export \"memory\") 1) (func (export \"configure\")) (func (export \"judge\"))";
        let component = |parts: &str| format!("(component (core module {judge}) {parts})");
        for (text, words) in [
            (format!("(module (import \"env\" \"puts\" (func)) {judge})"), "imports `env puts`"),
            (component("(import \"wasi:io/poll@0.2.9\" (instance))"), "imports `wasi:io/poll@0.2.9`"),
            (
                component("(import \"postern:rule/host@0.9.0\" (instance))"),
                "imports `postern:rule/host@0.9.0`",
            ),
            ("(module (func (export \"configure\")))".to_owned(), "does not export `judge`"),
            (component(""), "does not export `configure`"),
            (format!("(module {judge} (func (drop (v128.const i64x2 0 0))))"), "uses SIMD"),
            (component("(core module (memory 1 2 shared))"), "uses threads"),
            (component("(core module (func (drop (v128.const i64x2 0 0))))"), "uses SIMD"),
            (component("(core func (canon task.return))"), "uses asynchronous functions"),
            (format!("(module {judge} (func (i64.const 1)))"), "is not valid"),
        ] {
            let error = refused(&wat::parse_str(&text).unwrap()).to_string();
            assert!(error.starts_with(words), "{error} for {text}");
        }
    }
}

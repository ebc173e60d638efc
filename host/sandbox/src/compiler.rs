//! Compiler: a module's bytes to code that a loader can load, or what is wrong with them.
//!
//! Whatever a module holds is looked at here and nowhere else. A hostile one may overflow the stack, take all memory or never end, so the
//! daemon runs this in a process of its own for each module; tests run it where they are.

use std::fs::File;
use std::io;

use postern_text::chain;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::componentize::{Form, componentize};
use crate::contract::{RulePre, add_to_linker};
use crate::direct::DirectRulePre;
use crate::engine::{compiler_identity, engine};
use crate::features;
use crate::guest::Guest;
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

/// Compiles modules.
pub struct Compiler {
    engine: Engine,
    linker: Linker<Guest>,
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
        Self::with_engine(engine()?)
    }

    /// One that shares the engine of a runtime.
    ///
    /// # Errors
    /// If the contract cannot be linked, which would be our own mistake.
    pub fn of(runtime: &Runtime) -> Result<Self, SetupError> {
        Self::with_engine(runtime.engine().clone())
    }

    fn with_engine(engine: Engine) -> Result<Self, SetupError> {
        let mut linker = Linker::new(&engine);
        add_to_linker(&mut linker).map_err(|error| SetupError::Contract(chain(&*error).to_string()))?;
        Ok(Self { engine, linker })
    }

    /// What tells this compiler from every other whose code is not the same.
    ///
    /// # Errors
    /// If this machine cannot run what the engine would compile.
    pub fn identity() -> Result<[u8; 16], SetupError> {
        Ok(compiler_identity(&engine()?))
    }

    /// The code of the module in `bytes`, which fits the contract.
    ///
    /// # Errors
    /// If it is not WebAssembly, is not a rule, or cannot be compiled.
    pub fn compile(&self, bytes: &[u8]) -> Result<Artifact, LoadError> {
        let (kind, code) = match componentize(bytes)? {
            Form::Direct(module) => {
                let code = wasmtime::Module::new(&self.engine, module).and_then(|compiled| {
                    let code = compiled.serialize()?;
                    DirectRulePre::link(&self.engine, &compiled)?;
                    Ok(code)
                });
                (CodeKind::Module, code.map_err(|error| refused(module, &error))?)
            }
            Form::Component(component) => (CodeKind::Component, self.compile_component(&component)?),
        };
        Ok(Artifact { kind, code: ArtifactCode::Bytes(code) })
    }

    fn compile_component(&self, component: &[u8]) -> Result<Vec<u8>, LoadError> {
        let compiled = Component::new(&self.engine, component).map_err(|error| refused(component, &error))?;
        let world = |error: wasmtime::Error| LoadError::World(chain(&*error).to_string());
        self.linker.instantiate_pre(&compiled).and_then(RulePre::new).map_err(world)?;
        compiled.serialize().map_err(|error| LoadError::Compile(chain(&*error).to_string()))
    }
}

/// Why the compiler refused a module.
fn refused(module: &[u8], error: &wasmtime::Error) -> LoadError {
    features::explain(module).map_or_else(|| LoadError::Compile(chain(&**error).to_string()), LoadError::from)
}

//! Loader: bytes to a module that can be started, compiled once for all rules that run it.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Weak};

use sha2::{Digest as _, Sha256};
use wasmtime::component::{Component, Linker};

use super::componentize::{check_import, componentize};
use super::contract::{Guest, RulePre, add_to_linker};
use super::load_error::LoadError;
use super::runtime::Runtime;
use super::stock;
use crate::config::{ModuleSource, read_regular};

/// Python rules are 18 MB; beyond this compiling would take minutes.
const MAX_MODULE: u64 = 64 << 20;

/// Modules that are kept though no rule runs them any more; each takes a few hundred KiB.
const RECENT: usize = 8;

/// A compiled module, ready to be started any number of times.
pub struct Module {
    pub(super) pre: RulePre<Guest>,
    pub(super) runtime: Runtime,
}

/// Compiles modules, each distinct one once.
pub struct Loader {
    runtime: Runtime,
    linker: Linker<Guest>,
    known: HashMap<Digest, Weak<Module>>,
    /// The digests of stock modules, which many rules run.
    stock: HashMap<&'static str, Digest>,
    /// Loaded last, newest at the end: whoever goes back to the bytes of before waits for no compiler.
    recent: VecDeque<Arc<Module>>,
}

type Digest = [u8; 32];

impl Loader {
    /// A loader that has loaded nothing yet.
    ///
    /// # Errors
    /// If the contract cannot be linked, which would be our own mistake.
    pub fn new(runtime: Runtime) -> anyhow::Result<Self> {
        let mut linker = Linker::new(runtime.engine());
        add_to_linker(&mut linker).map_err(|error| anyhow::anyhow!("{error:#}"))?;
        Ok(Self { runtime, linker, known: HashMap::new(), stock: HashMap::new(), recent: VecDeque::new() })
    }

    /// The module at `source`. If the same bytes are in use already, so is their code.
    ///
    /// # Errors
    /// If it cannot be read, is not WebAssembly, or is not a rule.
    pub fn load(&mut self, source: &ModuleSource) -> Result<Arc<Module>, LoadError> {
        match source {
            ModuleSource::Stock(name) => {
                let bytes = stock::bytes(name);
                let digest = *self.stock.entry(name).or_insert_with(|| Sha256::digest(bytes).into());
                self.load_digested(digest, bytes)
            }
            ModuleSource::File(path) => self.load_bytes(&read(path)?),
        }
    }

    /// The module in `bytes`.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn load_bytes(&mut self, bytes: &[u8]) -> Result<Arc<Module>, LoadError> {
        self.load_digested(Sha256::digest(bytes).into(), bytes)
    }

    fn load_digested(&mut self, digest: Digest, bytes: &[u8]) -> Result<Arc<Module>, LoadError> {
        if let Some(module) = self.known.get(&digest).and_then(Weak::upgrade) {
            return Ok(module);
        }
        let component = componentize(bytes)?;
        let refused = |error: wasmtime::Error| LoadError::Compile(format!("{error:#}").replace('\n', " "));
        let component = Component::new(self.runtime.engine(), component).map_err(refused)?;
        self.check_type(&component)?;
        let world = |error: wasmtime::Error| LoadError::World(format!("{error:#}").replace('\n', " "));
        let pre = self.linker.instantiate_pre(&component).and_then(RulePre::new).map_err(world)?;
        let module = Arc::new(Module { pre, runtime: self.runtime.clone() });
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::clone(&module));
        self.known.retain(|_, module| module.strong_count() > 0);
        self.known.insert(digest, Arc::downgrade(&module));
        Ok(module)
    }

    fn check_type(&self, component: &Component) -> Result<(), LoadError> {
        let engine = self.runtime.engine();
        let described = component.component_type();
        for (name, _) in described.imports(engine) {
            check_import(name)?;
        }
        let exports: Vec<_> = described.exports(engine).map(|(name, _)| name.to_owned()).collect();
        for wanted in ["configure", "judge"] {
            if !exports.iter().any(|name| name == wanted) {
                return Err(LoadError::Export { wanted, exports: exports.join(", ") });
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    read_regular(path, MAX_MODULE).map_err(LoadError::Read)?.map_err(LoadError::File)
}

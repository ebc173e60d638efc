//! Loader: bytes to a module that can be started, compiled once for all rules that run it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::Duration;

use postern_core::{ModuleSource, Observer};
use postern_text::chain;
use postern_text::panic::PastPanic;
use sha2::{Digest as _, Sha256};
use wasmtime::component::{Component, Linker};

use crate::code::Code;
use crate::componentize::{Form, componentize};
use crate::contract::{RulePre, add_to_linker};
use crate::direct::DirectRulePre;
use crate::guest::Guest;
use crate::load_error::LoadError;
use crate::module_files::{Compiling, ModuleFiles, NoFiles};
use crate::runtime::Runtime;
use crate::setup_error::SetupError;
use crate::{features, stock};

/// Python rules are 18 MB; beyond this compiling would take minutes.
const MAX_MODULE: u64 = 64 << 20;

/// Most modules that are kept though no rule runs them any more; each takes a few hundred KiB.
const RECENT: usize = 8;

/// A compiled module, ready to be started any number of times.
pub struct Module {
    pub(crate) code: Code,
    pub(crate) runtime: Runtime,
}

/// How often a load that waits for another's compiling checks whether it was overtaken.
const LOOK: Duration = Duration::from_millis(100);

/// Compiles modules, each distinct one once, also if several loads ask for it at the same time.
pub struct Loader {
    runtime: Runtime,
    pub(crate) observer: Arc<dyn Observer>,
    linker: Linker<Guest>,
    cache: Mutex<Cache>,
    /// Notified when a module was compiled, or failed to.
    ended: Condvar,
}

#[derive(Default)]
struct Cache {
    known: HashMap<Digest, Weak<Module>>,
    /// Modules that are being compiled.
    claimed: HashSet<Digest>,
    /// The digests of stock modules, which many rules run.
    stock: HashMap<&'static str, Digest>,
    /// Loaded last, newest at the end: a reload with earlier bytes waits for no compiler.
    recent: VecDeque<Arc<Module>>,
}

type Digest = [u8; 32];

/// The right to compile something, until this is gone.
struct CompilePermit<'a> {
    loader: &'a Loader,
    digest: Digest,
}

impl Drop for CompilePermit<'_> {
    fn drop(&mut self) {
        lock(&self.loader.cache).claimed.remove(&self.digest);
        self.loader.ended.notify_all();
    }
}

impl Loader {
    /// A loader that has loaded nothing yet; `observer` gets the log lines of rules of its modules.
    ///
    /// # Errors
    /// If the contract cannot be linked, which would be our own mistake.
    pub fn new(runtime: Runtime, observer: Arc<dyn Observer>) -> Result<Self, SetupError> {
        let mut linker = Linker::new(runtime.engine());
        add_to_linker(&mut linker).map_err(|error| SetupError::Contract(chain(&*error).to_string()))?;
        Ok(Self { runtime, observer, linker, cache: Mutex::default(), ended: Condvar::new() })
    }

    /// Compiles what [`Loader::load`] will be asked for, on all processors, and keeps it as long as the returned modules live. What cannot
    /// be loaded is reported by that call.
    pub(crate) fn load_ahead<'a>(
        &self,
        sources: impl Iterator<Item = &'a ModuleSource>,
        files: &dyn ModuleFiles,
    ) -> Vec<Arc<Module>> {
        let paths: BTreeSet<&Path> = sources
            .filter_map(|source| match source {
                ModuleSource::File(path) => Some(path.as_path()),
                ModuleSource::Stock(_) => None,
            })
            .collect();
        let workers = thread::available_parallelism().map_or(1, usize::from).min(paths.len());
        let (paths, compiled) = (Mutex::new(paths.into_iter()), Mutex::new(Vec::new()));
        let next = || lock(&paths).next();
        let work = || {
            while let Some(path) = next() {
                // One module that makes the compiler panic must not take the others with it.
                let loaded = catch_unwind(AssertUnwindSafe(|| self.load_file(path, files)));
                if let Ok(Ok(module)) = loaded {
                    lock(&compiled).push(module);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..workers {
                // Without a thread it is compiled later, when it is asked for.
                let builder = thread::Builder::new().name("compiler".to_owned()).stack_size(Runtime::STACK);
                drop(builder.spawn_scoped(scope, work));
            }
        });
        compiled.into_inner().past_panic()
    }

    /// The module at `source`, whose file `files` reads. If the same bytes are in use already, so is their code.
    ///
    /// # Errors
    /// If it cannot or may not be read, is not WebAssembly, or is not a rule; or if it is still being compiled when `files` was overtaken.
    pub fn load(&self, source: &ModuleSource, files: &dyn ModuleFiles) -> Result<Arc<Module>, LoadError> {
        match source {
            ModuleSource::Stock(name) => {
                let bytes = stock::bytes(name);
                let digest =
                    *lock(&self.cache).stock.entry(name).or_insert_with(|| Sha256::digest(bytes).into());
                self.load_digested(digest, bytes, files)
            }
            ModuleSource::File(path) => self.load_file(path, files),
        }
    }

    /// The module in `bytes`.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn load_bytes(&self, bytes: &[u8]) -> Result<Arc<Module>, LoadError> {
        self.load_digested(Sha256::digest(bytes).into(), bytes, &NoFiles)
    }

    fn load_file(&self, path: &Path, files: &dyn ModuleFiles) -> Result<Arc<Module>, LoadError> {
        let bytes = files.read(path, MAX_MODULE)?;
        let _compiling = Compiling::begin(files, path);
        self.load_digested(Sha256::digest(&bytes).into(), &bytes, files)
    }

    fn load_digested(
        &self,
        digest: Digest,
        bytes: &[u8],
        files: &dyn ModuleFiles,
    ) -> Result<Arc<Module>, LoadError> {
        let _claim = match self.known_or_claim(digest, files)? {
            Ok(module) => return Ok(module),
            Err(claim) => claim,
        };
        let module = self.compile(bytes)?;
        lock(&self.cache).know(digest, &module);
        Ok(module)
    }

    /// The compiled module, or else the right to compile it.
    fn known_or_claim(
        &self,
        digest: Digest,
        files: &dyn ModuleFiles,
    ) -> Result<Result<Arc<Module>, CompilePermit<'_>>, LoadError> {
        let mut cache = lock(&self.cache);
        loop {
            if let Some(module) = cache.known.get(&digest).and_then(Weak::upgrade) {
                return Ok(Ok(module));
            }
            if cache.claimed.insert(digest) {
                return Ok(Err(CompilePermit { loader: self, digest }));
            }
            if files.is_overtaken() {
                return Err(LoadError::Overtaken);
            }
            let waited = self.ended.wait_timeout(cache, LOOK);
            cache = waited.past_panic().0;
        }
    }

    fn compile(&self, bytes: &[u8]) -> Result<Arc<Module>, LoadError> {
        let code = match componentize(bytes)? {
            Form::Direct(module) => {
                let compiled = DirectRulePre::compile(self.runtime.engine(), module);
                Code::Direct(compiled.map_err(|error| refused(module, &error))?)
            }
            Form::Component(component) => Code::Component(self.compile_component(&component)?),
        };
        Ok(Arc::new(Module { code, runtime: self.runtime.clone() }))
    }

    fn compile_component(&self, component: &[u8]) -> Result<RulePre<Guest>, LoadError> {
        let compiled = Component::new(self.runtime.engine(), component).and_then(|compiled| {
            // Else the first start would do it, and the guest would pay for it.
            compiled.initialize_copy_on_write_image()?;
            Ok(compiled)
        });
        let compiled = compiled.map_err(|error| refused(component, &error))?;
        let world = |error: wasmtime::Error| LoadError::World(chain(&*error).to_string());
        self.linker.instantiate_pre(&compiled).and_then(RulePre::new).map_err(world)
    }
}

impl Cache {
    fn know(&mut self, digest: Digest, module: &Arc<Module>) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::clone(module));
        self.known.retain(|_, module| module.strong_count() > 0);
        self.known.insert(digest, Arc::downgrade(module));
    }
}

/// Why the compiler refused a module.
fn refused(module: &[u8], error: &wasmtime::Error) -> LoadError {
    features::explain(module).map_or_else(|| LoadError::Compile(chain(&**error).to_string()), LoadError::from)
}

/// The cache, also after a panic: each change of it is a single insertion or removal, so it is always consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().past_panic()
}

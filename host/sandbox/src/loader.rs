//! Loader: compiled code to a module that can be started, one for all rules that run it.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;

use postern_core::{ModuleSource, Observer, TenantId};
use postern_text::chain;
use postern_text::panic::PastPanic;
use sha2::{Digest as _, Sha256};
use wasmtime::component::Linker;

use crate::code::Code;
use crate::code_source::{CodeSource, ModuleDigest};
use crate::compiler::{Artifact, CodeKind, Compiler};
use crate::contract::{RulePre, add_to_linker};
use crate::deserialize;
use crate::direct::DirectRulePre;
use crate::guest::Guest;
use crate::load_error::LoadError;
use crate::module::{LoadedModule, Module};
use crate::runtime::Runtime;
use crate::setup_error::SetupError;
use crate::trying::TriedBefore;

/// Most modules that are kept though no rule runs them any more; each takes a few hundred KiB.
const RECENT: usize = 8;

/// What became of loading a module: the module, or why not; nothing is known if that panicked.
pub(crate) type Loaded = Result<LoadedModule, Option<Arc<LoadError>>>;

/// A module of an owner of rules.
type OwnedModule<'a> = (&'a TenantId, &'a ModuleSource);

/// Threads that load modules, or as many as there are processors. Most of them wait for compilers, whose number is bounded elsewhere; so one owner's
/// modules that compile for long keep no thread from others'.
const MOST_LOADERS: usize = 16;

/// Loads modules, each distinct one once.
pub struct Loader {
    runtime: Runtime,
    pub(crate) observer: Arc<dyn Observer>,
    linker: Linker<Guest>,
    known: Mutex<Known>,
    /// What the load before this one has left.
    tried: Mutex<TriedBefore>,
}

#[derive(Default)]
struct Known {
    modules: HashMap<ModuleDigest, Weak<Module>>,
    /// Loaded last, newest at the end: a reload with earlier bytes needs no code.
    recent: VecDeque<Arc<Module>>,
}

impl Loader {
    /// A loader that has loaded nothing yet; `observer` gets the log lines of rules of its modules.
    ///
    /// # Errors
    /// If the contract cannot be linked, which would be our own mistake.
    pub fn new(runtime: Runtime, observer: Arc<dyn Observer>) -> Result<Self, SetupError> {
        let mut linker = Linker::new(runtime.engine());
        add_to_linker(&mut linker).map_err(|error| SetupError::Contract(chain(&*error).to_string()))?;
        Ok(Self { runtime, observer, linker, known: Mutex::default(), tried: Mutex::default() })
    }

    /// What its modules run on.
    #[must_use]
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Loads these modules of owners of rules, each once for each owner, on all processors. What one owner may not load, another may.
    pub(crate) fn load_all<'a>(
        &self,
        modules: impl Iterator<Item = OwnedModule<'a>>,
        code: &dyn CodeSource,
    ) -> HashMap<OwnedModule<'a>, Loaded> {
        let mut first_rules = HashMap::new();
        for (rule, module) in modules.enumerate() {
            first_rules.entry(module).or_insert(rule);
        }
        let mut wanted: Vec<_> = first_rules.into_iter().collect();
        wanted.sort_by_key(|(_, rule)| *rule);
        let wanted = in_turn(wanted);
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let workers = MOST_LOADERS.max(processors).min(wanted.len());
        let (wanted, loaded) = (Mutex::new(wanted.into_iter()), Mutex::new(HashMap::new()));
        let next = || wanted.lock().past_panic().next();
        let work = || {
            while let Some((of, rule)) = next() {
                // Wasmtime is a large program; what makes it panic must not take the others with it.
                let done = catch_unwind(AssertUnwindSafe(|| self.load(rule, of.1, code)));
                let done = done.map_or(Err(None), |done| done.map_err(|error| Some(Arc::new(error))));
                loaded.lock().past_panic().insert(of, done);
            }
        };
        thread::scope(|scope| {
            for _ in 1..workers {
                // Without a thread the others do its work.
                let builder = thread::Builder::new().name("loader".to_owned()).stack_size(Runtime::STACK);
                drop(builder.spawn_scoped(scope, work));
            }
            work();
        });
        loaded.into_inner().past_panic()
    }

    /// The module that the rule at the place `rule` runs. If the same bytes are in use already, so is their code; whether the rule may run them
    /// is found out each time.
    fn load(
        &self,
        rule: usize,
        module: &ModuleSource,
        code: &dyn CodeSource,
    ) -> Result<LoadedModule, LoadError> {
        let found = code.find(rule, module)?;
        let (digest, signer) = (found.digest(), found.signer());
        if let Some(module) = self.known().get(&digest) {
            return Ok(LoadedModule { module, signer });
        }
        let module = match self.link(digest, &found.code(false)?) {
            // What was kept may be for another daemon after all.
            Err(NotLinked::Code(_)) => self.link(digest, &found.code(true)?),
            other => other,
        };
        Ok(LoadedModule { module: self.known().add(module?), signer })
    }

    /// The module in `bytes`, compiled in this process: for tests and benchmarks, whose modules are no strangers.
    ///
    /// # Errors
    /// If it is not WebAssembly, or is not a rule.
    pub fn load_bytes(&self, bytes: &[u8]) -> Result<Arc<Module>, LoadError> {
        let digest = Sha256::digest(bytes).into();
        if let Some(module) = self.known().get(&digest) {
            return Ok(module);
        }
        let module = self.link(digest, &Compiler::of(&self.runtime).compile(bytes)?)?;
        Ok(self.known().add(module))
    }

    /// The module with this digest whose code is `artifact`, for whoever got that by itself. If the same bytes are in use already, it is that.
    ///
    /// # Errors
    /// If the code cannot be loaded, or its types are not those of the contract.
    pub fn load_artifact(&self, digest: ModuleDigest, artifact: &Artifact) -> Result<Arc<Module>, LoadError> {
        if let Some(module) = self.known().get(&digest) {
            return Ok(module);
        }
        let module = self.link(digest, artifact)?;
        Ok(self.known().add(module))
    }

    fn link(&self, digest: ModuleDigest, artifact: &Artifact) -> Result<Arc<Module>, NotLinked> {
        let engine = self.runtime.engine();
        let code = match artifact.kind {
            CodeKind::Module => {
                let module = deserialize::module(engine, &artifact.code).map_err(NotLinked::code)?;
                Code::Direct(DirectRulePre::link(engine, &module).map_err(NotLinked::contract)?)
            }
            CodeKind::Component => {
                let component = deserialize::component(engine, &artifact.code).map_err(NotLinked::code)?;
                // Else the first start would do it, and the guest would pay for it.
                component.initialize_copy_on_write_image().map_err(NotLinked::code)?;
                let linked = self.linker.instantiate_pre(&component).and_then(RulePre::new);
                Code::Component(linked.map_err(NotLinked::contract)?)
            }
        };
        Ok(Arc::new(Module { digest, code, runtime: self.runtime.clone() }))
    }

    /// What the load before has left. Of two loads at once the second has nothing of the first.
    pub(crate) fn take_tried(&self) -> TriedBefore {
        std::mem::take(&mut *self.tried.lock().past_panic())
    }

    /// Keeps this for the next load.
    pub(crate) fn keep_tried(&self, tried: TriedBefore) {
        *self.tried.lock().past_panic() = tried;
    }

    /// What is known, also after a panic: each change of it leaves it consistent.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().past_panic()
    }
}

/// The same in another order: the first of each owner, then the second of each, and so on.
fn in_turn(wanted: Vec<(OwnedModule<'_>, usize)>) -> Vec<(OwnedModule<'_>, usize)> {
    let mut before: HashMap<&TenantId, usize> = HashMap::new();
    let mut turns: Vec<_> = wanted
        .into_iter()
        .map(|entry| {
            let ((owner, _), _) = entry;
            let turn = before.entry(owner).or_default();
            *turn += 1;
            (*turn, entry)
        })
        .collect();
    // Stable: owners keep their order.
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, entry)| entry).collect()
}

/// Why compiled code is no module, with everything that led to it.
enum NotLinked {
    /// It cannot be loaded.
    Code(String),
    /// Its types are not those of the contract.
    Contract(String),
}

impl NotLinked {
    fn code(error: wasmtime::Error) -> Self {
        Self::Code(chain(&*error).to_string())
    }

    fn contract(error: wasmtime::Error) -> Self {
        Self::Contract(chain(&*error).to_string())
    }
}

impl From<NotLinked> for LoadError {
    fn from(error: NotLinked) -> Self {
        match error {
            NotLinked::Code(what) => Self::Compile(what),
            NotLinked::Contract(what) => Self::World(what),
        }
    }
}

impl Known {
    fn get(&self, digest: &ModuleDigest) -> Option<Arc<Module>> {
        self.modules.get(digest).and_then(Weak::upgrade)
    }

    /// The module, or the same one if another load was faster.
    fn add(&mut self, module: Arc<Module>) -> Arc<Module> {
        let digest = module.digest;
        if let Some(same) = self.get(&digest) {
            return same;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::clone(&module));
        self.modules.retain(|_, module| module.strong_count() > 0);
        self.modules.insert(digest, Arc::downgrade(&module));
        module
    }
}

//! CompileService: compiled code of modules, out of the cache or from a compiler's process.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use postern_code::{CacheError, CacheLimits, CodeCache, CodeKey, Entry};
use postern_core::{Observer, Report, TenantId, What};
use postern_sandbox::{Artifact, ArtifactCode, CodeKind, Compiler, LoadError, ModuleDigest, SetupError};
use postern_text::chain;
use postern_text::panic::PastPanic;

use super::compile_limits::CompileLimits;
use super::compiler_process::{Compiled, NotCompiled, compile};
use super::job::Refusal;
use super::jobs::{JobOutcome, Jobs, WaitingLoad};
use super::{Compile, CompileAsker, ModuleBytes};
use crate::role::OwnProgram;

/// Where compiled code is kept, unless the environment says otherwise, as systemd's `CacheDirectory=` makes it do.
pub(crate) const CACHE_DIR: &str = "/var/cache/postern";
/// Modules that ended their compilers and are not tried again, by the daemon that has seen it.
const MOST_FATAL: usize = 256;

/// How long a configuration waits for the modules of tenants, once the first of them is to be compiled: then everybody else goes on without. It
/// is shorter than what the next reload waits before it overtakes this one.
const PATIENCE: Duration = Duration::from_millis(800);

/// Gets modules compiled, and keeps what comes of it.
pub struct CompileService {
    maker: Arc<Maker>,
    jobs: Jobs<JobKey, Outcome>,
    /// How long tenants' modules are waited for; none: until they are compiled.
    patience: Option<Duration>,
}

/// What is compiled, and the most seconds of CPU time that it may take.
type JobKey = (CodeKey, u64);

/// Makes code, on any thread.
struct Maker {
    /// Or why no process can be started.
    program: io::Result<OwnProgram>,
    cache: Option<CodeCache>,
    compiler: [u8; 16],
    /// The oldest first.
    fatal: Mutex<VecDeque<(JobKey, Refusal)>>,
    /// Which barriers were not around the first compiler.
    missing: OnceLock<Vec<String>>,
    observer: Arc<dyn Observer>,
    /// That code cannot be kept was reported.
    is_reported: AtomicBool,
    /// Writes down who wants which code.
    owners_writing: Mutex<OwnersWriting>,
}

/// How far it is with writing down who wants which code, which a disk may hold up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OwnersWriting {
    #[default]
    Done,
    /// A thread does it.
    UnderWay,
    /// It does it once more after that.
    Again,
}

/// What several loads get that asked for the same.
type Outcome = Arc<Result<Artifact, Refusal>>;

impl CompileService {
    /// Opens the cache. `readers` is the number of the group whose members load what is compiled, if that is not the user of this process.
    /// `observer` gets a report if code cannot be kept.
    ///
    /// # Errors
    /// If this machine cannot run what would be compiled.
    pub fn start(readers: Option<u32>, observer: Arc<dyn Observer>) -> Result<Self, SetupError> {
        Self::start_in(&code_folder(), readers, observer)
    }

    /// The same with a cache in this folder.
    ///
    /// # Errors
    /// As there.
    pub fn start_in(
        folder: &Path,
        readers: Option<u32>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, SetupError> {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let mut maker = Maker {
            program: OwnProgram::open(),
            cache: None,
            compiler: Compiler::identity()?,
            fatal: Mutex::default(),
            missing: OnceLock::new(),
            observer,
            is_reported: AtomicBool::new(false),
            owners_writing: Mutex::default(),
        };
        match CodeCache::open(folder, readers, CacheLimits::default()) {
            Ok(cache) => maker.cache = Some(cache),
            Err(error) => maker.report(&error),
        }
        Ok(Self { maker: Arc::new(maker), jobs: Jobs::new(processors), patience: None })
    }

    /// Lets configurations wait a little for the modules of tenants, and no longer.
    #[must_use]
    pub fn impatient(self) -> Self {
        Self { patience: Some(PATIENCE), ..self }
    }

    /// Which barriers are not around compilers, in words; none if nothing was compiled yet.
    #[must_use]
    pub fn missing_barriers(&self) -> Option<&[String]> {
        self.maker.missing.get().map(Vec::as_slice)
    }
}

impl Maker {
    /// Reports, once, around what compilers run.
    fn note_missing(&self, missing: Vec<String>) {
        if self.missing.set(missing).is_ok() {
            for missing in self.missing.get().into_iter().flatten() {
                let (role, detail) = ("compiler".into(), missing.as_str().into());
                self.observer.report(&Report::new(What::BarrierMissing { role, detail }));
            }
        }
    }

    /// Reports, once, that code is compiled again by the next start.
    fn report(&self, error: &CacheError) {
        if !self.is_reported.swap(true, Ordering::Relaxed) {
            let detail = chain(error).to_string();
            self.observer.report(&Report::new(What::CodeNotKept { detail: detail.into() }));
        }
    }

    fn find(&self, key: &CodeKey, owner: &TenantId) -> Option<Artifact> {
        artifact(self.cache.as_ref()?.find(key, owner.as_str())?)
    }

    /// Has it written down who wants which code, on a thread that is not joined: the disk may hang.
    fn write_owners(self: &Arc<Self>) {
        let mut writing = self.owners_writing.lock().past_panic();
        *writing = match *writing {
            OwnersWriting::Done => {
                let maker = Arc::clone(self);
                let thread = thread::Builder::new().name("code-owners".to_owned());
                match thread.spawn(move || while maker.write_owners_once() {}) {
                    Ok(_) => OwnersWriting::UnderWay,
                    Err(_) => OwnersWriting::Done,
                }
            }
            OwnersWriting::UnderWay | OwnersWriting::Again => OwnersWriting::Again,
        };
    }

    /// Whether it is to be done once more.
    fn write_owners_once(&self) -> bool {
        if let Some(cache) = &self.cache {
            cache.write_owners();
        }
        let mut writing = self.owners_writing.lock().past_panic();
        let is_due = *writing == OwnersWriting::Again;
        *writing = if is_due { OwnersWriting::UnderWay } else { OwnersWriting::Done };
        is_due
    }

    /// Compiles, and keeps what comes of it; none if nobody waits for it any more.
    fn make(
        &self,
        key: &CodeKey,
        owner: &TenantId,
        bytes: &[u8],
        limits: CompileLimits,
        is_wanted: &dyn Fn() -> bool,
    ) -> Option<Outcome> {
        let done = match &self.program {
            Ok(program) => compile(program, bytes, limits, is_wanted, &|missing| self.note_missing(missing)),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        let refusal = match done {
            Ok(Ok(compiled)) => return Some(Arc::new(Ok(self.keep(key, owner, compiled)))),
            Ok(Err(NotCompiled::Unwanted)) => return None,
            Ok(Err(NotCompiled::Refused(refusal))) => refusal,
            Ok(Err(NotCompiled::Died(death))) => {
                let (refusal, is_lasting) = death.explain(limits);
                if is_lasting {
                    self.remember((*key, limits.cpu), refusal.clone());
                }
                refusal
            }
            Err(error) => Refusal::new(
                &format!("is not compiled: no process can be started for that: {error}"),
                "look whether /proc is there, and whether there may be more processes and open files",
            ),
        };
        Some(Arc::new(Err(refusal)))
    }

    fn keep(&self, key: &CodeKey, owner: &TenantId, compiled: Compiled) -> Artifact {
        let Compiled { kind, code, length } = compiled;
        let store = |cache: &CodeCache| cache.store(key, owner.as_str(), kind.number(), &code, length);
        let stored = self.cache.as_ref().map(store);
        match stored {
            Some(Ok(entry)) => Artifact { kind, code: ArtifactCode::File(entry.file) },
            Some(Err(error)) => {
                self.report(&error);
                Artifact { kind, code: ArtifactCode::File(code) }
            }
            None => Artifact { kind, code: ArtifactCode::File(code) },
        }
    }

    fn remember(&self, key: JobKey, refusal: Refusal) {
        let mut fatal = self.fatal.lock().past_panic();
        if fatal.len() == MOST_FATAL {
            fatal.pop_front();
        }
        fatal.push_back((key, refusal));
    }

    /// Why this module is not tried again.
    fn is_fatal(&self, key: &JobKey) -> Option<Refusal> {
        let fatal = self.fatal.lock().past_panic();
        fatal.iter().find(|(of, _)| of == key).map(|(_, refusal)| refusal.clone())
    }
}

impl Compile for CompileService {
    fn compile(&self, module: &ModuleBytes<'_>, asker: &CompileAsker<'_>) -> Result<Artifact, LoadError> {
        let ModuleBytes { digest, bytes, anew } = *module;
        let CompileAsker { owner, most_cpu, activity } = asker;
        let Self { maker, jobs, patience } = self;
        let key = CodeKey::new(digest, maker.compiler);
        if let (true, Some(cache)) = (anew, &maker.cache) {
            cache.remove(&key);
        }
        if let Some(artifact) = maker.find(&key, owner) {
            return Ok(artifact);
        }
        let limits = CompileLimits::for_module(bytes.len() as u64).with_cpu(*most_cpu);
        let job = (key, limits.cpu);
        if let Some(refusal) = maker.is_fatal(&job) {
            return Err(refusal.into());
        }
        let patience = patience.filter(|_| !owner.is_host());
        let load = WaitingLoad {
            owner: (*owner).clone(),
            is_overtaken: Arc::new({
                let activity = (*activity).clone();
                move || activity.is_outdated()
            }),
            until: patience.map(|patience| activity.waits_until(patience)),
        };
        let (of, job_owner, bytes) = (Arc::clone(maker), (*owner).clone(), Arc::clone(bytes));
        let made = jobs.make(job, load, move |is_wanted| match of.find(&key, &job_owner) {
            // Another load was faster.
            Some(artifact) => Some(Arc::new(Ok(artifact))),
            None => of.make(&key, &job_owner, &bytes, limits, is_wanted),
        });
        match made {
            JobOutcome::Overtaken => Err(LoadError::Overtaken),
            JobOutcome::Late => Err(LoadError::Compiling),
            JobOutcome::Made(made) => match &*made {
                Err(refusal) => Err(refusal.clone().into()),
                Ok(artifact) => {
                    // Another owner may have asked for it first.
                    drop(maker.find(&key, owner));
                    artifact.try_clone().map_err(LoadError::Read)
                }
            },
        }
    }

    fn kept(&self, digest: ModuleDigest, owner: &TenantId) -> Option<Artifact> {
        self.maker.find(&CodeKey::new(digest, self.maker.compiler), owner)
    }

    fn in_force(&self, modules: &[(TenantId, ModuleDigest)]) {
        let Some(cache) = &self.maker.cache else { return };
        let key = |digest: &ModuleDigest| CodeKey::new(*digest, self.maker.compiler);
        cache.need(modules.iter().map(|(owner, digest)| (key(digest), owner.as_str())));
        self.maker.write_owners();
    }

    fn tell_late(&self, tell: Box<dyn Fn() + Send + Sync>) {
        self.jobs.tell_late(tell);
    }
}

impl From<Refusal> for LoadError {
    fn from(Refusal { what, remedy }: Refusal) -> Self {
        Self::Refused { what, remedy }
    }
}

fn artifact(Entry { file, label }: Entry) -> Option<Artifact> {
    Some(Artifact { kind: CodeKind::of_number(label)?, code: ArtifactCode::File(file) })
}

/// The folder of the cache. systemd may name several; the first is ours.
pub(crate) fn code_folder() -> PathBuf {
    let named = std::env::var_os("CACHE_DIRECTORY").filter(|folder| !folder.is_empty());
    named.and_then(|folders| std::env::split_paths(&folders).next()).unwrap_or_else(|| CACHE_DIR.into())
}

//! ModuleCode: how the rules of a configuration get the code of their modules: files are read as the configuration trusts them, and their
//! bytes go to whoever compiles.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use postern_config::{
    Activity, Config, MOST_SIGNATURE, NOT_REGULAR, OpenError, Tenant, TenantCeilings, TenantFiles,
    TenantFolder, Trust, UNANSWERED, Unread, read_regular,
};
use postern_core::{ModuleSource, TenantId};
use postern_sandbox::{
    Artifact, CodeSource, Compiler, FoundModule, LoadError, Loader, MAX_MODULE, ModuleDigest, Runtime, stock,
};
use sha2::{Digest as _, Sha256};

use crate::compile::{Compile, CompileAsker, ModuleBytes};
use crate::signed;

/// What loads the modules of configurations, one after the other.
pub struct Modules {
    /// Keeps what is loaded.
    pub loader: Loader,
    /// Where code comes from.
    pub code: Arc<dyn CodeProvider>,
}

impl Modules {
    /// Modules that are compiled in this process: for tests and benchmarks, whose modules are no strangers.
    #[must_use]
    pub fn in_process(runtime: &Runtime, loader: Loader) -> Self {
        Self { loader, code: Arc::new(InProcess(Compiler::of(runtime))) }
    }
}

/// Where the code of a configuration's modules comes from.
pub trait CodeProvider: Send + Sync {
    /// The code of this configuration's modules; `files` reads those of tenants with users of their own, and `activity` shows what is being done.
    fn code_of<'a>(
        &'a self,
        config: &'a Config,
        files: &'a dyn TenantFiles,
        activity: &'a Activity,
    ) -> Box<dyn CodeSource + 'a>;

    /// As [`Compile::tell_late`].
    fn tell_late(&self, _tell: Box<dyn Fn() + Send + Sync>) {}

    /// As [`Compile::in_force`].
    fn in_force(&self, _modules: &[(TenantId, ModuleDigest)]) {}
}

impl<C: Compile> CodeProvider for C {
    fn code_of<'a>(
        &'a self,
        config: &'a Config,
        files: &'a dyn TenantFiles,
        activity: &'a Activity,
    ) -> Box<dyn CodeSource + 'a> {
        Box::new(ConfigModules { config, files, activity, compiler: self })
    }

    fn tell_late(&self, tell: Box<dyn Fn() + Send + Sync>) {
        Compile::tell_late(self, tell);
    }

    fn in_force(&self, modules: &[(TenantId, ModuleDigest)]) {
        Compile::in_force(self, modules);
    }
}

/// Modules that one configuration names, in files that this process reads.
struct ConfigModules<'a> {
    config: &'a Config,
    files: &'a dyn TenantFiles,
    activity: &'a Activity,
    compiler: &'a dyn Compile,
}

/// One of them.
struct ReadModule<'a> {
    of: &'a ConfigModules<'a>,
    /// None for a stock module.
    file: Option<&'a Path>,
    bytes: Arc<Cow<'static, [u8]>>,
    digest: ModuleDigest,
    signer: Option<Arc<str>>,
    owner: Owner<'a>,
}

/// Whose rule runs a module, and what a module of that owner may take.
#[derive(Clone, Copy)]
struct Owner<'a> {
    id: &'a TenantId,
    /// None: the host's, which may take what any module may.
    ceilings: Option<TenantCeilings>,
}

impl CodeSource for ConfigModules<'_> {
    fn find<'a>(
        &'a self,
        rule: usize,
        module: &'a ModuleSource,
    ) -> Result<Box<dyn FoundModule + 'a>, LoadError> {
        if self.activity.is_outdated() {
            return Err(LoadError::Overtaken);
        }
        let owner = self.owner(rule);
        let (file, bytes, signer) = match module {
            ModuleSource::Stock(name) => (None, stock::bytes(name).into(), None),
            ModuleSource::File(file) => {
                let bytes = self.read(rule, file, self.most(rule))?;
                let signer = self.signer(rule, file, &bytes)?;
                (Some(file.as_path()), bytes.into(), signer)
            }
        };
        let bytes: Cow<'static, [u8]> = bytes;
        let digest = Sha256::digest(&bytes).into();
        Ok(Box::new(ReadModule { of: self, file, bytes: Arc::new(bytes), digest, signer, owner }))
    }

    fn kept(&self, rule: usize, digest: ModuleDigest) -> Option<Artifact> {
        self.compiler.kept(digest, self.owner(rule).id)
    }
}

impl<'a> ConfigModules<'a> {
    /// Whose the rule at this place is.
    fn owner(&self, rule: usize) -> Owner<'a> {
        static HOST: LazyLock<TenantId> = LazyLock::new(TenantId::host);
        let id = self.config.rules.get(rule).map_or(&*HOST, |rule| &rule.id.tenant);
        Owner { id, ceilings: self.config.tenant(id).map(|tenant| tenant.ceilings) }
    }

    /// Most bytes of the module's file of a rule.
    fn most(&self, rule: usize) -> u64 {
        self.tenant(rule).map_or(MAX_MODULE, |tenant| tenant.ceilings.module.min(MAX_MODULE))
    }

    /// Whose rule it is, if not the host's.
    fn tenant(&self, rule: usize) -> Option<&Tenant> {
        self.config.tenant(&self.config.rules.get(rule)?.id.tenant)
    }

    /// Whose signature these bytes of the module's file of a rule have, if it needs one. What needs one and has none goes no further.
    fn signer(&self, rule: usize, file: &Path, bytes: &[u8]) -> Result<Option<Arc<str>>, LoadError> {
        let Some(of) = self.config.rules.get(rule) else { return Err(LoadError::Overtaken) };
        signed::signer(self.config, of, file, bytes, |signature| self.read(rule, signature, MOST_SIGNATURE))
    }

    /// Reads a file of a rule, as its tenant's files are read: at most so many bytes.
    fn read(&self, rule: usize, file: &Path, most: u64) -> Result<Vec<u8>, LoadError> {
        let Self { config, files, activity, .. } = *self;
        let Some((tenant, user)) = self.tenant(rule).and_then(|tenant| Some((tenant, tenant.user.as_ref()?)))
        else {
            return read(file, most, config.trust, activity);
        };
        let dir = &tenant.rules_dir;
        let (Some(name), true) = (file.file_name(), file.parent() == Some(dir)) else {
            return Err(LoadError::File("is not in its tenant's folder".to_owned()));
        };
        let read = || {
            let folder = TenantFolder::open(dir, user, config.trust)?;
            Ok(files.module(&folder, name, most))
        };
        match activity.read(file, read) {
            Ok(read) => read.map_err(|Unread { what, remedy }| LoadError::Refused { what, remedy }),
            Err(error) => Err(not_opened(error)),
        }
    }
}

impl FoundModule for ReadModule<'_> {
    fn digest(&self) -> ModuleDigest {
        self.digest
    }

    fn signer(&self) -> Option<Arc<str>> {
        self.signer.clone()
    }

    fn code(&self, anew: bool) -> Result<Artifact, LoadError> {
        let ConfigModules { activity, compiler, .. } = self.of;
        if activity.is_outdated() {
            return Err(LoadError::Overtaken);
        }
        let _compiling = self.file.map(|file| Compiling::begin(activity, file));
        let module = ModuleBytes { digest: self.digest, bytes: &self.bytes, anew };
        let Owner { id: owner, ceilings } = self.owner;
        compiler.compile(&module, &CompileAsker { owner, most_cpu: ceilings.map(|of| of.compile), activity })
    }
}

fn read(file: &Path, most: u64, trust: Trust, activity: &Activity) -> Result<Vec<u8>, LoadError> {
    match read_regular(file, most, trust, activity) {
        Ok(read) => read.map_err(LoadError::TooLong),
        Err(error) => Err(not_opened(error)),
    }
}

fn not_opened(error: OpenError) -> LoadError {
    match error {
        OpenError::Io(error) => LoadError::Read(error),
        OpenError::Distrust(distrust) => {
            let what = distrust.to_string();
            LoadError::Distrusted { path: distrust.path, what }
        }
        OpenError::NotRegular => LoadError::File(NOT_REGULAR.to_owned()),
        OpenError::Unanswered => LoadError::File(UNANSWERED.to_owned()),
    }
}

/// The module of a file is being compiled as long as this lives.
struct Compiling<'a> {
    activity: &'a Activity,
    file: &'a Path,
}

impl<'a> Compiling<'a> {
    fn begin(activity: &'a Activity, file: &'a Path) -> Self {
        activity.begin_compiling(file);
        Self { activity, file }
    }
}

impl Drop for Compiling<'_> {
    fn drop(&mut self) {
        self.activity.end_compiling(self.file);
    }
}

/// Compiles in this process.
struct InProcess(Compiler);

impl Compile for InProcess {
    fn compile(&self, module: &ModuleBytes<'_>, _asker: &CompileAsker<'_>) -> Result<Artifact, LoadError> {
        self.0.compile(module.bytes)
    }
}

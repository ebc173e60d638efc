//! ModuleFile: a module as a person names it on a command line or in a scenario, and how it is read and loaded.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_config::{Activity, NOT_REGULAR, OpenError, Trust, UNANSWERED, read_regular};
use postern_core::{ModuleSource, TenantId};
use postern_sandbox::{LoadError, Loader, MAX_MODULE, Module, ModuleDigest, stock};
use postern_text::piece;
use sha2::{Digest as _, Sha256};

use crate::compile::{Compile, CompileAsker, ModuleBytes};

/// A module that was read.
pub(super) struct ModuleFile {
    source: ModuleSource,
    bytes: Arc<Cow<'static, [u8]>>,
    digest: ModuleDigest,
}

impl ModuleFile {
    /// Which module a person means: a stock module by its name, unless there is a file of that name, and else a file.
    pub(super) fn named(path: &Path) -> ModuleSource {
        let stock = ModuleSource::STOCK.into_iter().find(|name| Path::new(name) == path);
        match stock {
            Some(name) if !path.exists() => ModuleSource::Stock(name),
            _ => ModuleSource::File(path.to_owned()),
        }
    }

    /// Reads a module.
    ///
    /// # Errors
    /// What is wrong, as a line that names it.
    pub(super) fn read(source: ModuleSource) -> Result<Self, String> {
        let bytes: Cow<'static, [u8]> = match &source {
            ModuleSource::Stock(name) => stock::bytes(name).into(),
            ModuleSource::File(file) => match read(file, MAX_MODULE) {
                Ok(bytes) => bytes.into(),
                Err(what) => {
                    return Err(format!(
                        "{}: {what}; name the module that the build made",
                        piece(file.display())
                    ));
                }
            },
        };
        let digest = Sha256::digest(&bytes).into();
        Ok(Self { source, bytes: Arc::new(bytes), digest })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) const fn digest(&self) -> ModuleDigest {
        self.digest
    }

    /// Where it is; none for a stock module.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.source {
            ModuleSource::Stock(_) => None,
            ModuleSource::File(path) => Some(path),
        }
    }

    /// As a person named it.
    pub(super) fn name(&self) -> PathBuf {
        match &self.source {
            ModuleSource::Stock(name) => name.into(),
            ModuleSource::File(path) => path.clone(),
        }
    }

    /// Loads it; `anew` has it compiled whether its code is kept or not.
    ///
    /// # Errors
    /// If it is no rule or cannot be compiled.
    pub(super) fn load(
        &self,
        loader: &Loader,
        compiler: &dyn Compile,
        anew: bool,
    ) -> Result<Arc<Module>, LoadError> {
        let compile = |anew| {
            let module = ModuleBytes { digest: self.digest, bytes: &self.bytes, anew };
            let (owner, activity) = (TenantId::host(), Activity::default());
            compiler.compile(&module, &CompileAsker { owner: &owner, most_cpu: None, activity: &activity })
        };
        match loader.load_artifact(self.digest, &compile(anew)?) {
            // What was kept may be for another daemon after all.
            Err(LoadError::Compile(_)) if !anew => loader.load_artifact(self.digest, &compile(true)?),
            other => other,
        }
    }

    /// What is wrong with it, as a line that names it and says what to do.
    pub(super) fn mistake(&self, error: &LoadError) -> String {
        format!("{}: the module {}; {}", piece(self.name().display()), piece(error), error.remedy())
    }
}

/// The bytes of a file, at most so many, or what is wrong with it.
pub(super) fn read(file: &Path, most: u64) -> Result<Vec<u8>, String> {
    match read_regular(file, most, Trust::Anybody, &Activity::default()) {
        Ok(read) => read,
        Err(OpenError::Io(error)) => Err(format!("cannot be read: {error}")),
        Err(OpenError::NotRegular) => Err(NOT_REGULAR.to_owned()),
        Err(OpenError::Distrust(distrust)) => Err(distrust.to_string()),
        Err(OpenError::Unanswered) => Err(UNANSWERED.to_owned()),
    }
}

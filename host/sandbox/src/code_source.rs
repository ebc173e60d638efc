//! CodeSource: the trait through which a loader gets compiled code. Nothing here opens a file or compiles.

use std::sync::Arc;

use postern_core::ModuleSource;

use crate::compiler::Artifact;
use crate::load_error::LoadError;

pub use postern_core::ModuleDigest;

/// Finds the modules of one configuration, and gets them compiled.
pub trait CodeSource: Sync {
    /// Finds out which module this is; may never return. `rule` is the place of a rule of the configuration that names it: what one tenant's
    /// may run, another's may not.
    ///
    /// # Errors
    /// If it cannot or may not be read, or may not be run.
    fn find<'a>(
        &'a self,
        rule: usize,
        module: &'a ModuleSource,
    ) -> Result<Box<dyn FoundModule + 'a>, LoadError>;

    /// The code of a module with this digest, if it is at hand and the module need not be read for it. `rule` is as in [`CodeSource::find`].
    fn kept(&self, _rule: usize, _digest: ModuleDigest) -> Option<Artifact> {
        None
    }
}

/// A module whose bytes are known.
pub trait FoundModule {
    /// The digest of its bytes.
    fn digest(&self) -> ModuleDigest;

    /// The key whose signature of these bytes was found to be good, as whoever looked for it writes it; none if none was needed.
    fn signer(&self) -> Option<Arc<str>> {
        None
    }

    /// Its code. `anew` says that the code which was got before cannot be loaded.
    ///
    /// # Errors
    /// If it is no rule, or cannot be compiled; or if that was not done when it was of no use any more.
    fn code(&self, anew: bool) -> Result<Artifact, LoadError>;
}

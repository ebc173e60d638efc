//! Module: compiled code that can be started, and whose signature let it be loaded.

use std::sync::Arc;

use crate::code::Code;
use crate::code_source::ModuleDigest;
use crate::runtime::Runtime;

/// A compiled module, ready to be started any number of times.
pub struct Module {
    pub(crate) digest: ModuleDigest,
    pub(crate) code: Code,
    pub(crate) runtime: Runtime,
}

/// A module that rules of one owner may run.
#[derive(Clone)]
pub(crate) struct LoadedModule {
    /// Others' rules may run the same.
    pub(crate) module: Arc<Module>,
    /// As [`FoundModule::signer`](crate::FoundModule::signer).
    pub(crate) signer: Option<Arc<str>>,
}

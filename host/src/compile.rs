//! Compile: gets modules compiled, each in a process of its own, and what was compiled before out of the cache.
//!
//! Owns the processes that run in the role [`Compiler`](crate::role::Role::Compiler): how many there are at once, what each may use, and what
//! their deaths mean. **Invariant:** in the daemon nothing of a module is looked at anywhere else; here modules are bytes with a digest.

mod compile_limits;
mod compiler_process;
mod compiler_role;
mod death;
mod job;
mod jobs;
mod service;

pub(crate) use compiler_role::run as run_compiler;
pub use service::CompileService;
pub(crate) use service::{CACHE_DIR, code_folder};

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use postern_config::Activity;
use postern_core::TenantId;
use postern_sandbox::{Artifact, LoadError, ModuleDigest};

/// A module that is to be compiled.
#[derive(Clone, Copy, Debug)]
pub struct ModuleBytes<'a> {
    /// The digest of its bytes.
    pub digest: ModuleDigest,
    /// Its bytes, which a compiler may need for longer than who asks.
    pub bytes: &'a Arc<Cow<'static, [u8]>>,
    /// Whether what was compiled before is not to be taken, since it cannot be loaded.
    pub anew: bool,
}

/// For whom.
#[derive(Clone, Copy, Debug)]
pub struct CompileAsker<'a> {
    /// Whose rule runs it.
    pub owner: &'a TenantId,
    /// Most CPU time that it may take; none: as any module.
    pub most_cpu: Option<Duration>,
    /// What its configuration does, which may be overtaken.
    pub activity: &'a Activity,
}

/// Gets modules compiled.
pub trait Compile: Send + Sync {
    /// The code of a module. It may take minutes; if nobody needs it any more, it may end without.
    ///
    /// # Errors
    /// If it is no rule, or cannot be compiled with what a compiler may use. [`LoadError::Compiling`] if a tenant's takes long: it goes on, and
    /// [`Compile::tell_late`] says when it is done.
    fn compile(&self, module: &ModuleBytes<'_>, asker: &CompileAsker<'_>) -> Result<Artifact, LoadError>;

    /// The code of a module with this digest, if it was kept, for a rule of this owner. Nothing is compiled.
    fn kept(&self, _digest: ModuleDigest, _owner: &TenantId) -> Option<Artifact> {
        None
    }

    /// These modules of owners of rules are run from now on, and no others: what is kept of them stays. Waits for nothing.
    fn in_force(&self, _modules: &[(TenantId, ModuleDigest)]) {}

    /// Has this called when something was compiled that was not waited for, if nothing was said before.
    fn tell_late(&self, _tell: Box<dyn Fn() + Send + Sync>) {}
}

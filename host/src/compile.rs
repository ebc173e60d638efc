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

use postern_sandbox::{Artifact, LoadError, ModuleDigest};

/// Gets modules compiled.
pub trait Compile: Send + Sync {
    /// The code of a module: `bytes`, whose digest is `digest`. What was compiled before is not taken if `anew` says that it cannot be loaded.
    /// It may take minutes; if `is_overtaken` says that nobody needs it any more, it may end without.
    ///
    /// # Errors
    /// If it is no rule, or cannot be compiled with what a compiler may use.
    fn compile(
        &self,
        digest: ModuleDigest,
        bytes: &[u8],
        anew: bool,
        is_overtaken: &dyn Fn() -> bool,
    ) -> Result<Artifact, LoadError>;

    /// The code of a module with this digest, if it was kept. Nothing is compiled.
    fn kept(&self, _digest: ModuleDigest) -> Option<Artifact> {
        None
    }
}

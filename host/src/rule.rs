//! Rule: what `posternd rule` does for those who write rules: without a daemon, a capture or any right.

mod bench;
mod inspect;
mod junit;
mod module_file;
mod new;
mod played;
mod rehearsal;
mod scenario;
mod settings;
mod sizes;
mod test;
mod verify;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::RuleCommand;
use crate::compile::CompileService;
use crate::exit::Exit;

pub use bench::bench;
pub use inspect::inspect;
pub use new::new;
pub use test::test;

/// Does what a command line asks for.
///
/// # Errors
/// If the system does not let us run modules, or standard output is closed.
pub fn run(command: &RuleCommand) -> anyhow::Result<Exit> {
    match command {
        RuleCommand::New(args) => new(args),
        RuleCommand::Test(args) => test(args, &compiler()?),
        RuleCommand::Inspect(args) => inspect(args, &compiler()?),
        RuleCommand::Bench(args) => bench(args, &compiler()?),
        RuleCommand::Verify(args) => verify::verify(args),
    }
}

/// Compiles in processes of its own, as the daemon does. Where this user can keep code it is kept.
fn compiler() -> anyhow::Result<CompileService> {
    Ok(CompileService::start_in(&code_folder(), None, Arc::new(()))?)
}

/// Where this user keeps compiled code: the daemon's folder for root, and else one below the user's own.
fn code_folder() -> PathBuf {
    let of_daemon = crate::compile::code_folder();
    if nix::unistd::geteuid().is_root() || of_daemon != Path::new(crate::compile::CACHE_DIR) {
        return of_daemon;
    }
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    let Some(caches) = caches else { return of_daemon };
    // If it cannot be made, the cache says so by keeping nothing.
    drop(DirBuilder::new().recursive(true).mode(0o700).create(&caches));
    caches.join("postern")
}

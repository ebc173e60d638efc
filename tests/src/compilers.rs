//! Compilers: commands that find the compilers of rules. First come those of this machine, then those that `tests/toolchains.sh` has put into
//! the build folder.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The status of a build script that finds no compiler, as a shell's is for a command that is not there.
pub const NOT_INSTALLED: i32 = 127;

/// A command with the compilers in its `PATH`, and with nothing of the cargo that runs this test. What compilers keep for the next time is below
/// `caches`, but for cargo, which has its own folders.
///
/// # Panics
/// If `tests/toolchains.sh` cannot be run.
#[must_use]
pub fn command(program: impl AsRef<OsStr>, caches: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let is_cargos = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("RUST");
        if name.to_str().is_some_and(is_cargos) && name != "RUSTUP_HOME" {
            command.env_remove(name);
        }
    }
    command
        .env("PATH", path())
        .env("PYTHONPATH", toolchains().join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "")
        .env("GOCACHE", caches.join("go-cache"))
        .env("ZIG_GLOBAL_CACHE_DIR", caches.join("zig-cache"))
        .env("ZIG_LOCAL_CACHE_DIR", caches.join("zig-cache"));
    command
}

/// Where compilers are.
///
/// # Panics
/// As [`command`].
#[must_use]
pub fn path() -> OsString {
    let script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("toolchains.sh"))
        .arg("--path")
        .env("CARGO_TARGET_DIR", target_dir())
        .output()
        .expect("the script is there");
    let own = String::from_utf8_lossy(&script.stdout).trim().to_owned();
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(env::split_paths(&path).chain(env::split_paths(&own))).expect("they came from paths")
}

/// Where `tests/toolchains.sh` puts compilers, and where they keep what they need again.
///
/// # Panics
/// As [`target_dir`].
#[must_use]
pub fn toolchains() -> PathBuf {
    target_dir().join("toolchains")
}

/// Cargo's build folder, which it marks if it made it itself; without a mark: target/PROFILE/deps/TEST.
///
/// # Panics
/// If this program was not built by cargo.
#[must_use]
pub fn target_dir() -> PathBuf {
    let program = env::current_exe().expect("a test has a file");
    let marked = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked.or_else(|| program.ancestors().nth(3)).expect("cargo built this test").to_owned()
}

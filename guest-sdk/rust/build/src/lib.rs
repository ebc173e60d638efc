//! Builds Rust rules to WebAssembly with the toolchain that is installed: rustup's or Debian's.
//!
//! For build scripts and tests. A build script needs one line:
//!
//! ```no_run
//! # fn main() -> Result<(), postern_sdk_build::Error> {
//! let module = postern_sdk_build::build_rule_for_build_script("postern-rule-sequence")?;
//! # drop(module);
//! # Ok(())
//! # }
//! ```
//!
//! The rule is built by a cargo of its own, in a target folder of its own that dev and release builds, tests and clippy share, so
//! that a standard library that must be built first is built once. This crate runs no rule and installs nothing.

mod cargo;
mod dep_info;
mod error;
mod toolchain;

use std::path::{Path, PathBuf};
use std::{env, fs};

pub use error::Error;

use toolchain::Toolchain;

/// A rule that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The core module. The next build writes it anew, so a build script should use a copy.
    pub module: PathBuf,
    /// Every file that went into it, registry crates and the standard library aside.
    pub inputs: Vec<PathBuf>,
}

/// Builds `package` of the workspace that `manifest_dir` lies in, below `target_dir`; see [`guests_dir`].
///
/// The package's library must be a `cdylib` and have the package's name.
///
/// # Errors
///
/// If there is no toolchain for it, or the build fails. What the compiler says goes to stderr.
pub fn build_rule(manifest_dir: &Path, package: &str, target_dir: &Path) -> Result<Built, Error> {
    cargo::build(manifest_dir, package, target_dir, &Toolchain::find()?)
}

/// Builds `package` of the workspace that the running build script belongs to, copies the module into `OUT_DIR`, and gives the
/// copy's path. Tells cargo to run the script again when a source of the rule, the SDK or the contract changes.
///
/// # Errors
///
/// As [`build_rule`]; also if this is no build script, or the copy fails.
pub fn build_rule_for_build_script(package: &str) -> Result<PathBuf, Error> {
    let folder = |name: &'static str| env::var_os(name).map(PathBuf::from).ok_or(Error::NoBuildScript(name));
    let out_dir = folder("OUT_DIR")?;
    let built = build_rule(&folder("CARGO_MANIFEST_DIR")?, package, &guests_dir(&out_dir))?;
    let copy = out_dir.join(built.module.file_name().unwrap_or_default());
    fs::copy(&built.module, &copy).map_err(|source| Error::Copy { to: copy.clone(), source })?;
    tell_cargo(&built.inputs);
    Ok(copy)
}

/// The target folder for rules that goes with a build script's `OUT_DIR` or a test's `CARGO_TARGET_TMPDIR`: `guests` in cargo's
/// own target folder, which cargo marks with a `CACHEDIR.TAG`.
#[must_use]
pub fn guests_dir(inside_target: &Path) -> PathBuf {
    let marked = inside_target.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    // Without a mark: target/PROFILE/build/PACKAGE/out.
    let target = marked.or_else(|| inside_target.ancestors().nth(4)).unwrap_or(inside_target);
    target.join("guests")
}

#[allow(clippy::print_stdout, reason = "this is how a build script talks to cargo")]
fn tell_cargo(inputs: &[PathBuf]) {
    for input in inputs {
        println!("cargo:rerun-if-changed={}", input.display());
    }
    for name in toolchain::VARIABLES {
        println!("cargo:rerun-if-env-changed={name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_built_beside_the_profiles() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        for out_dir in
            ["debug/build/posternd-1/out", "x86_64-unknown-linux-gnu/release/build/posternd-1/out", "tmp"]
        {
            let out_dir = target.join(out_dir);
            fs::create_dir_all(&out_dir).unwrap();
            fs::write(target.join("CACHEDIR.TAG"), "").unwrap();
            assert_eq!(guests_dir(&out_dir), target.join("guests"));
        }
        assert_eq!(guests_dir(Path::new("/t/debug/build/posternd-1/out")), Path::new("/t/guests"));
    }
}

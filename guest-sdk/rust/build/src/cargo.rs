//! The cargo that builds a rule inside another cargo, whose settings must not reach it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::toolchain::{TARGET, Toolchain};
use crate::{Built, Error, dep_info};

/// The profile, given on the command line so that it works in any workspace and is the same below every profile of the cargo
/// outside. Speed comes first: at level "s" the stock rule is a sixth smaller and takes twice as long for a knock.
/// A panic cannot be caught in a guest, so unwinding would be dead weight.
const PROFILE: [&str; 8] = [
    r#"profile.guest.inherits="release""#,
    "profile.guest.opt-level=3",
    r#"profile.guest.lto="fat""#,
    "profile.guest.codegen-units=1",
    r#"profile.guest.panic="abort""#,
    "profile.guest.strip=true",
    "profile.guest.debug=false",
    "profile.guest.incremental=false",
];

/// A rule needs little stack; the default of 1 MiB would make each instance that much larger.
const STACK: &str = "-Clink-arg=-zstack-size=65536";

/// Variables of the outer cargo that the inner one keeps: where things are fetched from and stored, how output looks, and the
/// job server, so that both together start no more jobs than asked for.
const KEPT: [&str; 9] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "RUSTC_BOOTSTRAP",
];

pub(crate) fn build(
    manifest_dir: &Path,
    package: &str,
    target_dir: &Path,
    toolchain: &Toolchain,
) -> Result<Built, Error> {
    let lock = manifest_dir.ancestors().map(|folder| folder.join("Cargo.lock")).find(|lock| lock.is_file());
    let program = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut command = Command::new(&program);
    clear_environment(&mut command);
    command
        .current_dir(manifest_dir)
        .args([
            "build",
            "--lib",
            "--package",
            package,
            "--profile",
            "guest",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(target_dir)
        .args(PROFILE.iter().flat_map(|line| ["--config", line]))
        .args(lock.as_ref().map(|_| "--locked"))
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(lock.as_deref()))
        .env("RUSTC", &toolchain.rustc)
        .stdin(Stdio::null())
        // A build script's stdout is read by cargo.
        .stdout(Stdio::null());
    if toolchain.build_std {
        // Not stable yet, but the compiler is the one that these sources came with.
        command.arg("-Zbuild-std=std,panic_abort").env("RUSTC_BOOTSTRAP", "1");
    }
    if let Some(linker) = &toolchain.linker {
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    }
    let status = command.status().map_err(|source| Error::Run { program, source })?;
    if !status.success() {
        return Err(Error::Failed { package: package.to_owned(), status });
    }
    let module = target_dir.join(TARGET).join("guest").join(package.replace('-', "_")).with_extension("wasm");
    if !module.is_file() {
        return Err(Error::NoModule { package: package.to_owned(), path: module });
    }
    let inputs = inputs(&module, lock)?;
    Ok(Built { module, inputs })
}

/// Variables that the outer cargo, or clippy through it, sets for its own compilers and build scripts: they would change the build or, as a
/// wrapper or a target folder, break it.
fn clear_environment(command: &mut Command) {
    let is_kept = |name: &str| KEPT.iter().any(|kept| name.starts_with(kept));
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let is_cargos =
            ["CARGO_", "RUSTC", "RUSTDOC", "RUSTFLAGS", "CLIPPY_"].iter().any(|own| text.starts_with(own));
        if is_cargos && !is_kept(text) {
            command.env_remove(&name);
        }
    }
}

/// Flags for the rule and what it is linked with. Paths of this machine are replaced, or they would be in the module, and the
/// module would differ from machine to machine.
fn rustflags(lock: Option<&Path>) -> OsString {
    let mut flags = OsString::from(STACK);
    let mut remap = |from: &Path, to: &str| {
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    };
    if let Some(workspace) = lock.and_then(Path::parent) {
        remap(workspace, "rule");
    }
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    if let Some(home) = env::var_os("CARGO_HOME").map(PathBuf::from).or(home) {
        remap(&home, "cargo");
    }
    flags
}

/// The sources, the manifests of the packages that they belong to, and the lock file.
fn inputs(module: &Path, lock: Option<PathBuf>) -> Result<Vec<PathBuf>, Error> {
    let path = module.with_extension("d");
    let text = fs::read_to_string(&path).map_err(|source| Error::DepInfo { path, source })?;
    let sources = dep_info::parse(&text);
    let manifest = |source: &PathBuf| {
        source.ancestors().map(|folder| folder.join("Cargo.toml")).find(|manifest| manifest.is_file())
    };
    let mut inputs: BTreeSet<_> = sources.iter().filter_map(manifest).collect();
    inputs.extend(sources);
    // The workspace's manifest lies beside the lock file.
    inputs.extend(lock.as_deref().map(|lock| lock.with_file_name("Cargo.toml")));
    inputs.extend(lock);
    Ok(inputs.into_iter().collect())
}

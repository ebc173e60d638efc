//! Toolchain: which compiler and linker make WebAssembly here. It looks, and installs nothing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// What the choice depends on.
pub(crate) const VARIABLES: [&str; 2] = ["RUSTC", "PATH"];

/// Where Debian's compiler is, whatever else comes first in `PATH`.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A compiler and a linker that can make WebAssembly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    /// Whether the standard library must be built from its sources first, about two minutes once.
    pub(crate) build_std: bool,
    /// The linker, if the compiler does not bring its own.
    pub(crate) linker: Option<PathBuf>,
}

/// A compiler, and where its libraries are.
#[derive(Clone, Debug)]
struct Compiler {
    rustc: PathBuf,
    sysroot: PathBuf,
}

impl Toolchain {
    /// The best of what is here: first the compiler that is in use, then Debian's; first with an installed standard library, then
    /// with its sources.
    pub(crate) fn find() -> Result<Self, Error> {
        let current = env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
        let path = env::var_os("PATH").unwrap_or_default();
        let path: Vec<_> = env::split_paths(&path).collect();
        choose(&[(current.clone(), Compiler::ask(current)), debian()], &path)
    }
}

fn debian() -> (PathBuf, Option<Compiler>) {
    (DEBIAN_RUSTC.into(), Compiler::ask(DEBIAN_RUSTC.into()))
}

fn choose(compilers: &[(PathBuf, Option<Compiler>)], path: &[PathBuf]) -> Result<Toolchain, Error> {
    let found = || compilers.iter().filter_map(|(_, compiler)| compiler.as_ref());
    let installed = found().find(|compiler| compiler.has_target()).map(|compiler| (compiler, false));
    let (compiler, build_std) = installed
        .or_else(|| found().find(|compiler| compiler.has_sources()).map(|compiler| (compiler, true)))
        .ok_or_else(|| Error::NoToolchain(complain(compilers)))?;
    let linker = if compiler.has_linker() {
        None
    } else {
        Some(wasm_ld(path).ok_or_else(|| Error::NoLinker(compiler.rustc.clone()))?)
    };
    Ok(Toolchain { rustc: compiler.rustc.clone(), build_std, linker })
}

/// Why none of the compilers will do.
fn complain(compilers: &[(PathBuf, Option<Compiler>)]) -> String {
    let complaints: Vec<_> = compilers
        .iter()
        .map(|(rustc, compiler)| match compiler {
            None => format!("{} does not run", rustc.display()),
            Some(Compiler { sysroot, .. }) => format!(
                "{} has neither {TARGET} nor library sources in {}",
                rustc.display(),
                sysroot.join("lib/rustlib").display()
            ),
        })
        .collect();
    complaints.join("; ")
}

/// The first `wasm-ld` in `path`; failing that, the newest `wasm-ld-N`, as Debian names them.
fn wasm_ld(path: &[PathBuf]) -> Option<PathBuf> {
    let find = |name: &str| path.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    find("wasm-ld").or_else(|| (14..=30).rev().find_map(|version| find(&format!("wasm-ld-{version}"))))
}

impl Compiler {
    /// Asks a compiler for its sysroot. `None` if it does not run.
    fn ask(rustc: PathBuf) -> Option<Self> {
        let output = Command::new(&rustc).args(["--print", "sysroot"]).output().ok()?;
        let sysroot = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        Some(Self { rustc, sysroot: PathBuf::from(sysroot.trim_end()) })
    }

    fn has_target(&self) -> bool {
        self.rustlib().join(TARGET).join("lib").is_dir()
    }

    fn has_sources(&self) -> bool {
        self.rustlib().join("src/rust/library/std").is_dir()
    }

    /// Whether it brings a `rust-lld`, which lies in the folder of the platform that the compiler itself runs on.
    fn has_linker(&self) -> bool {
        let Ok(platforms) = self.rustlib().read_dir() else { return false };
        platforms.flatten().any(|platform| {
            let name = if cfg!(windows) { "rust-lld.exe" } else { "rust-lld" };
            platform.path().join("bin").join(name).is_file()
        })
    }

    fn rustlib(&self) -> PathBuf {
        Path::new(&self.sysroot).join("lib/rustlib")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Stands for a machine: `files` lie below a folder, `current` and `debian` are sysroots there, `bin` is `PATH`.
    /// Gives the choice, or the message without the folder's name.
    fn check(files: &[&str], expected: Result<(&str, bool, Option<&str>), &str>) {
        let machine = tempfile::tempdir().unwrap();
        for file in files {
            let file = machine.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let compiler = |name: &str| {
            let sysroot = machine.path().join(name);
            let compiler = Compiler { rustc: name.into(), sysroot: sysroot.clone() };
            (name.into(), sysroot.is_dir().then_some(compiler))
        };
        let chosen = choose(&[compiler("current"), compiler("debian")], &[machine.path().join("bin")]);
        let expected = expected.map(|(rustc, build_std, linker)| Toolchain {
            rustc: rustc.into(),
            build_std,
            linker: linker.map(|name| machine.path().join("bin").join(name)),
        });
        let folder = format!("{}/", machine.path().display());
        assert_eq!(
            chosen.map_err(|error| error.to_string().replace(&folder, "")),
            expected.map_err(str::to_owned)
        );
    }

    const CURRENT_TARGET: &str = "current/lib/rustlib/wasm32-unknown-unknown/lib/libstd.rlib";
    const CURRENT_SOURCES: &str = "current/lib/rustlib/src/rust/library/std/Cargo.toml";
    const CURRENT_LLD: &str = "current/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld";
    const CURRENT: &str = "current/lib/rustlib/components";
    const DEBIAN_TARGET: &str = "debian/lib/rustlib/wasm32-unknown-unknown/lib/libstd.rlib";
    const DEBIAN_SOURCES: &str = "debian/lib/rustlib/src/rust/library/std/Cargo.toml";

    #[test]
    fn the_cheapest_toolchain_is_taken() {
        check(&[CURRENT_TARGET, CURRENT_SOURCES, CURRENT_LLD, DEBIAN_TARGET], Ok(("current", false, None)));
        check(
            &[CURRENT_SOURCES, CURRENT_LLD, DEBIAN_TARGET, "bin/wasm-ld"],
            Ok(("debian", false, Some("wasm-ld"))),
        );
        check(&[CURRENT_SOURCES, CURRENT_LLD, DEBIAN_SOURCES, "bin/wasm-ld"], Ok(("current", true, None)));
        check(
            &[CURRENT, DEBIAN_SOURCES, "bin/wasm-ld", "bin/wasm-ld-19"],
            Ok(("debian", true, Some("wasm-ld"))),
        );
        check(
            &[CURRENT, DEBIAN_SOURCES, "bin/wasm-ld-14", "bin/wasm-ld-19"],
            Ok(("debian", true, Some("wasm-ld-19"))),
        );
        check(&[DEBIAN_SOURCES, "bin/wasm-ld"], Ok(("debian", true, Some("wasm-ld"))));
    }

    #[test]
    fn what_is_missing_is_named_with_remedies() {
        check(
            &[CURRENT],
            Err(
                "no Rust compiler here can build WebAssembly (current has neither wasm32-unknown-unknown nor library \
                 sources in current/lib/rustlib; debian does not run); run `rustup target add wasm32-unknown-unknown`, \
                 or on Debian `apt-get install rustc-web rust-web-src lld`",
            ),
        );
        check(
            &[CURRENT, DEBIAN_SOURCES],
            Err(
                "debian brings no linker for WebAssembly, and there is no wasm-ld in PATH; on Debian `apt-get install lld`, \
                 or use a rustup toolchain with `rustup target add wasm32-unknown-unknown`",
            ),
        );
    }
}

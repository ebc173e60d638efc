//! What can go wrong when a rule is built.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why a rule was not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No compiler here knows WebAssembly.
    #[error(
        "no Rust compiler here can build WebAssembly ({0}); run `rustup target add wasm32-unknown-unknown`, \
         or on Debian `apt-get install rustc-web rust-web-src lld`"
    )]
    NoToolchain(String),
    /// The compiler would do, but brings no linker.
    #[error(
        "{} brings no linker for WebAssembly, and there is no wasm-ld in PATH; on Debian `apt-get install lld`, \
         or use a rustup toolchain with `rustup target add wasm32-unknown-unknown`",
        .0.display()
    )]
    NoLinker(PathBuf),
    /// Cargo did not start.
    #[error("cannot run {}", program.display())]
    Run {
        /// What was to be run.
        program: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
    /// Cargo ran, and failed.
    #[error("the rule {package} does not build ({status}); the compiler's messages are above")]
    Failed {
        /// The rule's package.
        package: String,
        /// How cargo ended.
        status: ExitStatus,
    },
    /// Cargo succeeded, and left nothing where it should be.
    #[error("the build of {package} left no {}; its library must be a cdylib with the package's name", path.display())]
    NoModule {
        /// The rule's package.
        package: String,
        /// Where the module should be.
        path: PathBuf,
    },
    /// The list of inputs that cargo writes beside a module is not there.
    #[error("cannot read {}", path.display())]
    DepInfo {
        /// The list.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The module could not be copied to where the build script wants it.
    #[error("cannot copy the module to {}", to.display())]
    Copy {
        /// Where to.
        to: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A build script's environment is missing.
    #[error("{0} is not set; only a build script may call this")]
    NoBuildScript(&'static str),
}

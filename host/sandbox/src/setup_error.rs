//! SetupError: why no rule can be run on this machine.

use std::io;

use thiserror::Error;

/// Why no rule can be run on this machine.
#[derive(Debug, Error)]
pub enum SetupError {
    /// It cannot run what the engine would compile.
    #[error("WebAssembly cannot be run on this machine: {0}")]
    Engine(String),
    /// The contract cannot be linked, which is our own mistake.
    #[error("the contract cannot be linked: {0}")]
    Contract(String),
    /// There is no timer or no thread for what stops rules that run for too long.
    #[error("the ticker cannot be started, which stops rules that run for too long")]
    Ticker(#[source] io::Error),
}

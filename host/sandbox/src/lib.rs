//! Loads and runs rules: a knock in, a verdict out.
//!
//! Owns everything that touches WebAssembly: the engine and its ticker, the contract, the limits of instances, loading, the
//! generations of loaded rules, and the workers that call them. A rule decides; nothing here opens a door.
//!
//! **Invariant:** whatever a rule does, a trap, an endless loop, nonsense, the outcome is at most an ignored knock.
//! `tests/all/guests.rs` holds it.

mod call_clock;
mod code;
mod componentize;
mod contract;
mod direct;
mod fault;
mod features;
mod file_kind;
mod generation;
mod guest;
mod guest_log;
mod instance;
mod limits;
mod load_error;
mod loader;
mod module_files;
mod problem;
mod runtime;
mod shard;
pub mod stock;
mod store;
mod worker;

pub use fault::Fault;
pub use features::Feature;
pub use file_kind::FileKind;
pub use generation::{Generation, LoadedRule, ReadyRule};
pub use instance::{Instance, StartError};
pub use load_error::LoadError;
pub use loader::{Loader, Module};
pub use module_files::{ModuleFiles, ReadError};
pub use problem::{Problem, ProblemKind};
pub use runtime::{Running, Runtime};
pub use shard::Shard;
pub use worker::{Ask, IsLocal, Now, Pool, Submitter, Surroundings};

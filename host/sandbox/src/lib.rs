//! Loads and runs rules: a knock in, a verdict out.
//!
//! Owns everything that touches WebAssembly: the engine and its ticker, the contract, the limits of instances, loading, the
//! generations of loaded rules, and the workers that call them. A rule decides; nothing here opens a door.
//!
//! Modules are looked at by the [`Compiler`] alone, which the daemon runs in processes of its own; a [`Loader`] gets compiled code.
//!
//! **Invariant:** it opens no file and reads no clock but for what a call takes; `.clippy.toml` of this crate holds it.
//!
//! **Invariant:** if a rule traps, loops or answers nonsense, the only effect is an ignored knock.
//! `tests/all/guests.rs` holds it.

// The contract, and the two ways to call what speaks it.
mod code;
mod contract;
mod direct;

// From bytes to compiled code.
mod compiler;
mod componentize;
mod engine;
mod features;
mod file_kind;
mod inspect;
mod load_error;
mod remedies;
pub mod stock;
mod survey;
mod wasi_null;

// From compiled code to a module that can be started.
mod code_source;
mod deserialize;
mod loader;
mod module;

// One started module, and what bounds it.
mod call_clock;
mod fault;
mod guest;
mod guest_log;
mod instance;
mod limits;
mod runtime;
mod setup_error;
mod stopwatch;
mod store;
mod thread_cpu_time;

// All rules together, and who calls them.
mod generation;
mod loaded_rule;
mod over_shares;
mod owner_rules;
mod probe;
mod problem;
mod rule_counts;
mod rule_observer;
mod shard;
mod share_owner;
mod tenant_part;
mod tried_rules;
mod trying;
mod worker;

pub use code_source::{CodeSource, FoundModule, ModuleDigest};
pub use compiler::{Artifact, ArtifactCode, CodeKind, Compiler, MAX_MODULE};
pub use contract::PACKAGE;
#[cfg(feature = "both-ways")]
#[doc(hidden)]
pub use direct::both_ways;
pub use fault::Fault;
pub use features::{Feature, FeatureUse};
pub use file_kind::FileKind;
pub use generation::Generation;
pub use instance::{Instance, StartError};
pub use load_error::LoadError;
pub use loaded_rule::{LoadedRule, ReadyRule};
pub use loader::Loader;
pub use module::Module;
pub use owner_rules::OwnerRules;
pub use probe::{ProbeFault, Prober};
pub use problem::{Problem, ProblemKind};
pub use rule_counts::{RuleCounts, VerdictKind};
pub use runtime::{RunPermit, Runtime};
pub use setup_error::SetupError;
pub use shard::Shard;
pub use survey::{ModuleForm, ModuleImport, Producer, Survey};
pub use thread_cpu_time::thread_cpu_time;
pub use tried_rules::TriedRules;
pub use trying::Patience;
pub use worker::{Ask, IsLocal, Now, Pool, PoolContext, Submitter};

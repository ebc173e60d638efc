//! RuleSpec: a rule, as the configuration describes it and the sandbox loads it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::memory::Bounds;
use crate::tenant::RuleId;

/// What must be known of a rule to load and run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Who it is.
    pub id: RuleId,
    /// The module it runs.
    pub module: ModuleSource,
    /// The settings that the module gets at its start, a JSON object.
    pub settings: Arc<str>,
    /// What its instances may use.
    pub limits: RuleLimits,
    /// What the host remembers for it, all workers together.
    pub bounds: Bounds,
    /// The rules of its tenant that it shares progress with have the same.
    pub group: Arc<str>,
    /// Interfaces whose packets it sees; empty: all.
    pub interfaces: Vec<Arc<str>>,
    /// Whether it also sees packets that leave this machine.
    pub sees_outgoing: bool,
    /// Half-finished knocks of a rule with another number are begun anew, even if the module says that they mean the same.
    pub memory_epoch: u32,
}

/// Where a module comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleSource {
    /// Embedded in the daemon: one of [`ModuleSource::STOCK`].
    Stock(&'static str),
    /// A file.
    File(PathBuf),
}

impl ModuleSource {
    /// The names of the modules that the daemon brings along.
    pub const STOCK: [&'static str; 1] = ["sequence"];
}

/// What an instance of a rule may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleLimits {
    /// CPU time of one call, 1 to 100 ms. A call is stopped at the second look that finds it over, so up to 2 ms later.
    pub cpu: Duration,
    /// Bytes of linear memory, all its memories together.
    pub memory: usize,
}

impl Default for RuleLimits {
    fn default() -> Self {
        Self { cpu: Duration::from_millis(2), memory: 16 << 20 }
    }
}

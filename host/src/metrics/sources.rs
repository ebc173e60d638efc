//! Sources: everything that is read when somebody asks for metrics.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use postern_capture::CaptureCounter;
use postern_config::Config;
use postern_core::{Direction, RuleId, TenantId};
use postern_protocol::Process;
use postern_sandbox::{Generation, RuleCounts};
use postern_text::panic::PastPanic;

use super::counted::Counted;
use crate::shared_engine::SharedEngine;

/// A capture: its interface, which way its packets go, and where it counts.
pub(crate) type CountedCapture = (String, Direction, CaptureCounter);

/// Where everything is counted.
pub(super) struct Sources {
    pub(super) counted: Arc<Counted>,
    engine: Box<dyn Fn() -> EngineCounts + Send + Sync>,
    processes: Arc<Mutex<Vec<Process>>>,
    pub(super) in_force: ArcSwap<Measured>,
}

/// What the engine counts, and what is open there.
#[derive(Clone, Debug, Default)]
pub(super) struct EngineCounts {
    /// Openings by door.
    pub(super) open: HashMap<Arc<str>, u64>,
    /// Claims that the ledger recorded, and those that it refused.
    pub(super) claims: (u64, u64),
    /// How often the ledger wrote to the disk, and how long that took.
    pub(super) commits: (u64, Duration),
    pub(super) ruleset_changes: u64,
}

impl EngineCounts {
    pub(super) fn of(engine: &SharedEngine) -> Self {
        Self {
            open: engine.open_by_door(),
            claims: engine.claims(),
            commits: engine.commits(),
            ruleset_changes: engine.ruleset_changes(),
        }
    }
}

/// What the configuration in force has that is counted by itself.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) generation: u64,
    pub(super) doors: Vec<Arc<str>>,
    pub(super) rules: Vec<(RuleId, Arc<RuleCounts>)>,
    pub(super) captures: Vec<CountedCapture>,
}

impl Sources {
    pub(super) fn new(
        counted: Arc<Counted>,
        engine: Box<dyn Fn() -> EngineCounts + Send + Sync>,
        processes: Arc<Mutex<Vec<Process>>>,
    ) -> Self {
        Self { counted, engine, processes, in_force: ArcSwap::default() }
    }

    /// This configuration is in force.
    pub(super) fn put_in_force(
        &self,
        config: &Config,
        generation: &Generation,
        captures: Vec<CountedCapture>,
    ) {
        let rules = generation.rules.iter().map(|rule| (rule.id.clone(), Arc::clone(rule.counts())));
        self.in_force.store(Arc::new(Measured {
            generation: generation.number,
            doors: config.doors.keys().cloned().collect(),
            rules: rules.collect(),
            captures,
        }));
        self.counted.put_in_force(config);
    }

    /// What the engine counts now.
    pub(super) fn engine(&self) -> EngineCounts {
        (self.engine)()
    }

    /// How the daemon's processes are; none if it is one.
    pub(super) fn processes(&self) -> Vec<Process> {
        self.processes.lock().past_panic().clone()
    }
}

impl Measured {
    /// How many rules each tenant has.
    pub(super) fn rules_of_tenants(&self) -> BTreeMap<&TenantId, u64> {
        let mut tenants = BTreeMap::new();
        for (rule, _) in &self.rules {
            *tenants.entry(&rule.tenant).or_default() += 1;
        }
        tenants
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

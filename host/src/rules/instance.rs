//! Instance: one started copy of a module with the settings of one rule.

use std::fmt;
use std::sync::Arc;

use postern_core::{Interest, Knock, RuleId, Verdict};
use thiserror::Error;
use wasmtime::Store;

use super::code::Started;
use super::contract::{self, Guest, LogLimit};
use super::fault::Fault;
use super::limits::Limits;
use super::loader::Module;
use super::runtime::Running;
use super::store;

/// Why a rule could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The rule says that its settings are wrong.
    #[error("{0}")]
    Refused(String),
    /// The rule asks for something that no rule can have.
    #[error("the module asks for the impossible: {0}")]
    Interest(String),
    /// It faulted.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A started copy of a module. After a [`Fault`] it must be dropped: a trap leaves it in pieces.
pub struct Instance {
    store: Store<Guest>,
    rule: Started,
    payload_limit: usize,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").finish_non_exhaustive()
    }
}

impl Instance {
    /// Starts a copy of `module` for a rule.
    ///
    /// # Errors
    /// If the rule faults or refuses its settings.
    pub(super) fn start(
        module: &Module,
        rule: &RuleId,
        limits: Limits,
        settings: &str,
        log_limit: &LogLimit,
    ) -> Result<(Self, Interest), StartError> {
        let _running = module.runtime.running();
        let mut store = store::new(&module.runtime, Guest::new(rule.clone(), limits, Arc::clone(log_limit)));
        store::rearm(&mut store);
        let fault = |during| move |error| Fault::from_error(during, &error, limits.cpu);
        let rule = module.code.start(&mut store).map_err(fault("start"))?;
        store::rearm(&mut store);
        let interest = rule.call_configure(&mut store, settings).map_err(fault("configure"))?;
        let interest = interest.map_err(|what| StartError::Refused(one_line(&what)))?;
        let interest = contract::lift_interest(&interest).map_err(StartError::Interest)?;
        Ok((Self { store, rule, payload_limit: interest.payload_limit }, interest))
    }

    /// What the rule says of a knock, given what it last remembered of its source.
    ///
    /// # Errors
    /// If the rule faults; the instance must be dropped then.
    pub fn judge(
        &mut self,
        _running: &Running<'_>,
        knock: &Knock,
        memory: Option<&[u8]>,
    ) -> Result<Verdict, Fault> {
        store::rearm(&mut self.store);
        let verdict = self.rule.call_judge(&mut self.store, knock, self.payload_limit, memory);
        let limit = self.store.data().limits.cpu;
        let verdict = verdict.map_err(|error| Fault::from_error("judge", &error, limit))?;
        contract::lift_verdict(verdict, knock.time).map_err(Fault::Nonsense)
    }
}

/// A guest's words in one line that can do no harm to a terminal or a log.
fn one_line(text: &str) -> String {
    text.chars().take(2000).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

//! Instance: one started copy of a module with the settings of one rule.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{Detail, Interest, Knock, Observer, RuleId, RuleLimits, Verdict};
use thiserror::Error;
use wasmtime::Store;

use crate::code::Started;
use crate::contract;
use crate::fault::Fault;
use crate::guest::Guest;
use crate::limits::cpu_of_start;
use crate::module::Module;
use crate::runtime::RunPermit;
use crate::store;

/// Most bytes of what a rule says is wrong with its settings.
const MOST_WORDS: usize = 16 << 10;

/// Why a rule could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The rule says that its settings are wrong, and in which words; they may be none.
    #[error("`configure` refuses the settings{}", because(.0))]
    Refused(String),
    /// The rule asks for something that no rule can have.
    #[error("the module asks for the impossible: {0}")]
    Interest(String),
    /// It faulted.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A started copy of a module. After a [`Fault`] it must be dropped: a trap leaves its memory in an unknown state.
pub struct Instance {
    store: Store<Guest>,
    rule: Started,
    detail: Detail,
    /// What a call may take.
    cpu: Duration,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").finish_non_exhaustive()
    }
}

impl Instance {
    /// Starts a copy of `module` for a rule, whose log lines `observer` gets.
    ///
    /// # Errors
    /// If the rule faults or refuses its settings.
    pub fn start(
        module: &Module,
        rule: &RuleId,
        limits: RuleLimits,
        settings: &str,
        observer: &Arc<dyn Observer>,
    ) -> Result<(Self, Interest), StartError> {
        let _running = module.runtime.running();
        let guest = Guest::new(&module.runtime, rule.clone(), limits, Arc::clone(observer));
        let mut store = store::new(&module.runtime, guest);
        let cpu = cpu_of_start(limits);
        let started = store::start(&mut store, cpu, |store| module.code.start(store));
        let rule = started.map_err(|error| fault("start", &error, cpu, &store))?;
        let interest = store::call(&mut store, cpu, |store| rule.call_configure(store, settings));
        let interest = interest.map_err(|error| fault("configure", &error, cpu, &store))?;
        let interest = interest.map_err(|what| StartError::Refused(beginning(what)))?;
        let interest = contract::lift_interest(&interest).map_err(StartError::Interest)?;
        Ok((Self { store, rule, detail: interest.detail, cpu: limits.cpu }, interest))
    }

    /// What it has of memory and tables, in bytes; an element of a table counts as 8.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.store.data().allowance.used()
    }

    /// The rule's verdict on a knock, given what it last remembered of its source.
    ///
    /// # Errors
    /// If the rule faults; the instance must be dropped then.
    pub fn judge(
        &mut self,
        _running: &RunPermit<'_>,
        knock: &Knock,
        memory: Option<&[u8]>,
    ) -> Result<Verdict, Fault> {
        let verdict = store::call(&mut self.store, self.cpu, |store| {
            self.rule.call_judge(store, knock, self.detail, memory)
        });
        let verdict = verdict.map_err(|error| fault("judge", &error, self.cpu, &self.store))?;
        contract::lift_verdict(verdict, knock.time).map_err(Fault::Nonsense)
    }
}

fn fault(during: &'static str, error: &wasmtime::Error, cpu: Duration, store: &Store<Guest>) -> Fault {
    Fault::from_error(during, error, cpu, store.data().log.last_words().as_deref())
}

/// What a rule says, as the end of a sentence.
fn because(words: &str) -> String {
    let words: Vec<_> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if words.is_empty() { " and does not say why".to_owned() } else { format!(": {}", words.join("; ")) }
}

/// A guest's message, cut: it may have written megabytes.
fn beginning(mut words: String) -> String {
    words.truncate(words.floor_char_boundary(MOST_WORDS));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_without_words_has_some() {
        let refused = |words: &str| StartError::Refused(words.to_owned()).to_string();
        assert_eq!(
            refused("within: no\n\n  gap: no\n"),
            "`configure` refuses the settings: within: no; gap: no"
        );
        assert_eq!(refused(" \n"), "`configure` refuses the settings and does not say why");
    }
}

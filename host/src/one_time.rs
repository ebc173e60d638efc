//! OneTimeLines: the one-time sequences of the generation in force, each crossed out in its file when it is claimed.

use std::collections::HashMap;
use std::sync::Arc;

use postern_config::{Config, OneTime, RuleFile};
use postern_core::{ClaimError, RuleId};
use tokio::runtime::Handle;

use crate::main_loop_event::{MainLoopEvent, MainLoopSender};
use crate::origin::Origin;

/// Lines of one-time files, of which each is used once. A file may hang, so no file is waited for here.
pub(crate) struct OneTimeLines {
    generation: u64,
    /// The doors table of the generation.
    table: u32,
    /// With the number of its rule; none once a line was claimed: the next one comes with the next generation.
    lines: HashMap<RuleId, Option<(u32, OneTime)>>,
    origin: Arc<dyn Origin>,
    runtime: Handle,
    sender: MainLoopSender,
}

impl OneTimeLines {
    /// Those of the first generation, which is number 1 and has the doors of `table`. `origin` crosses them out; answers go to `sender`.
    pub(crate) fn new(config: &Config, table: u32, origin: Arc<dyn Origin>, sender: MainLoopSender) -> Self {
        Self { generation: 1, table, lines: lines(config), origin, runtime: Handle::current(), sender }
    }

    /// Those of another generation, instead of those that were not used.
    pub(crate) fn replace(&mut self, generation: u64, table: u32, config: &Config) {
        self.generation = generation;
        self.table = table;
        self.lines = lines(config);
    }

    /// Crosses out the line of a rule, as it was in a generation; that comes back as a [`MainLoopEvent::CrossedOut`] with `serial`. No more are
    /// under way than there are such rules in the generations that there were meanwhile.
    pub(crate) fn claim(&mut self, serial: u64, rule: &RuleId, generation: u64) {
        let is_there = generation == self.generation;
        let line = self.lines.get_mut(rule).filter(|_| is_there).and_then(Option::take);
        let sender = self.sender.clone();
        let answer = move |result| {
            // The thread is not joined: it may hang.
            let _ = sender.send(MainLoopEvent::CrossedOut { serial, result });
        };
        match line {
            Some((rule, line)) => {
                let (origin, table) = (Arc::clone(&self.origin), self.table);
                let claim = move || answer(origin.claim(table, rule, &line).map_err(ClaimError::NotRecorded));
                drop(self.runtime.spawn_blocking(claim));
            }
            None => answer(Err(ClaimError::AlreadyUsed)),
        }
    }
}

fn lines(config: &Config) -> HashMap<RuleId, Option<(u32, OneTime)>> {
    let line = |rule: &RuleFile| Some((rule.id.clone(), Some((rule.number, rule.one_time.clone()?))));
    config.rules.iter().filter_map(line).collect()
}

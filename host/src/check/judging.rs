//! Judging: has each rule judge a knock for each of its watches, so that what is wrong in `judge` is told before a client meets it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use postern_config::{Config, Mistake};
use postern_core::{DropReason, Interest, Observer, Report, TenantId, Timestamp, Watch, WatchedPorts, What};
use postern_lines::ORIGIN;
use postern_sandbox::{Generation, LoadedRule, RunPermit, Runtime};
use postern_text::panic::PastPanic;

use crate::observe::words;
use crate::sample_knock::sample_knock;

/// Most knocks for one rule.
const MOST_KNOCKS: usize = 32;
/// What they may take together; those that are left then are not tried.
const MOST_TIME: Duration = Duration::from_secs(1);
/// Most lines of all rules that are shown.
const MOST_LINES: usize = 200;

/// What each rule of `generation` does wrong when it judges. Its verdicts count for nothing, and it remembers nothing.
pub(super) fn mistakes(config: &Config, generation: &Generation, runtime: &Runtime) -> Vec<Mistake> {
    let files: HashMap<_, _> = config.rules.iter().map(|file| (&file.id, file)).collect();
    let running = runtime.running();
    let mut mistakes = Vec::new();
    for (n, rule) in generation.rules.iter().enumerate() {
        let interest = &generation.dispatch.subscription(n).interest;
        if let (Some(file), Err(what)) = (files.get(&rule.id), judge(rule, interest, &running)) {
            mistakes.push(file.module_mistake(what));
        }
    }
    mistakes
}

/// Has a rule judge what it asked for.
fn judge(rule: &LoadedRule, interest: &Interest, running: &RunPermit<'_>) -> Result<(), String> {
    let mut instance = rule.start().map_err(|error| error.to_string())?;
    let begun = Instant::now();
    for (place, watch) in interest.watches.iter().enumerate().take(MOST_KNOCKS) {
        if begun.elapsed() > MOST_TIME {
            break;
        }
        let knock = sample_knock(interest, place, 0, Timestamp(ORIGIN));
        if let Err(fault) = instance.judge(running, &knock, None) {
            let Watch { transport, first_port, .. } = *watch;
            let knock = WatchedPorts { transport, first: first_port, last: first_port };
            return Err(format!(
                "the module fails at a packet to {knock}, which it asks for: {fault}; posternd rule test plays knocks to it"
            ));
        }
    }
    Ok(())
}

/// What rules log while they are tried, each line once.
#[derive(Debug, Default)]
pub(super) struct RuleLines(Mutex<Vec<String>>);

impl RuleLines {
    /// All of it, as lines for a person.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().past_panic())
    }
}

impl Observer for RuleLines {
    fn report(&self, report: &Report<'_>) {
        if !matches!(report.what, What::Says { .. }) {
            return;
        }
        let line = format!("rule {}", words(report));
        let mut lines = self.0.lock().past_panic();
        if lines.len() < MOST_LINES && !lines.contains(&line) {
            lines.push(line);
        }
    }

    fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
}

//! Played: what came of a scenario, as the lines that its file could expect.

use std::fmt;
use std::sync::Arc;

use postern_core::{CloseRequest, Once, OpenRequest, Progress, Severity, Verdict};
use postern_lines::{CloseLine, OnceLine, OpenLine, ProgressLine, VerdictLine};
use postern_sandbox::{Module, RunPermit, StartError};
use postern_text::{Mistake, line, size};

use super::rehearsal::{GuestLines, Rehearsal, Said, knock_of};
use super::scenario::{Scenario, Step, StepKind};

/// Bytes that a rule may say of one scenario, verdicts and log: what comes then is not played.
const MOST_SAID: usize = 64 << 20;
/// Knocks at which it may fail, each of which may take as long as a start.
const MOST_FAULTS: usize = 100;

/// What came of each step of a scenario.
pub(super) struct Played<'a> {
    pub(super) scenario: &'a Scenario,
    /// The lines of each step.
    pub(super) outcomes: Vec<Vec<String>>,
    /// What the rule has against its settings, each at its place.
    refused: Vec<Mistake>,
}

/// What a scenario has cost so far, memory and time that its knocks alone do not bound.
#[derive(Debug, Default)]
struct Spent {
    bytes: usize,
    faults: usize,
}

/// A step, and what came of it.
pub(super) struct PlayedStep<'a> {
    pub(super) step: &'a Step,
    pub(super) outcome: &'a [String],
    /// If it is the start: what the rule has against its settings.
    refused: &'a [Mistake],
}

impl<'a> Played<'a> {
    /// Plays a scenario to a module.
    pub(super) fn new(scenario: &'a Scenario, module: &Arc<Module>, running: &RunPermit<'_>) -> Self {
        let log = Arc::new(GuestLines::default());
        let started = Rehearsal::start(Arc::clone(module), scenario.head.clone(), Arc::clone(&log) as _);
        let (mut rehearsal, mut refused) = (None, Vec::new());
        let verdict = match started {
            Ok(started) => {
                rehearsal = Some(started);
                Vec::new()
            }
            Err(StartError::Refused(what)) => {
                refused = scenario.head.settings_mistakes(&what).unwrap_or_default();
                refusal(&what)
            }
            Err(error) => vec![format!("fault: {error}")],
        };
        let (mut outcomes, mut spent) = (Vec::with_capacity(scenario.steps.len()), Spent::default());
        for step in &scenario.steps {
            let said = match &step.what {
                // What is logged at the start is told where it is asked for.
                StepKind::Configure { is_written: false } if verdict.is_empty() => {
                    log.take();
                    outcomes.push(Vec::new());
                    continue;
                }
                StepKind::Configure { .. } => verdict.clone(),
                StepKind::Knock { knock, .. } => match (&mut rehearsal, spent.is_too_much()) {
                    (None, _) => vec!["not played: the rule did not start".to_owned()],
                    (Some(_), Some(what)) => vec![format!("not played: the rule {what}")],
                    (Some(rehearsal), None) => {
                        let said = rehearsal.judge(running, &knock_of(knock));
                        spent.faults += usize::from(matches!(said, Said::Fault(_)));
                        words(&said)
                    }
                },
            };
            let logged =
                log.take().into_iter().map(|(severity, text)| format!("log {}: {text}", level(severity)));
            let lines: Vec<_> =
                said.into_iter().chain(logged).map(|text| line(text.trim()).to_string()).collect();
            spent.bytes += lines.iter().map(String::len).sum::<usize>();
            outcomes.push(lines);
        }
        Self { scenario, outcomes, refused }
    }

    /// Each step with what came of it, in order: not the start of the rule, where nothing is to be said of it.
    pub(super) fn steps(&self) -> impl Iterator<Item = PlayedStep<'_>> {
        let steps = self.scenario.steps.iter().zip(&self.outcomes);
        steps.filter(|(step, outcome)| step.is_written() || !outcome.is_empty()).map(|(step, outcome)| {
            let is_start = matches!(step.what, StepKind::Configure { .. });
            PlayedStep { step, outcome, refused: if is_start { &self.refused } else { &[] } }
        })
    }
}

impl Spent {
    /// Why no more is played, if that is so.
    fn is_too_much(&self) -> Option<String> {
        if self.bytes >= MOST_SAID {
            return Some(format!("said more than {} of the knocks before", size::show(MOST_SAID as u64)));
        }
        (self.faults >= MOST_FAULTS).then(|| format!("failed at {MOST_FAULTS} knocks before"))
    }
}

impl PlayedStep<'_> {
    /// Whether everything is as it was expected.
    pub(super) fn is_as_expected(&self) -> bool {
        self.step.expected == self.outcome
    }

    /// What came, or where that was not expected, what was, with `-` before it, and what came, with `+`; and then where each setting stands
    /// that was refused.
    pub(super) fn compared(&self) -> Vec<String> {
        let (expected, came) = (&self.step.expected, self.outcome);
        let same = expected.iter().zip(came).take_while(|(expected, came)| expected == came).count();
        let mut lines: Vec<_> = came[..same].iter().map(|line| format!("  {line}")).collect();
        lines.extend(expected[same..].iter().map(|line| format!("- {}", postern_text::line(line))));
        lines.extend(came[same..].iter().map(|line| format!("+ {line}")));
        let places = self.refused.iter().filter(|_| !self.is_as_expected());
        lines.extend(places.filter_map(|mistake| Some(format!("# line {}: {}", mistake.line?, mistake.key))));
        lines
    }
}

impl fmt::Display for PlayedStep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.step.text())
    }
}

/// What a rule says against its settings: a mistake a line.
fn refusal(what: &str) -> Vec<String> {
    let lines: Vec<_> = what.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return vec!["refused, and it does not say why".to_owned()];
    }
    lines.iter().map(|line| format!("refused: {line}")).collect()
}

/// What came of a knock, without the lines that the rule logged.
fn words(said: &Said) -> Vec<String> {
    match said {
        Said::NotShown => vec!["not shown".to_owned()],
        Said::Fault(what) => vec![format!("fault: {what}")],
        Said::Verdict { verdict, dropped } => {
            let dropped = dropped.map(|reason| format!("dropped: {reason}"));
            std::iter::once(verdict_line(verdict).to_string()).chain(dropped).collect()
        }
    }
}

fn verdict_line(verdict: &Verdict) -> VerdictLine<'_> {
    match verdict {
        Verdict::Ignore => VerdictLine::Ignore,
        Verdict::Remember(of) => VerdictLine::Remember(progress(of)),
        Verdict::Forget(reason) => VerdictLine::Forget(reason),
        Verdict::Open { requests, remember } => VerdictLine::Open {
            requests: requests.iter().map(open_line).collect(),
            remember: remember.as_ref().map(progress),
        },
        Verdict::Close { requests, remember } => VerdictLine::Close {
            requests: requests.iter().map(close_line).collect(),
            remember: remember.as_ref().map(progress),
        },
    }
}

const fn progress(Progress { stage, until, .. }: &Progress) -> ProgressLine {
    ProgressLine { stage: *stage, until: until.0 }
}

fn open_line(OpenRequest { door, prefix_length, lasts, once }: &OpenRequest) -> OpenLine<'_> {
    OpenLine {
        door: door.as_deref(),
        seconds: lasts.map(|lasts| lasts.as_secs()),
        prefix_length: *prefix_length,
        once: once.as_ref().map(|once| match once {
            Once::Token { bytes, until } => OnceLine::Token { bytes, until: until.map(|until| until.0) },
            Once::Counter { key, value } => OnceLine::Counter { key, value: *value },
        }),
    }
}

fn close_line(CloseRequest { door, prefix_length }: &CloseRequest) -> CloseLine<'_> {
    CloseLine { door: door.as_deref(), prefix_length: *prefix_length }
}

/// A severity as scenarios write it.
pub(super) const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warn => "warn",
        Severity::Info => "info",
        Severity::Debug => "debug",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_says_or_fails_too_much_is_played_no_more() {
        assert_eq!(Spent { bytes: MOST_SAID - 1, faults: MOST_FAULTS - 1 }.is_too_much(), None);
        let said = Spent { bytes: MOST_SAID, faults: 0 }.is_too_much();
        assert_eq!(said.as_deref(), Some("said more than 64 MiB of the knocks before"));
        let failed = Spent { bytes: 0, faults: MOST_FAULTS }.is_too_much();
        assert_eq!(failed.as_deref(), Some("failed at 100 knocks before"));
    }
}

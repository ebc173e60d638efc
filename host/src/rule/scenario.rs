//! Scenario: a file with the settings of a rule, knocks, and what is expected of each.
//!
//! It begins with TOML: `module`, `[limits]`, `[memory]` and `[settings]` as in a rule's file. The knocks begin with the first line that begins
//! with `+`. Below each stands, indented, what is expected of it: the verdict, and the lines that the rule logs. `configure` in place of a knock,
//! before the first one, expects something of the start of the rule. Lines of which the first character is `#`, and empty ones, mean nothing.

use std::path::{Path, PathBuf};

use postern_config::{RuleHead, RuleHeadKeys};
use postern_lines::KnockLine;
use postern_text::{Mistake, piece};

/// Most bytes of a scenario's file.
pub(super) const MOST_TEXT: u64 = 16 << 20;
/// Most lines of it: each takes memory besides its text.
const MOST_LINES: usize = 1 << 20;
/// Most mistakes of one file that are told.
const MOST_MISTAKES: usize = 100;
/// The line in place of a knock that expects something of the rule's start.
const CONFIGURE: &str = "configure";
/// What stands before an expectation.
const INDENTATION: &str = "    ";

/// A scenario's file.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) file: PathBuf,
    pub(super) head: RuleHead,
    /// The first is the start of the rule.
    pub(super) steps: Vec<Step>,
    /// The whole file.
    lines: Vec<String>,
    /// What each of them ends with.
    line_end: &'static str,
}

/// Something that happens, and what is expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) what: StepKind,
    /// Its line, from 1.
    pub(super) line: usize,
    /// Each without its indentation.
    pub(super) expected: Vec<String>,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StepKind {
    /// The rule is started and configured.
    Configure {
        /// Whether the file says so: else nothing is expected of it but that the settings are accepted.
        is_written: bool,
    },
    /// A knock comes.
    Knock {
        /// The knock.
        knock: Box<KnockLine>,
        /// As it is written, without comment.
        text: String,
    },
}

/// The TOML at the beginning of a scenario: up to the first knock.
pub(super) fn head_of(text: &str) -> &str {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        if is_step(line) {
            break;
        }
        end += line.len();
    }
    &text[..end]
}

/// Whether a line is the first that is no TOML.
fn is_step(line: &str) -> bool {
    line.starts_with('+') || without_comment(line) == CONFIGURE
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

impl Scenario {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// Every mistake in it.
    pub(super) fn read(file: &Path, text: &str) -> Result<Self, Vec<Mistake>> {
        let lines: Vec<_> = text.lines().take(MOST_LINES + 1).map(str::to_owned).collect();
        if lines.len() > MOST_LINES {
            let what = format!("has more than {MOST_LINES} lines; make several files of it");
            return Err(vec![of_file(file, what)]);
        }
        let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let head_text = head_of(text);
        let (head, mut mistakes) = RuleHead::read(file, head_text, RuleHeadKeys::Own);
        let begin = head_text.lines().count();
        let start =
            Step { what: StepKind::Configure { is_written: false }, line: begin + 1, expected: Vec::new() };
        let mut scenario = Self { file: file.to_owned(), head, steps: vec![start], lines, line_end };
        for n in begin..scenario.lines.len() {
            if mistakes.len() == MOST_MISTAKES {
                break;
            }
            if let Err(what) = scenario.add_line(n) {
                let key = String::new();
                mistakes.push(Mistake { file: file.to_owned(), line: Some(n + 1), key, what });
            }
        }
        if mistakes.is_empty() && scenario.steps.len() == 1 && !scenario.expects_of_start() {
            let what = "has no knock; write one such as `+0.0s 203.0.113.7 udp/7000` on a line of its own";
            mistakes.push(of_file(file, what.to_owned()));
        }
        if mistakes.is_empty() { Ok(scenario) } else { Err(mistakes) }
    }

    /// Reads the line at this place of the file.
    fn add_line(&mut self, n: usize) -> Result<(), String> {
        let line = &self.lines[n];
        let text = without_comment(line);
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            return Ok(());
        }
        if line.starts_with([' ', '\t']) {
            let is_stray = self.steps.len() == 1 && !self.expects_of_start();
            if is_stray {
                return Err("is indented, and there is no knock before it; write the knock first, from the line's beginning".to_owned());
            }
            let expected = line.trim().to_owned();
            if let Some(step) = self.steps.last_mut() {
                step.expected.push(expected);
            }
            return Ok(());
        }
        if text == CONFIGURE {
            if self.steps.len() > 1 || self.expects_of_start() {
                return Err("`configure` stands before the first knock, and once".to_owned());
            }
            self.steps[0] =
                Step { what: StepKind::Configure { is_written: true }, line: n + 1, expected: Vec::new() };
            return Ok(());
        }
        if !text.starts_with('+') {
            return Err(format!(
                "`{}` is no knock such as `+0.0s 203.0.113.7 udp/7000`; indent it if it is expected of the knock before it, or write # before it if it is a comment",
                piece(text)
            ));
        }
        let knock = text.parse().map_err(|mistake| format!("{mistake}; in the knock `{}`", piece(text)))?;
        let what = StepKind::Knock { knock: Box::new(knock), text: text.to_owned() };
        self.steps.push(Step { what, line: n + 1, expected: Vec::new() });
        Ok(())
    }

    fn expects_of_start(&self) -> bool {
        matches!(self.steps[0].what, StepKind::Configure { is_written: true })
    }

    /// The text of the file with what came of each step in place of what was expected. Comments stay.
    pub(super) fn with_outcomes(&self, outcomes: &[Vec<String>]) -> String {
        let mut out = String::new();
        let mut push = |line: &str| {
            out.push_str(line);
            out.push_str(self.line_end);
        };
        self.lines[..self.steps[0].line - 1].iter().for_each(|line| push(line));
        for (n, (step, outcome)) in self.steps.iter().zip(outcomes).enumerate() {
            let indented: Vec<_> = outcome.iter().map(|line| format!("{INDENTATION}{line}")).collect();
            let end = self.steps.get(n + 1).map_or(self.lines.len(), |next| next.line - 1);
            let own = match &step.what {
                StepKind::Configure { is_written: false } => {
                    if !outcome.is_empty() {
                        push(CONFIGURE);
                        indented.iter().for_each(|line| push(line));
                    }
                    step.line - 1
                }
                _ => {
                    push(&self.lines[step.line - 1]);
                    indented.iter().for_each(|line| push(line));
                    step.line
                }
            };
            let is_expectation = |line: &&String| {
                line.starts_with([' ', '\t'])
                    && !line.trim().is_empty()
                    && !line.trim_start().starts_with('#')
            };
            self.lines[own.min(end)..end]
                .iter()
                .filter(|line| !is_expectation(line))
                .for_each(|line| push(line));
        }
        out
    }
}

/// A mistake of a file as a whole.
fn of_file(file: &Path, what: String) -> Mistake {
    Mistake { file: file.to_owned(), line: None, key: String::new(), what }
}

impl Step {
    /// As it is written.
    pub(super) fn text(&self) -> &str {
        match &self.what {
            StepKind::Configure { .. } => CONFIGURE,
            StepKind::Knock { text, .. } => text,
        }
    }

    /// Whether the file says it, and not the reader.
    pub(super) const fn is_written(&self) -> bool {
        !matches!(self.what, StepKind::Configure { is_written: false })
    }
}

#[cfg(test)]
mod tests;

//! GuestLog: the lines that a rule logs, bounded for each call before they are read. How many of them reach the log is decided elsewhere.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use postern_core::{Observer, Report, RuleId, RuleLogLevel, Severity, What};
use postern_text::size;

use crate::limits::MAX_LIFTED;

/// Lines of one call; beyond that it faults.
const MAX_LINES: u32 = 64;
/// Bytes of text of one call, all its lines together; beyond that it faults.
const MAX_TEXT: usize = MAX_LIFTED;

/// Bytes of one line of a runtime's output; what is longer goes on in the next.
const MAX_OUTPUT_LINE: usize = 400;

/// What one instance writes.
pub(crate) struct GuestLog {
    rule: RuleId,
    observer: Arc<dyn Observer>,
    /// Left to the call under way.
    lines: Cell<u32>,
    /// Bytes left to it.
    text: Cell<usize>,
    /// What its runtime has written of lines that have no end yet, to standard output and to standard error.
    unfinished: [RefCell<Vec<u8>>; 2],
    /// Why the call under way may be about to fail: the last line that it logged as an error, or else the first that its runtime wrote to standard error.
    last_words: RefCell<Option<String>>,
}

impl GuestLog {
    pub(crate) const fn new(rule: RuleId, observer: Arc<dyn Observer>) -> Self {
        Self {
            rule,
            observer,
            lines: Cell::new(MAX_LINES),
            text: Cell::new(MAX_TEXT),
            unfinished: [const { RefCell::new(Vec::new()) }; 2],
            last_words: RefCell::new(None),
        }
    }

    pub(crate) fn begin_call(&self) {
        // What the call before left unfinished is none of this one's words.
        self.end_line(false);
        self.end_line(true);
        self.lines.set(MAX_LINES);
        self.text.set(MAX_TEXT);
        *self.last_words.borrow_mut() = None;
    }

    /// What the guest said in the call under way about why it fails, if it did.
    pub(crate) fn last_words(&self) -> Option<String> {
        // What a runtime wrote last may lack the end of its line.
        self.end_line(true);
        self.last_words.borrow().clone()
    }

    /// Counts a line, before it is read.
    ///
    /// # Errors
    /// If it is one too many.
    pub(crate) fn count_line(&self) -> wasmtime::Result<()> {
        let Some(left) = self.lines.get().checked_sub(1) else {
            wasmtime::bail!("it logs more than {MAX_LINES} lines in one call; log less");
        };
        self.lines.set(left);
        Ok(())
    }

    /// Counts the text of a line, before it is read.
    ///
    /// # Errors
    /// If it is too long, or too much with the lines before it.
    pub(crate) fn count_text(&self, bytes: usize) -> wasmtime::Result<()> {
        let Some(left) = self.text.get().checked_sub(bytes) else { return Err(too_much_text()) };
        self.text.set(left);
        Ok(())
    }

    /// Reports a line.
    pub(crate) fn write(&self, severity: Severity, text: &str) {
        if severity == Severity::Error {
            let text = text[..text.floor_char_boundary(MAX_OUTPUT_LINE)].to_owned();
            *self.last_words.borrow_mut() = Some(text);
        }
        self.report(severity, text);
    }

    /// Takes what a language's runtime writes, and reports each line of it. What is too much for one call is left out: runtimes write much about a
    /// panic, and that is no second mistake.
    pub(crate) fn output(&self, is_error: bool, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n').take(MAX_TEXT) {
            let is_full = {
                let mut line = self.unfinished[usize::from(is_error)].borrow_mut();
                let room = MAX_OUTPUT_LINE.saturating_sub(line.len());
                line.extend(part.iter().take(room));
                line.len() >= MAX_OUTPUT_LINE
            };
            if is_full || part.ends_with(b"\n") {
                self.end_line(is_error);
            }
        }
    }

    fn end_line(&self, is_error: bool) {
        let mut unfinished = self.unfinished[usize::from(is_error)].borrow_mut();
        if unfinished.is_empty() {
            return;
        }
        let line = std::mem::take(&mut *unfinished);
        drop(unfinished);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        if is_error && self.last_words.borrow().is_none() {
            let text = line.strip_prefix("panic: ").unwrap_or(line).to_owned();
            *self.last_words.borrow_mut() = Some(text);
        }
        if self.count_line().is_ok() && self.count_text(line.len()).is_ok() {
            self.report(if is_error { Severity::Warn } else { Severity::Info }, line);
        }
    }

    fn report(&self, severity: Severity, text: &str) {
        // Whoever started the instance knows better, if the rule has a level of its own.
        let level = RuleLogLevel::OfDaemon;
        self.observer.report(&Report::of_rule(&self.rule, What::Says { severity, level, text: text.into() }));
    }
}

/// The message of the fault when a guest logs too much.
pub(crate) fn too_much_text() -> wasmtime::Error {
    wasmtime::format_err!("it logs more than {} of text in one call; log less", size::show(MAX_TEXT as u64))
}

//! GuestLog: the lines that a rule logs, bounded for each call before they are read. How many of them reach the log is decided elsewhere.

use std::cell::Cell;
use std::sync::Arc;

use postern_core::{Observer, Report, RuleId, Severity, What};

use crate::limits::MAX_LIFTED;

/// Lines of one call; beyond that it faults.
const MAX_LINES: u32 = 64;
/// Bytes of text of one call, all its lines together; beyond that it faults.
const MAX_TEXT: usize = MAX_LIFTED;

/// What one instance writes.
pub(crate) struct GuestLog {
    rule: RuleId,
    observer: Arc<dyn Observer>,
    /// Left to the call under way.
    lines: Cell<u32>,
    /// Bytes left to it.
    text: Cell<usize>,
}

impl GuestLog {
    pub(crate) const fn new(rule: RuleId, observer: Arc<dyn Observer>) -> Self {
        Self { rule, observer, lines: Cell::new(MAX_LINES), text: Cell::new(MAX_TEXT) }
    }

    pub(crate) fn begin_call(&self) {
        self.lines.set(MAX_LINES);
        self.text.set(MAX_TEXT);
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
        self.observer.report(&Report::of_rule(&self.rule, What::Says { severity, text: text.into() }));
    }
}

/// The message of the fault when a guest logs too much.
pub(crate) fn too_much_text() -> wasmtime::Error {
    wasmtime::format_err!("it logs more than {MAX_TEXT} bytes of text in one call; log less")
}

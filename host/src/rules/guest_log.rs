//! Guest log: the lines that a rule writes into the daemon's log, counted before they are looked at.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};

use postern_core::RuleId;
use postern_text::clean;

use super::limits::MAX_LIFTED;
use crate::log::{self, RateLimit};

/// Lines of one call; beyond that it faults.
const MAX_LINES: u32 = 64;
/// Bytes of text of one call, all its lines together; beyond that it faults.
const MAX_TEXT: usize = MAX_LIFTED;
/// Characters of a line that are written.
const MAX_WRITTEN: usize = 400;

/// How much a rule may log, all its instances together: a new one after a fault gets no new burst.
pub(super) type LogLimit = Arc<Mutex<RateLimit>>;

pub(super) fn log_limit() -> LogLimit {
    Arc::new(Mutex::new(RateLimit::per_second(5, 20)))
}

/// What one instance writes.
pub(super) struct GuestLog {
    rule: RuleId,
    limit: LogLimit,
    /// Left to the call under way.
    lines: Cell<u32>,
    /// Bytes left to it.
    text: Cell<usize>,
}

impl GuestLog {
    pub(super) const fn new(rule: RuleId, limit: LogLimit) -> Self {
        Self { rule, limit, lines: Cell::new(MAX_LINES), text: Cell::new(MAX_TEXT) }
    }

    pub(super) fn begin_call(&self) {
        self.lines.set(MAX_LINES);
        self.text.set(MAX_TEXT);
    }

    /// Counts a line, before anything is done for it.
    ///
    /// # Errors
    /// If it is one too many.
    pub(super) fn count_line(&self) -> wasmtime::Result<()> {
        let Some(left) = self.lines.get().checked_sub(1) else {
            wasmtime::bail!("it logs more than {MAX_LINES} lines in one call; log less");
        };
        self.lines.set(left);
        Ok(())
    }

    /// Counts the text of a line, before it is looked at.
    ///
    /// # Errors
    /// If it is too long, or too much with the lines before it.
    pub(super) fn count_text(&self, bytes: usize) -> wasmtime::Result<()> {
        let Some(left) = self.text.get().checked_sub(bytes) else { return Err(too_much_text()) };
        self.text.set(left);
        Ok(())
    }

    /// Writes a line, unless the rule wrote too many of late.
    pub(super) fn write(&self, level: tracing::Level, text: &str) {
        let admitted = self.limit.lock().unwrap_or_else(PoisonError::into_inner).admit();
        let Some(suppressed) = admitted else { return };
        let text = clean(text, MAX_WRITTEN);
        log::rule_says(&self.rule, level, &text, suppressed);
    }
}

/// What a guest that logs too much is told.
pub(super) fn too_much_text() -> wasmtime::Error {
    wasmtime::format_err!("it logs more than {MAX_TEXT} bytes of text in one call; log less")
}

//! Observe: gets every report, in one place, and passes it on: to the counters, and to the log.
//!
//! **Invariant:** the code that makes a report does not know the subscribers, and these decide by its type alone. How many lines of what
//! kind are written is decided here (`observe/limits.rs`), for each tenant by itself, and nowhere else.

mod apart;
mod counters;
mod fields;
mod foreign;
mod format;
mod journald;
mod level;
mod limits;
mod line;
mod lines;
mod mistakes;
mod per_tenant;
mod rate_limit;
mod relay;
mod words;

#[cfg(test)]
mod log_page;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use postern_core::{DropReason, Observer, Report, Severity, TenantId};

pub use counters::Counters;
pub(crate) use foreign::Foreign;
pub use format::Format;
pub(crate) use line::{Line, Value};
pub(crate) use lines::plain_line;
pub use lines::start;
pub(crate) use mistakes::{
    report_posture, report_refused_reload, report_refused_start, report_refused_tenant,
};
pub(crate) use relay::{Gathering, Overheard, ReportPace, ReportTube, Telling, report_in, tell_supervisor};
pub use relay::{LogOfAll, Relay};
pub(crate) use words::{counted, words};

use limits::{Admitted, LineLimits};

/// Where admitted reports are written.
pub(crate) trait Log: Send + Sync {
    /// Writes a line.
    fn write(&self, report: &Report<'_>, context: &Context<'_>);
}

/// What a line may say beside what its report does.
pub(crate) struct Context<'a> {
    /// How many lines of the kind and the tenant were held back before this one; none if this kind is never held back.
    pub(crate) suppressed: Option<u64>,
    /// Lines that were lost on their way here.
    pub(crate) unsaid: u64,
    /// Drops so far.
    pub(crate) counters: &'a Counters,
}

/// The subscribers of the reports.
pub(crate) struct Observers<L> {
    counters: Arc<Counters>,
    limits: LineLimits,
    /// The least severe reports that are written; none: none are.
    least: Option<Severity>,
    log: L,
}

impl<L: Log> Observers<L> {
    /// Writes what is at least so severe to `log`, and counts drops.
    pub(crate) fn new(log: L, least: Option<Severity>) -> Self {
        Self { counters: Arc::default(), limits: LineLimits::default(), least, log }
    }
}

impl<L> Observers<L> {
    /// What it counts.
    pub(crate) const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

impl<L: Log> Observer for Observers<L> {
    fn report(&self, report: &Report<'_>) {
        if let Some(reason) = report.drop_reason() {
            self.counters.count(report.tenant(), reason, 1);
        }
        if !report.what.is_logged(self.least) {
            return;
        }
        // Reading the clock costs more than most reports.
        let suppressed = match self.limits.admit(report, Instant::now) {
            Admitted::Always => None,
            Admitted::After(suppressed) => Some(suppressed),
            Admitted::Not => return,
        };
        self.log.write(report, &Context { suppressed, unsaid: 0, counters: &self.counters });
    }

    fn count_drops(&self, tenant: Option<&TenantId>, reason: DropReason, count: u64) {
        self.counters.count(tenant, reason, count);
    }

    fn limit_lines(&self, tenant: &TenantId, lines: u32) {
        self.limits.limit(tenant, lines);
    }
}

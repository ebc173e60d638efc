//! StderrLog: the log on standard error, with the same field names everywhere.
//!
//! Payload bytes and settings are never logged. Each event is one line, and whatever comes from outside is clean in it: all of it passes
//! [`Line::render`].

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use clap::ValueEnum;
use postern_core::{Observer, Report, Severity};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::foreign::Foreign;
use super::level::{directives, least};
use super::line::Line;
use super::{Context, Log, Observers, fields, words};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Lines that may wait for the reader of standard error; more are dropped, so that a slow reader delays no packet.
const WAITING: usize = 8192;

/// Has log lines of `level` and above written to standard error, by a thread of its own. `level` may be a filter as `tracing-subscriber`
/// takes it, too. Returns the observer, and a guard that waits a moment for the last lines when it is dropped.
///
/// # Errors
/// If `level` is neither, or logging was set up before.
#[expect(clippy::disallowed_methods, reason = "each line is clean: see `Line::render`")]
pub fn start(format: Format, level: &str) -> anyhow::Result<(Arc<dyn Observer>, WorkerGuard)> {
    let filter = EnvFilter::try_new(directives(level)?)?;
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(WAITING).thread_name("log").finish(io::stderr());
    let has_colours = io::stderr().is_terminal();
    let lines = StderrLog { format, has_colours, unsaid: writer.error_counter(), writer };
    let foreign = Foreign({
        let lines = lines.clone();
        move |line: &Line| lines.put(line)
    });
    let done = tracing_subscriber::registry().with(foreign.with_filter(filter)).try_init();
    done.map_err(|error| anyhow::anyhow!("cannot log: {error}"))?;
    Ok((Arc::new(Observers::new(lines, least())), guard))
}

/// The queue to standard error.
#[derive(Clone, Debug)]
struct StderrLog {
    format: Format,
    has_colours: bool,
    writer: NonBlocking,
    /// Counts lines that were dropped because they were not read in time.
    unsaid: ErrorCounter,
}

impl StderrLog {
    fn put(&self, line: &Line) {
        // If standard error is gone there is no place left to say so.
        let _ = self.writer.clone().write_all(line.render(self.format, self.has_colours).as_bytes());
    }
}

impl Log for StderrLog {
    fn write(&self, report: &Report<'_>, context: &Context<'_>) {
        let unsaid = u64::try_from(self.unsaid.dropped_lines()).unwrap_or(u64::MAX);
        self.put(&line(report, context, unsaid));
    }
}

/// The line about a report; so many lines were dropped so far.
pub(super) fn line(report: &Report<'_>, context: &Context<'_>, unsaid: u64) -> Line {
    let level = match report.what.severity() {
        Severity::Error => "ERROR",
        Severity::Warn => "WARN",
        Severity::Info => "INFO",
        Severity::Debug => "DEBUG",
    };
    let dropped = fields::dropped(report, context.counters, unsaid);
    let mut words = words(report);
    if let Some(counts) = &dropped {
        words = format!("{words}; came to nothing: {}", fields::shown(counts));
    }
    Line { level, words, fields: fields::fields(report, dropped, context.suppressed) }
}

//! Log: what people are told, with the same field names everywhere.
//!
//! Fields: `event`, `tenant`, `rule`, `generation`, `src`, `door`, `stage`, `lasts_s`, `reason`, `drop`, `detail`, `interface`. Whatever a
//! packet or a guest can trigger is rate-limited; payload bytes and settings are never logged.

mod rate_limit;
mod report;

use std::io;
use std::sync::OnceLock;

use clap::ValueEnum;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

pub(crate) use rate_limit::RateLimit;
pub(crate) use report::{count_drop, drops, mistakes, not_recorded, notice, outcome, posture, rule_says};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Counts lines that were thrown away.
static UNSAID: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines that may wait for whoever reads standard error; more are thrown away, so that a slow reader holds up no packet.
const WAITING: usize = 8192;

/// Sends log lines of `level` and above to standard error, from a thread of its own. When what comes back is dropped, it waits a moment
/// for the last of them.
///
/// # Errors
/// If `level` is no level, or logging was set up before.
pub fn init(format: Format, level: &str) -> anyhow::Result<WorkerGuard> {
    let filter = EnvFilter::try_new(level)?;
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(WAITING).thread_name("log").finish(io::stderr());
    // Only the first is heard of, as only the first logs.
    let _ = UNSAID.set(writer.error_counter());
    // When standard error is gone nobody can be told so; the fallback would panic.
    let builder =
        fmt().with_env_filter(filter).with_writer(writer).with_target(false).log_internal_errors(false);
    let done = match format {
        Format::Text => {
            let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
            builder.with_ansi(is_terminal).try_init()
        }
        Format::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    done.map_err(|error| anyhow::anyhow!("cannot log: {error}"))?;
    Ok(guard)
}

/// Log lines that were thrown away because nobody read them in time.
fn unsaid() -> usize {
    UNSAID.get().map_or(0, ErrorCounter::dropped_lines)
}

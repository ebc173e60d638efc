//! Log: what people are told, with the same field names everywhere.
//!
//! Fields: `event`, `tenant`, `rule`, `generation`, `src`, `door`, `stage`, `lasts_s`, `reason`, `drop`, `detail`, `interface`. Whatever a
//! packet or a guest can trigger is rate-limited; payload bytes and settings are never logged. Each event is one line, and whatever comes from
//! outside is clean in it: all of it passes `text` or `json`.

mod json;
mod rate_limit;
mod report;
mod text;

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use clap::ValueEnum;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

use json::Json;
pub use report::Told;
pub(crate) use report::{drops, posture, reload_refused, start_refused};
use text::TextFields;

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

/// With what the names of Postern's own crates begin.
const OURS: &str = "postern";

/// Lines that may wait for whoever reads standard error; more are thrown away, so that a slow reader holds up no packet.
const WAITING: usize = 8192;

/// Sends log lines of `level` and above to standard error, from a thread of its own. `level` may be a filter as `tracing-subscriber` takes it,
/// too. When what comes back is dropped, it waits a moment for the last of them.
///
/// # Errors
/// If `level` is neither, or logging was set up before.
#[expect(clippy::disallowed_methods, reason = "each line is clean: see `text` and `json`")]
pub fn init(format: Format, level: &str) -> anyhow::Result<WorkerGuard> {
    let filter = EnvFilter::try_new(directives(level)?)?;
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(WAITING).thread_name("log").finish(io::stderr());
    // Only the first is heard of, as only the first logs.
    let _ = UNSAID.set(writer.error_counter());
    // When standard error is gone nobody can be told so; the fallback would panic.
    let builder =
        fmt().with_env_filter(filter).with_writer(writer).with_target(false).log_internal_errors(false);
    let done = match format {
        Format::Text => {
            let is_terminal = io::stderr().is_terminal();
            builder.with_ansi(is_terminal).fmt_fields(TextFields::default()).try_init()
        }
        Format::Json => builder.event_format(Json).try_init(),
    };
    done.map_err(|error| anyhow::anyhow!("cannot log: {error}"))?;
    Ok(guard)
}

/// The filter that somebody means by `level`. A level alone is that of Postern's own lines: the compiler alone would write thousands for
/// each one that an operator looks for, so what is not Postern's is told from warnings on.
fn directives(level: &str) -> anyhow::Result<String> {
    let written = level.trim();
    // Nothing at all would be taken for `error`.
    let level = Some(written).filter(|written| !written.is_empty()).and_then(|written| written.parse().ok());
    if let Some(level) = level {
        let others = LevelFilter::WARN.min(level);
        // It warns of watches that went with their folders.
        let notify = LevelFilter::ERROR.min(level);
        return Ok(format!("{others},notify={notify},{OURS}={level}"));
    }
    let is_word = written.chars().all(|c| c.is_alphanumeric() || "_-:".contains(c));
    anyhow::ensure!(
        !is_word,
        "`{written}` is not a log level; use error, warn, info, debug or trace, or a filter such as `{OURS}=debug,wasmtime=trace`"
    );
    Ok(written.to_owned())
}

/// Log lines that were thrown away because nobody read them in time.
fn unsaid() -> usize {
    UNSAID.get().map_or(0, ErrorCounter::dropped_lines)
}

#[cfg(test)]
mod tests;

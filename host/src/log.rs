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
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

pub(crate) use rate_limit::RateLimit;
pub(crate) use report::{
    count_drop, drops, not_recorded, notice, outcome, posture, reload_refused, rule_says, start_refused,
};

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
            let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
            builder.with_ansi(is_terminal).try_init()
        }
        Format::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
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
        return Ok(format!("{},{OURS}={level}", LevelFilter::WARN.min(level)));
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
mod tests {
    use super::*;

    #[test]
    fn a_level_is_that_of_our_own_lines() {
        for (level, expected) in [
            ("info", "warn,postern=info"),
            ("debug", "warn,postern=debug"),
            (" TRACE ", "warn,postern=trace"),
            ("error", "error,postern=error"),
            ("off", "off,postern=off"),
            ("posternd=debug,wasmtime=trace", "posternd=debug,wasmtime=trace"),
            ("warn,posternd[{src}]=trace", "warn,posternd[{src}]=trace"),
        ] {
            assert_eq!(directives(level).unwrap(), expected, "{level}");
            EnvFilter::try_new(directives(level).unwrap()).unwrap();
        }
        for wrong in ["dbug", "posternd", "", "posternd::app"] {
            let said = directives(wrong).unwrap_err().to_string();
            assert!(said.starts_with(&format!("`{wrong}` is not a log level; use error,")), "{said}");
        }
    }

    #[test]
    fn every_crate_of_ours_is_named_so() {
        use std::any::type_name;
        let names = [
            type_name::<Format>(),
            type_name::<postern_core::Knock>(),
            type_name::<postern_doorman::Posture>(),
        ];
        for name in names {
            assert!(name.starts_with(OURS), "{name}");
        }
    }
}

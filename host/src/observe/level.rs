//! Level: which lines are written.

use postern_core::Severity;
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;

/// With what the names of Postern's own crates begin.
pub(super) const OURS: &str = "postern";

/// The filter for `level`. A level alone is that of Postern's own lines: the compiler alone would write thousands for each one that an
/// operator looks for, so other crates' lines are written from warnings on.
pub(super) fn directives(level: &str) -> anyhow::Result<String> {
    let written = level.trim();
    // Nothing at all would be taken for `error`.
    let level = Some(written).filter(|written| !written.is_empty()).and_then(|written| written.parse().ok());
    if let Some(level) = level {
        let others = LevelFilter::WARN.min(level);
        // It warns about watches whose folders were removed.
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

/// The least severe of Postern's own lines that the filter in force lets through; none if it lets through none. Of a filter only the level
/// counts for them, and not what it says of modules and fields.
pub(super) fn least() -> Option<Severity> {
    let levels = [
        (Severity::Debug, tracing::enabled!(target: "posternd", Level::DEBUG)),
        (Severity::Info, tracing::enabled!(target: "posternd", Level::INFO)),
        (Severity::Warn, tracing::enabled!(target: "posternd", Level::WARN)),
        (Severity::Error, tracing::enabled!(target: "posternd", Level::ERROR)),
    ];
    levels.iter().find(|(_, is_enabled)| *is_enabled).map(|(severity, _)| *severity)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{EnvFilter, registry};

    use super::*;

    #[test]
    fn a_level_is_that_of_our_own_lines() {
        for (level, expected, severity) in [
            ("info", "warn,notify=error,postern=info", Some(Severity::Info)),
            ("debug", "warn,notify=error,postern=debug", Some(Severity::Debug)),
            (" TRACE ", "warn,notify=error,postern=trace", Some(Severity::Debug)),
            ("error", "error,notify=error,postern=error", Some(Severity::Error)),
            ("off", "off,notify=off,postern=off", None),
            ("posternd=debug,wasmtime=trace", "posternd=debug,wasmtime=trace", Some(Severity::Debug)),
            ("warn,posternd[{src}]=trace", "warn,posternd[{src}]=trace", Some(Severity::Debug)),
            ("error,wasmtime=trace", "error,wasmtime=trace", Some(Severity::Error)),
        ] {
            assert_eq!(directives(level).unwrap(), expected, "{level}");
            let filter = EnvFilter::try_new(directives(level).unwrap()).unwrap();
            let found = tracing::subscriber::with_default(registry().with(filter), least);
            assert_eq!(found, severity, "{level}");
        }
        for wrong in ["dbug", "posternd", "", "posternd::app"] {
            let said = directives(wrong).unwrap_err().to_string();
            assert!(said.starts_with(&format!("`{wrong}` is not a log level; use error,")), "{said}");
        }
    }
}

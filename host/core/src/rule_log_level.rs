//! RuleLogLevel: which of the lines that a rule's module writes are logged, by what the rule's file says of it.

use serde::{Deserialize, Serialize};

use crate::report::Severity;

/// Which of the lines that a rule's module writes are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleLogLevel {
    /// Those that are as severe as the daemon's own lines must be.
    #[default]
    OfDaemon,
    /// None.
    Off,
    /// Those that are at least so severe, whatever is said of the daemon's own.
    AtLeast(Severity),
}

impl RuleLogLevel {
    /// The level of this name in a rule's file; none if it is no level's name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "error" => Self::AtLeast(Severity::Error),
            "warn" => Self::AtLeast(Severity::Warn),
            "info" => Self::AtLeast(Severity::Info),
            "debug" => Self::AtLeast(Severity::Debug),
            "off" => Self::Off,
            _ => return None,
        })
    }

    /// Whether a line of this severity is logged where the daemon's own lines must be at least so severe; none: nothing at all is logged.
    #[must_use]
    pub fn admits(self, severity: Severity, of_daemon: Option<Severity>) -> bool {
        let Some(of_daemon) = of_daemon else { return false };
        match self {
            Self::OfDaemon => severity <= of_daemon,
            Self::Off => false,
            Self::AtLeast(least) => severity <= least,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rules_own_level_counts_and_not_the_daemons_unless_nothing_is_logged() {
        use Severity::{Debug, Error, Info, Warn};
        let admitted = |name: &str, of_daemon| {
            let level =
                if name.is_empty() { Some(RuleLogLevel::default()) } else { RuleLogLevel::named(name) };
            let level = level.unwrap();
            [Error, Warn, Info, Debug].map(|severity| u8::from(level.admits(severity, of_daemon)))
        };
        for (name, at_error, at_debug) in [
            ("", [1, 0, 0, 0], [1, 1, 1, 1]),
            ("error", [1, 0, 0, 0], [1, 0, 0, 0]),
            ("warn", [1, 1, 0, 0], [1, 1, 0, 0]),
            ("info", [1, 1, 1, 0], [1, 1, 1, 0]),
            ("debug", [1, 1, 1, 1], [1, 1, 1, 1]),
            ("off", [0, 0, 0, 0], [0, 0, 0, 0]),
        ] {
            assert_eq!(admitted(name, Some(Error)), at_error, "{name} at error");
            assert_eq!(admitted(name, Some(Debug)), at_debug, "{name} at debug");
            assert_eq!(admitted(name, None), [0; 4], "{name} where nothing is logged");
        }
        assert_eq!(RuleLogLevel::named("trace"), None);
    }
}

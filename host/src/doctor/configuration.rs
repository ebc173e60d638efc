//! Configuration: what `posternd check` warns of besides what other looks say.

use postern_config::{Config, ConfigSource};

use super::finding::{Finding, Looked};
use crate::advice::{self, Advice};

pub(super) fn look(source: &dyn ConfigSource, config: &Config) -> Looked {
    let trusted = source.advice(config).into_iter().map(|what| {
        Finding::warning(what, "let only root write them, and leave strict_modes and --no-strict-modes out")
    });
    let others = advice::missing_trusted(config).into_iter().chain(advice::beyond(config));
    Ok(trusted.chain(others.map(|Advice { what, remedy }| Finding::warning(what, remedy))).collect())
}

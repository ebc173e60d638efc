//! Configuration: what `posternd check` warns of besides what other looks say.

use postern_config::{Advice, Config, ConfigSource};

use super::finding::{Finding, Looked};
use crate::advice;

pub(super) fn look(source: &dyn ConfigSource, config: &Config) -> Looked {
    let of_files = source.advice(config).into_iter();
    let of_config = advice::missing_trusted(config).into_iter().chain(advice::unopened(config));
    let all = of_files.chain(of_config).chain(advice::beyond(config));
    Ok(all.map(|Advice { what, remedy }| Finding::warning(what, remedy)).collect())
}

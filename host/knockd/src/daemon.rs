//! Daemon: the trait through which the program runs a configuration for this crate.

use std::io;
use std::sync::Arc;

use postern_config::{Config, ConfigSource, Mistake};
use postern_core::{Observer, Report};

/// Runs any configuration until a signal stops it.
pub trait Daemon: Sized {
    /// Catches signals from now on: an early one is handled late, but does not kill the process.
    ///
    /// # Errors
    /// If the system does not let it.
    fn start() -> io::Result<Self>;

    /// Runs until a signal ends it; that signal's number if it ended as it should. `tried` is called once, when everything runs and every
    /// interface has been tried; the daemon ends if it returns false. `log` gets the reports, within the limits that the log has for lines of a kind.
    ///
    /// # Errors
    /// Why it could not run, in words.
    fn run(
        self,
        source: Arc<dyn ConfigSource>,
        log: Box<dyn Observer>,
        tried: Box<dyn FnOnce() -> bool + Send>,
    ) -> Result<Option<i32>, String>;

    /// A report in the daemon's own words, for what knockd has no message for.
    fn words(report: &Report<'_>) -> String;

    /// What is wrong with the rules of a configuration as their modules see it.
    ///
    /// # Errors
    /// Why they could not be tried, in words.
    fn check_rules(config: &Config) -> Result<Vec<Mistake>, String>;
}

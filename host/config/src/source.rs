//! ConfigSource: where a configuration is said, and what follows from that for whoever runs it.

use std::fmt;
use std::path::Path;

use postern_core::{ConfigIdentity, GuardDoor, Likeness, Observer};

use crate::activity::Activity;
use crate::config::{Config, Reading};
use crate::rule_file::OneTime;

/// Files that say a configuration, in whatever words.
pub trait ConfigSource: fmt::Debug + Send + Sync {
    /// Reads it as it is now. What is right of it is there even if there are mistakes. `activity` tells others what is being read, which may
    /// take for ever; `observer` hears what is no mistake and still leaves something out.
    fn read(&self, activity: &Activity, observer: &dyn Observer) -> Reading;

    /// Whatever can be made out of its guard doors, whatever else is wrong.
    fn guards(&self) -> Vec<GuardDoor>;

    /// How the guard names it; none if it can have no guard doors.
    fn identity(&self) -> Option<ConfigIdentity>;

    /// The file that says it, or says where the rest is.
    fn file(&self) -> &Path;

    /// The file to watch for changes; none if only a signal reloads it.
    fn watched(&self) -> Option<&Path>;

    /// What its journal in the state folder is called, without number and ending.
    fn journal_stem(&self) -> &'static str;

    /// Whether what a command must close is not opened without a journal; else it is opened all the same, and that is told.
    fn needs_journal(&self) -> bool;

    /// Whether its rules can use tokens up, which must be remembered for longer than the daemon runs.
    fn uses_tokens(&self) -> bool;

    /// Which packets are one and the same.
    fn likeness(&self) -> Likeness;

    /// What is no mistake, but should be known of whose files were taken for `config`, a line each.
    fn advice(&self, config: &Config) -> Vec<String>;

    /// Uses a one-time sequence up, on the disk, before anything is opened for it.
    ///
    /// # Errors
    /// If that cannot be done, in words; its door is then not opened.
    fn claim(&self, line: &OneTime) -> Result<(), String>;
}

//! ConfigSource: where a configuration comes from, and what follows from that for the daemon.

use std::fmt;
use std::path::Path;

use postern_core::{ConfigIdentity, GuardDoor, Likeness, Observer};

use crate::activity::Activity;
use crate::advice::Advice;
use crate::config::{Config, ConfigReading};
use crate::process_user::ProcessUser;
use crate::programs::ProgramAdvice;
use crate::rule_file::OneTime;
use crate::sandbox_settings::SandboxSettings;
use crate::tenant_files::TenantFiles;

/// Files that hold a configuration, in a format of their own. Methods that are written out here are those of the plainest source: it has no guard doors,
/// tokens and one-time sequences, needs no journal, and is not watched.
pub trait ConfigSource: fmt::Debug + Send + Sync {
    /// Reads it as it is now. What is right of it is there even if there are mistakes. `files` reads those of tenants with users of their own.
    /// `activity` shows what is being read, which may hang; `observer` gets reports of what is no mistake and still leaves something out.
    fn read(&self, files: &dyn TenantFiles, activity: &Activity, observer: &dyn Observer) -> ConfigReading;

    /// Its guard doors as far as they can be read, whatever else is wrong. One that has some says so here, and its
    /// identity.
    fn guards(&self) -> Vec<GuardDoor> {
        Vec::new()
    }

    /// The user that its processes become, as far as it can be read, whatever else is wrong; none if there is no such account.
    fn process_user(&self) -> Option<ProcessUser> {
        SandboxSettings::of_machine().user
    }

    /// How the guard names it; none if it can have no guard doors.
    fn identity(&self) -> Option<ConfigIdentity> {
        None
    }

    /// Its main file.
    fn file(&self) -> &Path;

    /// The file to watch for changes; none if only a signal reloads it.
    fn watched(&self) -> Option<&Path> {
        None
    }

    /// What its journal in the state folder is called, without number and ending.
    fn journal_stem(&self) -> &'static str;

    /// Whether a door that a command must close stays closed without a journal; else it is opened all the same, and that is reported.
    fn needs_journal(&self) -> bool {
        false
    }

    /// Whether it can have tenants besides the host.
    fn has_tenants(&self) -> bool {
        false
    }

    /// Whether its rules can use tokens up, which must be remembered for longer than the daemon runs.
    fn uses_tokens(&self) -> bool {
        false
    }

    /// Which packets count as copies of one.
    fn likeness(&self) -> Likeness;

    /// What is no mistake in `config` and should be known, as far as its files say it: whose are accepted, and what may be reached. May read files.
    fn advice(&self, _config: &Config) -> Vec<Advice> {
        Vec::new()
    }

    /// Of that, what is about programs that `config` has run. May read files.
    fn program_advice(&self, _config: &Config) -> Vec<ProgramAdvice> {
        Vec::new()
    }

    /// Uses a one-time sequence up, on the disk, before anything is opened for it.
    ///
    /// # Errors
    /// If that cannot be done, in words; its door is then not opened.
    fn claim(&self, line: &OneTime) -> Result<(), String> {
        Err(format!("{}: rule files have no one-time sequences", line.path.display()))
    }
}

//! State: where the daemon keeps its journal and its ledger, which configurations need a journal, and what follows if there is none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_config::{Activity, Config, ConfigSource, DoorKind, Mistake, Mistakes};
use postern_core::{Observer, Report, What};
use postern_runner::{Journal, JournalRecord, journal};
use postern_state::StateFolder;
use postern_text::chain;
use rustix::process::geteuid;

use crate::origin::OriginFacts;

/// Where they are, unless the environment says otherwise, as systemd's `StateDirectory=` makes it do.
const STATE_DIR: &str = "/var/lib/postern";
/// The same, as its `RuntimeDirectory=` does.
const RUNTIME_DIR: &str = "/run/postern";

/// What came of opening the journal.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// None if it is not needed, if there is an error, or if another process keeps it.
    pub(crate) journal: Option<Journal>,
    /// Whether another process keeps it.
    pub(crate) is_elsewhere: bool,
    /// What is still open of earlier runs, with its numbers.
    pub(crate) inherited: Vec<(u64, JournalRecord)>,
    /// Why it could not be opened, in words.
    pub(crate) error: Option<String>,
}

impl Opened {
    /// Whether there is a journal now.
    pub(crate) const fn is_there(&self) -> bool {
        self.journal.is_some() || self.is_elsewhere
    }
}

/// The folder below `/run`, for what is gone with the daemon. systemd may name several; the first is ours.
pub(crate) fn runtime_folder() -> PathBuf {
    let named = std::env::var_os("RUNTIME_DIRECTORY").filter(|folder| !folder.is_empty());
    let first = named.and_then(|folders| std::env::split_paths(&folders).next());
    first.unwrap_or_else(|| RUNTIME_DIR.into())
}

/// The state folder.
pub(crate) fn folder() -> PathBuf {
    std::env::var_os("STATE_DIRECTORY").map_or_else(|| STATE_DIR.into(), PathBuf::from)
}

/// Opens the journal, if any door of a configuration needs it or an earlier run left one.
pub(crate) fn open(
    source: &dyn ConfigSource,
    config: &Config,
    activity: &Activity,
    observer: &Arc<dyn Observer>,
) -> Opened {
    let folder = folder();
    activity.open_journal(&folder, || {
        if !config.has_commands() && !journal::is_any(&folder) {
            return Opened::default();
        }
        match Journal::open(&folder, source.journal_stem(), Arc::clone(observer)) {
            Ok((journal, inherited)) => Opened { journal: Some(journal), inherited, ..Opened::default() },
            Err(error) => Opened { error: Some(chain(&error).to_string()), ..Opened::default() },
        }
    })
}

/// What is wrong with a configuration if there is no journal. Commands of knockd's run as knockd runs them, and that is reported.
pub(crate) fn without_journal(
    facts: &OriginFacts,
    config: &Config,
    error: Option<String>,
    observer: &dyn Observer,
) -> Option<Mistakes> {
    let detail = error?;
    let missing = |detail: String, runs_commands| {
        observer.report(&Report::new(What::JournalMissing { detail: detail.into(), runs_commands }));
    };
    if !facts.needs_journal {
        missing(detail, true);
        return None;
    }
    let mistakes = unclosed(&facts.file, config, &detail);
    if mistakes.is_empty() {
        missing(detail, false);
        return None;
    }
    Some(Mistakes::new(mistakes))
}

/// For what the daemon would not start, as far as the state folder shows that to a process with the daemon's rights.
pub(crate) fn refusals(file: &Path, config: &Config) -> Vec<String> {
    // To any other user it is somebody else's.
    let examined = if geteuid().is_root() { StateFolder::examine(&folder()) } else { Ok(()) };
    let Err(error) = examined else { return Vec::new() };
    unclosed(file, config, &chain(&error).to_string()).iter().map(ToString::to_string).collect()
}

/// A mistake for each door whose command would be forgotten.
fn unclosed(file: &Path, config: &Config, why: &str) -> Vec<Mistake> {
    let closes = |kind: &DoorKind| matches!(kind, DoorKind::Command(command) if !command.close.is_empty());
    let doors = config.doors.values().filter(|door| closes(&door.kind));
    doors.map(|door| door.mistake(file, format!("nobody would close it after a crash: {why}"))).collect()
}

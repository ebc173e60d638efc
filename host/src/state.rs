//! State: where the daemon keeps its journal and its ledger, which configurations need a journal, and what follows if there is none.

use std::path::PathBuf;
use std::sync::Arc;

use postern_config::{Activity, Config, ConfigSource, DoorKind, Mistakes};
use postern_core::{Observer, Report, What};
use postern_runner::{Journal, JournalError, JournalRecord, journal};
use postern_text::chain;

/// Where they are, unless the environment says otherwise, as systemd's `StateDirectory=` makes it do.
const STATE_DIR: &str = "/var/lib/postern";

/// What came of opening the journal.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// None if it is not needed, or if there is an error.
    pub(crate) journal: Option<Journal>,
    /// What is still open of earlier runs, with its numbers.
    pub(crate) inherited: Vec<(u64, JournalRecord)>,
    /// Why it could not be opened.
    pub(crate) error: Option<JournalError>,
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
            Ok((journal, inherited)) => Opened { journal: Some(journal), inherited, error: None },
            Err(error) => Opened { error: Some(error), ..Opened::default() },
        }
    })
}

/// What is wrong with a configuration if there is no journal. Commands of knockd's run as knockd runs them, and that is reported.
pub(crate) fn without_journal(
    source: &dyn ConfigSource,
    config: &Config,
    error: Option<JournalError>,
    observer: &dyn Observer,
) -> Option<Mistakes> {
    let detail = chain(&error?).to_string();
    let missing = |detail: String, runs_commands| {
        observer.report(&Report::new(What::JournalMissing { detail: detail.into(), runs_commands }));
    };
    if !source.needs_journal() {
        missing(detail, true);
        return None;
    }
    let closes = |kind: &DoorKind| matches!(kind, DoorKind::Command(command) if !command.close.is_empty());
    let doors = config.doors.values().filter(|door| closes(&door.kind));
    let mistake = |what: &str| format!("nobody would close it after a crash: {what}");
    let mistakes: Vec<_> = doors.map(|door| door.mistake(source.file(), mistake(&detail))).collect();
    if mistakes.is_empty() {
        missing(detail, false);
        return None;
    }
    Some(Mistakes::new(mistakes))
}

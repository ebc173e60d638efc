//! JournalFolder: which journal in the state folder belongs to which daemon.
//!
//! A journal is one of a few files with fixed names. A running daemon holds the lock on its file; a file that is not locked was left by a
//! daemon that died. A file that another user may have written is moved aside, since the commands in it would be run.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use postern_core::{Observer, Report, What};
use postern_state::{StateFile, StateFolder, Taken};
use postern_text::chain;

use super::JournalError;
use super::journal_file::JournalFile;

/// Journals of one name, and so daemons that run commands beside each other in one folder.
pub(super) const MAX_JOURNALS: u32 = 16;
/// The names that journals have: those of `run` and those of `knockd`.
const STEMS: [&str; 2] = ["postern", "knockd"];
/// How long the journal of a process that has ended is waited for. A command that it was starting has a copy of all its descriptors until it is
/// executed.
const LETTING_GO: Duration = Duration::from_secs(2);
/// How many unusable files are kept; a further one replaces the last.
const MOST_ASIDE: u32 = 16;

/// Whether there is any journal in this folder.
#[must_use]
pub fn is_any(folder: &Path) -> bool {
    paths(folder).any(|path| path.exists())
}

/// Renames a file that cannot be used, so that the operator can look into it.
pub(super) fn set_aside(path: &Path, why: &dyn Display, observer: &dyn Observer) -> io::Result<()> {
    let name = |number: u32| match number {
        1 => path.with_extension("damaged"),
        number => path.with_extension(format!("damaged-{number}")),
    };
    let is_free = |number: &u32| fs::symlink_metadata(name(*number)).is_err();
    let aside = name((1..MOST_ASIDE).find(is_free).unwrap_or(MOST_ASIDE));
    fs::rename(path, &aside)?;
    let (detail, kept_as) = (why.to_string().into(), aside.into());
    observer.report(&Report::new(What::JournalDamaged { path: path.into(), detail, kept_as }));
    Ok(())
}

/// The state folder, locked while this daemon starts.
#[derive(Debug)]
pub(super) struct JournalFolder(StateFolder);

impl JournalFolder {
    /// Creates the folder if it is missing, and waits until no other daemon is starting there.
    pub(super) fn enter(path: &Path) -> Result<Self, JournalError> {
        Ok(Self(StateFolder::enter(path)?))
    }

    /// Locks the first free journal of this name; before any other the one of this number, if a process that has just ended had it: whatever
    /// that was starting may hold its lock for a moment.
    pub(super) fn claim(
        &self,
        stem: &str,
        left: Option<u32>,
        observer: &dyn Observer,
    ) -> Result<(u32, JournalFile), JournalError> {
        let claim = |number| {
            let path = self.0.path().join(name(stem, number));
            let taken = take(&path, true, observer).map_err(|error| JournalError::File(path, error))?;
            Ok::<_, JournalError>(taken.map(|file| (number, JournalFile::new(file))))
        };
        if let Some(left) = left.filter(|number| (1..=MAX_JOURNALS).contains(number)) {
            let until = Instant::now() + LETTING_GO;
            loop {
                match claim(left)? {
                    Some(claimed) => return Ok(claimed),
                    // Another daemon that started meanwhile has it, and what is in it.
                    None if Instant::now() >= until => break,
                    None => thread::sleep(Duration::from_millis(2)),
                }
            }
        }
        let free = (1..=MAX_JOURNALS).find_map(|number| claim(number).transpose());
        free.unwrap_or_else(|| Err(JournalError::AllHeld(self.0.path().to_owned())))
    }

    /// Locks all other free journals.
    pub(super) fn orphans(&self, own: &JournalFile, observer: &dyn Observer) -> Vec<JournalFile> {
        let mut orphans = Vec::new();
        for path in paths(self.0.path()).filter(|path| path != own.path()) {
            match take(&path, false, observer) {
                Ok(Some(file)) => orphans.push(JournalFile::new(file)),
                Ok(None) => {}
                Err(error) => {
                    let detail = chain(&JournalError::File(path, error)).to_string().into();
                    observer.report(&Report::new(What::JournalUnread { detail }));
                }
            }
        }
        orphans
    }
}

fn paths(folder: &Path) -> impl Iterator<Item = PathBuf> {
    STEMS
        .into_iter()
        .flat_map(move |stem| (1..=MAX_JOURNALS).map(move |number| folder.join(name(stem, number))))
}

fn name(stem: &str, number: u32) -> String {
    match number {
        1 => format!("{stem}.redb"),
        _ => format!("{stem}-{number}.redb"),
    }
}

/// Locks a journal; none if another process holds it, or if it is missing and `make` is false.
fn take(path: &Path, make: bool, observer: &dyn Observer) -> io::Result<Option<StateFile>> {
    loop {
        match postern_state::take(path, make)? {
            Taken::Ours(file) => return Ok(Some(file)),
            Taken::Held | Taken::Missing => return Ok(None),
            Taken::Unfit(why) => set_aside(path, &format!("it {why}"), observer)?,
        }
    }
}

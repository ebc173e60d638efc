//! The ledger's file: how it is locked, opened and checked, and what the operator can do if that fails.
//!
//! A file that cannot be used stays where it is and is not replaced: with an empty ledger every used token would be good again. Only the
//! operator can know that the old tokens are worthless, and then moves the file away.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use postern_state::{StateError, StateFile, StateFolder, Taken, is_damage, take};
use redb::{Database, DatabaseError};
use thiserror::Error;

use crate::store::{Capacity, Store, StoreKind, VERSION};

/// Its name in the state folder.
pub const FILE: &str = "ledger.redb";
/// The database's cache, in bytes.
const CACHE: usize = 8 << 20;
/// The file's name while it is created.
const BESIDE: &str = "ledger.new";

/// Why nothing can be claimed.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// There is no fit folder for it.
    #[error(transparent)]
    Folder(#[from] StateError),
    /// Another process has it.
    #[error(
        "another daemon has the ledger {}; stop that one, or give this one a folder of its own, by STATE_DIRECTORY",
        .0.display()
    )]
    Held(PathBuf),
    /// Another user could have written it.
    #[error(
        "the ledger {} {}, so what is in it may be wrong; put it back as a file of the daemon's user alone with mode 0600, or see \
         \"Used tokens\" in config.md before you move it away",
        .0.display(), .1
    )]
    Unfit(PathBuf, String),
    /// The system refuses access to the file.
    #[error("the ledger {} cannot be opened; see that its disk can be read and written", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The database cannot be opened or read.
    #[error("the ledger {} cannot be opened; see that its disk has room and can be read and written", .0.display())]
    Open(PathBuf, #[source] redb::Error),
    /// The database is damaged.
    #[error(
        "the ledger {} is damaged, so nobody knows which tokens were used ({}); change the secrets that the rules check, or wait until their codes have ended, and only then move it away (\"Used tokens\" in config.md)",
        .0.display(), .1
    )]
    Damaged(PathBuf, String),
    /// Another version wrote it.
    #[error(
        "the ledger {} was written by another version (layout {}, and this version knows {}); run that version again, or see \"Used tokens\" \
         in config.md before you move it away",
        .0.display(), .1, VERSION
    )]
    OtherVersion(PathBuf, u64),
    /// It was opened, but a claim could not be written.
    #[error("the ledger {} cannot be written; see that its disk has room and can be written", .0.display())]
    Write(PathBuf, #[source] redb::Error),
    /// Who keeps the file for this process does not hand it out.
    #[error("{0}")]
    Refused(String),
}

/// How the file is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerRequest {
    /// Make one if there is none.
    pub make: bool,
    /// A flush of the file failed: it is to be copied into a new one before anything is read, since what the kernel still has in memory is
    /// perhaps not on the disk, and would never get there.
    pub copy: bool,
}

/// Takes the ledger in a state folder, and locks it; none if there is none and it is not to be made. The descriptor is for another process, or for
/// a ledger of this one; the lock lives as long as any copy of it. Nothing in the file is looked at.
///
/// # Errors
/// If there is no fit file, another process has it, or it cannot be made or copied.
pub fn take_file(folder: &Path, request: LedgerRequest) -> Result<Option<OwnedFd>, LedgerError> {
    let path = folder.join(FILE);
    let Some(file) = take_locked(folder, request)? else { return Ok(None) };
    file.descriptor().map(Some).map_err(|error| LedgerError::File(path, error))
}

/// As [`take_file`].
fn take_locked(folder: &Path, request: LedgerRequest) -> Result<Option<StateFile>, LedgerError> {
    let path = folder.join(FILE);
    let failed = |error| LedgerError::File(path.clone(), error);
    if !request.make && is_missing(&path) {
        return Ok(None);
    }
    let entered = StateFolder::enter(folder)?;
    let file = match take(&path, false).map_err(failed)? {
        Taken::Ours(file) if request.copy => copy(&entered, &file).map_err(failed)?,
        Taken::Ours(file) => file,
        Taken::Missing if request.make => begin(&entered, &path)?,
        Taken::Missing => return Ok(None),
        Taken::Held => return Err(LedgerError::Held(path)),
        Taken::Unfit(why) => return Err(LedgerError::Unfit(path, why)),
    };
    Ok(Some(file))
}

/// Opens the ledger in a state folder; none if there is none and it is not to be made.
pub(crate) fn open(folder: &Path, request: LedgerRequest) -> Result<Option<OpenLedger>, LedgerError> {
    take_locked(folder, request)?.map(open_taken).transpose()
}

/// Opens the ledger that somebody else has taken; `path` is only for messages.
pub(crate) fn open_descriptor(path: &Path, descriptor: OwnedFd) -> Result<OpenLedger, LedgerError> {
    open_taken(StateFile::of_descriptor(path.to_owned(), descriptor))
}

/// A ledger's database, and whether its file can be trusted.
pub(crate) struct OpenLedger {
    pub(crate) store: Store,
    /// Whether a flush of the file has failed; see [`LedgerRequest::copy`].
    pub(crate) is_unsure: Box<dyn Fn() -> bool + Send>,
}

fn open_taken(file: StateFile) -> Result<OpenLedger, LedgerError> {
    let path = file.path().to_owned();
    let failed = |error| LedgerError::File(path.clone(), error);
    if file.is_empty().map_err(failed)? {
        return Err(LedgerError::Damaged(path, "it is empty".to_owned()));
    }
    // On a disk that takes nothing the database says so itself, in its own words.
    let _ = file.forget_cached();
    let database = file.open(CACHE).map_err(|error| refused(&path, error))?;
    let store = Store::new(check(&path, database)?, Capacity::default());
    Ok(OpenLedger { store, is_unsure: Box::new(move || file.is_unsure()) })
}

/// Puts a copy in the place of a file whose flush failed: each page of it is written once more, and is on the disk.
fn copy(entered: &StateFolder, file: &StateFile) -> io::Result<StateFile> {
    let beside = entered.path().join(BESIDE);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let Taken::Ours(new) = take(&beside, true)? else { return Err(io::ErrorKind::WouldBlock.into()) };
    let copied = file.copy_into(&new).and_then(|()| fs::rename(&beside, file.path()));
    if copied.is_err() {
        let _ = fs::remove_file(&beside);
    }
    copied?;
    // The lock is on the open file, so it survives the renaming.
    let new = StateFile::of_descriptor(file.path().to_owned(), new.descriptor()?);
    new.sync_name()?;
    Ok(new)
}

fn is_missing(path: &Path) -> bool {
    let found = fs::symlink_metadata(path);
    found.is_err_and(|error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
}

/// Creates a ledger under another name and renames it: after a crash in between, a half-written file would count as damaged.
fn begin(entered: &StateFolder, path: &Path) -> Result<StateFile, LedgerError> {
    let failed = |error| LedgerError::File(path.to_owned(), error);
    let beside = entered.path().join(BESIDE);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let Taken::Ours(file) = take(&beside, true).map_err(failed)? else {
        return Err(LedgerError::Held(beside));
    };
    let database = file.open(CACHE).map_err(|error| refused(path, error))?;
    Store::begin(&database).map_err(|error| LedgerError::Open(path.to_owned(), error))?;
    // The lock is on the open file, so it survives the renaming.
    fs::rename(&beside, path).map_err(failed)?;
    file.sync_name().map_err(failed)?;
    drop(database);
    Ok(StateFile::of_descriptor(path.to_owned(), file.descriptor().map_err(failed)?))
}

/// Checks the whole database, since unnoticed damage could make a used token good again. 100,000 tokens take some 0.1 s.
pub(crate) fn check(path: &Path, mut database: Database) -> Result<Database, LedgerError> {
    let damaged = |why: &str| LedgerError::Damaged(path.to_owned(), why.to_owned());
    let failed = |error| LedgerError::Open(path.to_owned(), error);
    match database.check_integrity() {
        Ok(true) => {}
        // redb repairs what a crash leaves when it opens the file; this is worse.
        Ok(false) => {
            Store::mark_damaged(&database).map_err(failed)?;
            return Err(damaged("it had to be repaired, and what was used last may be lost"));
        }
        Err(error) => return Err(refused(path, error)),
    }
    match Store::kind(&database).map_err(failed)? {
        StoreKind::Known => Ok(database),
        StoreKind::Other(version) => Err(LedgerError::OtherVersion(path.to_owned(), version)),
        StoreKind::Damaged => {
            Err(damaged("it had to be repaired before, and what was used last may be lost"))
        }
    }
}

fn refused(path: &Path, error: DatabaseError) -> LedgerError {
    match error {
        DatabaseError::UpgradeRequired(format) => LedgerError::OtherVersion(path.to_owned(), format.into()),
        error if is_damage(&error) => LedgerError::Damaged(path.to_owned(), error.to_string()),
        error => LedgerError::Open(path.to_owned(), error.into()),
    }
}

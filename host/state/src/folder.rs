//! The folder: created if it is missing, refused if other users could get at its files, and entered by one process at a time.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::take::{FOR_OTHERS, WRITTEN_BY_OTHERS, distrust, open};

/// How long to wait for the folder's lock. A starting daemon holds it for some milliseconds.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const STICKY: u32 = 0o1000;

/// Why there is no state folder.
#[derive(Debug, Error)]
pub enum StateError {
    /// The system refuses access to the folder.
    #[error("the state folder {} cannot be made or read", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// Other users could read or change its files.
    #[error("the state folder {} {}; give the daemon a folder of its own, by STATE_DIRECTORY", .0.display(), .1)]
    Unfit(PathBuf, String),
    /// Another process holds the folder's lock for too long.
    #[error("another daemon is starting in the state folder {} and does not get on; see which process holds the file `lock` there", .0.display())]
    Starting(PathBuf),
}

/// The state folder, as long as this is the one process that takes files there.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    /// The folder's lock: daemons that start at once choose their files one after the other.
    _starting: File,
}

impl StateFolder {
    /// Creates the folder if it is missing, and waits, at most five seconds, until no other process is starting there.
    ///
    /// # Errors
    /// If it cannot be made or read, is not ours alone, or another process stays in it.
    pub fn enter(path: &Path) -> Result<Self, StateError> {
        let failed = |error| StateError::Folder(path.to_owned(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        secure(path)?;
        let lock = path.join("lock");
        let starting = open(&lock, true).map_err(failed)?;
        if let Some(why) = distrust(&starting.metadata().map_err(failed)?) {
            return Err(StateError::Unfit(path.to_owned(), format!("has a file `lock` that {why}")));
        }
        let deadline = Instant::now() + LONGEST_WAIT;
        loop {
            match starting.try_lock() {
                Ok(()) => return Ok(Self { path: path.to_owned(), _starting: starting }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => return Err(StateError::Starting(path.to_owned())),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }

    /// Whether it could be entered, as far as its owner and mode say; one that is not there could. Nothing is changed.
    ///
    /// # Errors
    /// If it cannot be read, or is not ours alone and cannot be made so.
    pub fn examine(path: &Path) -> Result<(), StateError> {
        match is_for_others(path) {
            Err(StateError::Folder(_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            examined => examined.map(drop),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes sure that no other user gets at the folder's files.
fn secure(path: &Path) -> Result<(), StateError> {
    if is_for_others(path)? {
        let failed = |error| StateError::Folder(path.to_owned(), error);
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Whether other users get at the folder's files as long as its mode is not changed.
fn is_for_others(path: &Path) -> Result<bool, StateError> {
    let failed = |error| StateError::Folder(path.to_owned(), error);
    let unfit = |why: String| Err(StateError::Unfit(path.to_owned(), why));
    let metadata = fs::metadata(path).map_err(failed)?;
    let (us, owner) = (rustix::process::geteuid().as_raw(), metadata.uid());
    if owner != us {
        return unfit(format!(
            "belongs to user {owner}, and what is in it is run with the rights of user {us}"
        ));
    }
    if metadata.mode() & FOR_OTHERS == 0 {
        return Ok(false);
    }
    if metadata.mode() & STICKY != 0 {
        return unfit("is for everybody's files".to_owned());
    }
    let is_folder = |entry: io::Result<fs::DirEntry>| {
        entry.and_then(|entry| entry.file_type()).is_ok_and(|kind| kind.is_dir())
    };
    if fs::read_dir(path).map_err(failed)?.any(is_folder) {
        // Others use the folder, too, and may rely on its mode. The files' mode is enough, as long as no other user can replace files.
        if metadata.mode() & WRITTEN_BY_OTHERS != 0 {
            return unfit("can be written by others and holds folders that are not the daemon's".to_owned());
        }
        return Ok(false);
    }
    Ok(true)
}

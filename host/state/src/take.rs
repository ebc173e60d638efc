//! Taking a file: opened without following a link, ours alone, and locked, or the reason why not.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Seek};
use std::ops::Bound;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use redb::StorageBackend;
use redb::backends::FileBackend;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::database::StateFile;

pub(crate) const FOR_OTHERS: u32 = 0o077;
pub(crate) const WRITTEN_BY_OTHERS: u32 = 0o022;

/// What came of taking a file.
#[derive(Debug)]
pub enum Taken {
    /// It is locked, and stays so as long as the file or a database in it lives.
    Ours(StateFile),
    /// Another process has it.
    Held,
    /// It is not there.
    Missing,
    /// What is in it may be somebody else's. Why, as the end of a sentence about the file.
    Unfit(String),
}

/// Opens and locks the file at `path` in a folder that was entered; with `make` it is made if it is not there.
///
/// # Errors
/// If the system does not let us.
pub fn take(path: &Path, make: bool) -> io::Result<Taken> {
    loop {
        let file = match open(path, make) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !make => return Ok(Taken::Missing),
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                return Ok(Taken::Unfit("is a symbolic link".to_owned()));
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if let Some(why) = distrust(&metadata) {
            return Ok(Taken::Unfit(why));
        }
        // Made before files had their mode from us, or put back by hand: others may have it open, read it and lock it.
        if metadata.mode() & FOR_OTHERS != 0 {
            if is_written(file.try_clone()?)? {
                return Ok(Taken::Held);
            }
            match replace(path, &file) {
                Ok(()) => continue,
                // No room for a copy. Nobody new gets at it, at least, and whoever locks it first has it.
                Err(_) => file.set_permissions(Permissions::from_mode(0o600))?,
            }
        }
        return match file.try_lock() {
            Ok(()) => Ok(Taken::Ours(StateFile::new(path.to_owned(), file))),
            Err(TryLockError::WouldBlock) => Ok(Taken::Held),
            Err(TryLockError::Error(error)) => Err(error),
        };
    }
}

pub(crate) fn open(path: &Path, make: bool) -> io::Result<File> {
    // Neither another file by a link, nor a pipe that is waited for.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    OpenOptions::new().read(true).write(true).create(make).mode(0o600).custom_flags(flags).open(path)
}

/// Why what is in a file may not be ours, if it may not.
pub(crate) fn distrust(metadata: &fs::Metadata) -> Option<String> {
    let us = rustix::process::geteuid().as_raw();
    if !metadata.is_file() {
        return Some("is not a regular file".to_owned());
    }
    if metadata.uid() != us {
        return Some(format!("belongs to user {}", metadata.uid()));
    }
    if metadata.nlink() != 1 {
        return Some("has another name, too".to_owned());
    }
    (metadata.mode() & WRITTEN_BY_OTHERS != 0).then(|| "can be written by others".to_owned())
}

/// Whether a daemon of a version before holds a file that others can read: it has locks that only somebody who may write has.
fn is_written(file: File) -> io::Result<bool> {
    let backend = FileBackend::new(file).map_err(io::Error::other)?;
    let range = (Bound::Included(1), Bound::Unbounded);
    let is_free = backend.try_lock_shared_range(range.0, range.1)?;
    if is_free {
        backend.unlock_range(range.0, range.1)?;
    }
    Ok(!is_free)
}

/// Puts a copy that nobody else has open in the place of a file.
fn replace(path: &Path, mut file: &File) -> io::Result<()> {
    let copy_path = path.with_extension("new");
    // Of a start that was killed.
    let _ = fs::remove_file(&copy_path);
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy_path)?;
    let copied = (|| {
        file.rewind()?;
        io::copy(&mut file, &mut copy)?;
        copy.sync_all()?;
        fs::rename(&copy_path, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    })();
    if copied.is_err() {
        let _ = fs::remove_file(&copy_path);
    }
    copied
}

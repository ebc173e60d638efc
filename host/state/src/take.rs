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
    /// Another user may have written it. Why, as the end of a sentence about the file.
    Unfit(String),
}

/// Opens and locks the file at `path` in a folder that was entered; with `make` it is made if it is not there.
///
/// # Errors
/// If the system refuses access.
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
        // An older version made it, or it was restored by hand, with a mode that lets others open, read and lock it.
        if metadata.mode() & FOR_OTHERS != 0 {
            if is_written(file.try_clone()?)? {
                return Ok(Taken::Held);
            }
            match replace(path, &file) {
                Ok(()) => continue,
                // No room for a copy. At least no other user can open it from now on, and the first to lock it holds it.
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
    // Do not follow a link to another file, and do not block on a pipe.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    OpenOptions::new().read(true).write(true).create(make).mode(0o600).custom_flags(flags).open(path)
}

/// Why a file's content may not be ours; none if it is.
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

/// Whether a daemon of an older version holds a file that others can read: it then has locks that only a writer can take.
fn is_written(file: File) -> io::Result<bool> {
    let backend = FileBackend::new(file).map_err(io::Error::other)?;
    let range = (Bound::Included(1), Bound::Unbounded);
    let is_free = backend.try_lock_shared_range(range.0, range.1)?;
    if is_free {
        backend.unlock_range(range.0, range.1)?;
    }
    Ok(!is_free)
}

/// Replaces a file by a copy that no other process has open.
fn replace(path: &Path, mut file: &File) -> io::Result<()> {
    let copy_path = path.with_extension("new");
    // Left by a start that was killed.
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

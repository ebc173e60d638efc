//! Folder: the state folder, and which of its journals is whose.
//!
//! A journal is one of a few files with fixed names. Who holds the lock on a file lives; a file that nobody holds was left by a daemon
//! that died. What is in these files is run with our rights, so no other user may write, read or lock them: the folder has mode 0700
//! and its files 0600, whoever made them and whatever the umask is.

use std::fmt::Display;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Seek};
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use redb::StorageBackend;
use redb::backends::FileBackend;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::JournalError;
use super::slot::Slot;

/// Journals of one name, and so daemons that run commands beside each other in one folder.
pub(super) const SLOTS: u32 = 16;
/// The names that journals have: those of `run` and those of `knockd`.
const STEMS: [&str; 2] = ["postern", "knockd"];
/// Files that are kept beside each other because they cannot be used; one more takes the place of the last.
const MOST_ASIDE: u32 = 16;
/// A start holds the folder for some milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
const FOR_OTHERS: u32 = 0o077;
const WRITTEN_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Whether there is any journal in this folder.
pub(crate) fn is_any(folder: &Path) -> bool {
    paths(folder).any(|path| path.exists())
}

/// Keeps a file that cannot be used for whoever looks into it, beside those that were kept before.
pub(super) fn set_aside(path: &Path, why: &dyn Display) -> io::Result<()> {
    let name = |number: u32| match number {
        1 => path.with_extension("damaged"),
        number => path.with_extension(format!("damaged-{number}")),
    };
    let is_free = |number: &u32| fs::symlink_metadata(name(*number)).is_err();
    let aside = name((1..MOST_ASIDE).find(is_free).unwrap_or(MOST_ASIDE));
    fs::rename(path, &aside)?;
    tracing::error!(
        event = "journal",
        detail = %why,
        "the journal {} is not used: {why}; it is kept as {}; close by hand what commands have opened",
        path.display(),
        aside.display()
    );
    Ok(())
}

/// The state folder, as long as this daemon is the one that starts there.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Held, so that of several that start one after the other looks for a file of its own.
    _starting: File,
}

impl Folder {
    /// Makes the folder if it is not there, and waits until nobody else is starting there.
    pub(super) fn enter(path: &Path) -> Result<Self, JournalError> {
        let failed = |error| JournalError::Folder(path.to_owned(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        secure(path)?;
        let lock = path.join("lock");
        let starting = open(&lock, true).map_err(failed)?;
        if let Some(why) = distrust(&starting.metadata().map_err(failed)?) {
            return Err(JournalError::Unfit(path.to_owned(), format!("has a file `lock` that {why}")));
        }
        let patience = Instant::now() + PATIENCE;
        loop {
            match starting.try_lock() {
                Ok(()) => return Ok(Self { path: path.to_owned(), _starting: starting }),
                Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => return Err(JournalError::Starting(path.to_owned())),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }

    /// The first journal of this name that nobody holds; from now on this daemon does.
    pub(super) fn claim(&self, stem: &str) -> Result<Slot, JournalError> {
        for number in 1..=SLOTS {
            let path = self.path.join(name(stem, number));
            let taken = take(&path, true).map_err(|error| JournalError::File(path.clone(), error))?;
            if let Some(file) = taken {
                return Ok(Slot::new(path, file));
            }
        }
        Err(JournalError::NoSlot(self.path.clone()))
    }

    /// All other journals that nobody holds. From now on this daemon does.
    pub(super) fn orphans(&self, own: &Slot) -> Vec<Slot> {
        let mut orphans = Vec::new();
        for path in paths(&self.path).filter(|path| path != own.path()) {
            match take(&path, false) {
                Ok(Some(file)) => orphans.push(Slot::new(path, file)),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(event = "journal", detail = %error, "the journal {} cannot be opened: {error}; what is in it stays open until a later start", path.display());
                }
            }
        }
        orphans
    }
}

fn paths(folder: &Path) -> impl Iterator<Item = PathBuf> {
    STEMS.into_iter().flat_map(move |stem| (1..=SLOTS).map(move |number| folder.join(name(stem, number))))
}

fn name(stem: &str, number: u32) -> String {
    match number {
        1 => format!("{stem}.redb"),
        _ => format!("{stem}-{number}.redb"),
    }
}

/// Makes sure that nobody else gets at what is in the folder.
fn secure(path: &Path) -> Result<(), JournalError> {
    let failed = |error| JournalError::Folder(path.to_owned(), error);
    let unfit = |why: String| Err(JournalError::Unfit(path.to_owned(), why));
    let metadata = fs::metadata(path).map_err(failed)?;
    let (us, owner) = (rustix::process::geteuid().as_raw(), metadata.uid());
    if owner != us {
        return unfit(format!(
            "belongs to user {owner}, and what is in it is run with the rights of user {us}"
        ));
    }
    if metadata.mode() & FOR_OTHERS == 0 {
        return Ok(());
    }
    if metadata.mode() & STICKY != 0 {
        return unfit("is for everybody's files".to_owned());
    }
    let is_folder = |entry: io::Result<fs::DirEntry>| {
        entry.and_then(|entry| entry.file_type()).is_ok_and(|kind| kind.is_dir())
    };
    if fs::read_dir(path).map_err(failed)?.any(is_folder) {
        // Somebody else's as well, who may count on its mode. The mode of the files is enough, as long as nobody can exchange them.
        if metadata.mode() & WRITTEN_BY_OTHERS != 0 {
            return unfit("can be written by others and holds folders that are not the daemon's".to_owned());
        }
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)
}

/// Opens and locks a journal; none if somebody holds it, or if it is not there and is not to be made.
fn take(path: &Path, make: bool) -> io::Result<Option<File>> {
    loop {
        let file = match open(path, make) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !make => return Ok(None),
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                set_aside(path, &"it is a symbolic link")?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if let Some(why) = distrust(&metadata) {
            set_aside(path, &format!("it {why}"))?;
            continue;
        }
        // Made before files had their mode from us: others may have it open, read it and lock it.
        if metadata.mode() & FOR_OTHERS != 0 {
            if is_written(file.try_clone()?)? {
                return Ok(None);
            }
            match replace(path, &file) {
                Ok(()) => continue,
                // No room for a copy. Nobody new gets at it, at least, and whoever locks it first has it.
                Err(_) => file.set_permissions(Permissions::from_mode(0o600))?,
            }
        }
        return match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        };
    }
}

fn open(path: &Path, make: bool) -> io::Result<File> {
    // Neither another file by a link, nor a pipe that is waited for.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    OpenOptions::new().read(true).write(true).create(make).mode(0o600).custom_flags(flags).open(path)
}

/// Why what is in a file may not be ours, if it may not.
fn distrust(metadata: &fs::Metadata) -> Option<String> {
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

/// Whether a daemon of a version before holds a journal that others can read: it has locks that only somebody who may write has.
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

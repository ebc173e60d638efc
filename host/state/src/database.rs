//! A file that this process holds, and the database in it.
//!
//! The lock on the file is ours and not the database's, so that the database can be closed and opened again without letting go of it.

use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Database, DatabaseError, StorageBackend, StorageError};

/// A file of the state folder that this process has locked. The lock is released when the last clone and the last database in it are dropped.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
    file: Arc<File>,
    /// Whether the disk refused to keep something that was written.
    is_unsure: Arc<AtomicBool>,
}

impl StateFile {
    pub(crate) fn new(path: PathBuf, file: File) -> Self {
        Self { path, file: Arc::new(file), is_unsure: Arc::default() }
    }

    /// A file that another process has opened, checked and locked, and handed to this one; `path` is only for messages.
    #[must_use]
    pub fn of_descriptor(path: PathBuf, descriptor: OwnedFd) -> Self {
        Self::new(path, descriptor.into())
    }

    /// The open file itself, to be handed to another process, which then holds the lock as well. To hand the lock over, drop this.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// Whether something that was written may not be on the disk though it is read back: a flush failed. The kernel then takes the pages
    /// for clean, so that no later flush writes them, and only what is written anew is safe.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.is_unsure.load(Ordering::Relaxed)
    }

    /// Has what is read from now on come from the disk, as far as the kernel does that: an earlier process may have left pages in memory
    /// that the disk did not take.
    ///
    /// # Errors
    /// If something that is still to be written cannot be.
    pub fn forget_cached(&self) -> io::Result<()> {
        self.file.sync_all()?;
        // Not every file system has a disk behind it.
        let _ = rustix::fs::fadvise(&*self.file, 0, None, rustix::fs::Advice::DontNeed);
        Ok(())
    }

    /// Copies everything into another file and onto its disk.
    ///
    /// # Errors
    /// If one cannot be read or the other not be written.
    pub fn copy_into(&self, other: &Self) -> io::Result<()> {
        let mut from = &*self.file;
        let mut into = &*other.file;
        from.rewind()?;
        into.rewind()?;
        io::copy(&mut from, &mut into)?;
        other.file.sync_all()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is nothing in it yet.
    ///
    /// # Errors
    /// If the file cannot be examined.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() == 0)
    }

    /// Opens the database in it, or makes one in a file that is empty; `cache` is in bytes. After a crash it is repaired first.
    ///
    /// # Errors
    /// If it cannot be read, written, or made sense of; see [`is_damage`]. A file that was empty is so again then.
    pub fn open(&self, cache: usize) -> Result<Database, DatabaseError> {
        let is_new = self.is_empty()?;
        let disk = Disk { file: Arc::clone(&self.file), is_unsure: Arc::clone(&self.is_unsure) };
        let opened = Database::builder().set_cache_size(cache).create_with_backend(disk);
        if is_new && opened.is_err() {
            // A half-written header could not be opened later.
            let _ = self.file.set_len(0);
        }
        opened
    }

    /// Syncs the folder, so that the file's name survives a crash. The database syncs the contents.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn sync_name(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    /// Removes the file: what was in it is elsewhere now.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the file itself is damaged, rather than the disk or our permissions being the cause.
#[must_use]
pub fn is_damage(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

/// The file as the database's storage: without locking, since this process already holds the lock.
#[derive(Debug)]
struct Disk {
    file: Arc<File>,
    is_unsure: Arc<AtomicBool>,
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|_| self.is_unsure.store(true, Ordering::Relaxed))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}

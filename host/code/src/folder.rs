//! Folder: the folder of a cache, made if it is not there, and trusted only if no other user could have written anything in it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, RawMode, Stat, fchmod, fchown, fstat, mkdir, open};
use rustix::process::geteuid;

use crate::error::CacheError;

/// Bits of a mode by which others may write.
const OTHERS_WRITE: RawMode = 0o022;

/// An open folder that no other user can write. What is in it is opened relative to it.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    dir: OwnedFd,
    /// The group that may read, besides the owner.
    readers: Option<u32>,
}

impl Folder {
    /// Opens the folder, and makes it if it is not there.
    pub(crate) fn open(path: &Path, readers: Option<u32>) -> Result<Self, CacheError> {
        let unusable = |error: io::Error| CacheError::Folder { folder: path.to_owned(), error };
        match mkdir(path, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            // On a disk that is read-only even if it is there.
            Err(error) if !path.is_dir() => return Err(unusable(error.into())),
            Err(_) => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open(path, flags, Mode::empty()).map_err(|error| unusable(error.into()))?;
        let stat = fstat(&dir).map_err(|error| unusable(error.into()))?;
        if !is_ours(&stat) {
            return Err(CacheError::Owner { folder: path.to_owned(), owner: stat.st_uid });
        }
        if stat.st_mode & OTHERS_WRITE != 0 {
            return Err(CacheError::Writable { folder: path.to_owned() });
        }
        let folder = Self { path: path.to_owned(), dir, readers };
        if let Some(group) = readers
            && stat.st_uid == geteuid().as_raw()
            && (stat.st_gid != group || stat.st_mode & 0o050 != 0o050)
        {
            fchown(&folder.dir, None, Some(Gid::from_raw(group)))
                .and_then(|()| fchmod(&folder.dir, Mode::from_raw_mode(0o750)))
                .map_err(|error| unusable(error.into()))?;
        }
        Ok(folder)
    }

    /// Lets the group of readers read a file in it.
    pub(crate) fn let_read(&self, file: &File) -> rustix::io::Result<()> {
        let Some(group) = self.readers else { return Ok(()) };
        fchown(file, None, Some(Gid::from_raw(group)))?;
        fchmod(file, Mode::RUSR | Mode::WUSR | Mode::RGRP)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// Whether nobody but root and this process's own user could have written a file or folder.
pub(crate) fn is_trusted(stat: &Stat) -> bool {
    is_ours(stat) && stat.st_mode & OTHERS_WRITE == 0
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == 0 || stat.st_uid == geteuid().as_raw()
}

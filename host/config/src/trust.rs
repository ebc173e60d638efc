//! Trust: opens a file if no user but root and the daemon's own could have written it, or put it where it is.
//!
//! A path is walked component by component, and each is looked at through the descriptor by which the next is opened, links
//! included, so that nothing can be exchanged in between. It reads nothing and knows nothing of what is in a file.

mod entry;
mod walk;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf, absolute};

use postern_text::Mistake;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, StatxFlags, fstat, makedev, openat, statx};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub(crate) use entry::quoted;
use walk::{End, Walk};

/// Which owners' files are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// Those that only root and the daemon's own user could have written: each folder on the way to the file counts as well.
    Strict,
    /// Those of every user.
    Anybody,
}

/// A file or folder that others could write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrust {
    /// The first on the path, with links followed.
    pub path: PathBuf,
    /// Which users could write it.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// Without the path.
impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, remedy, .. } = self;
        write!(f, "{what}; {remedy}")
    }
}

/// The same folder is one mistake, however many files are in it.
impl From<Distrust> for Mistake {
    fn from(distrust: Distrust) -> Self {
        let what = distrust.to_string();
        Self { file: distrust.path, line: None, key: String::new(), what }
    }
}

/// Why a file was not opened.
#[derive(Debug)]
pub enum OpenError {
    /// The system refused to open it.
    Io(io::Error),
    /// Others could have written it.
    Distrust(Distrust),
    /// It is no regular file: opening a pipe blocks, and a device may never end.
    NotRegular,
    /// It was not tried: earlier reads of it hang.
    Unanswered,
}

/// A folder whose files are opened without walking the whole path again.
#[derive(Debug)]
pub(crate) struct TrustedFolder {
    walk: Walk,
}

impl Trust {
    /// The two combined: each may waive the check.
    #[must_use]
    pub fn unless_waived(self, other: Self) -> Self {
        if other == Self::Anybody { other } else { self }
    }

    /// Opens a regular file for reading; never waits for it.
    pub fn open(self, path: &Path) -> Result<File, OpenError> {
        let mut walk = Walk::from_root(self)?;
        let end = walk.go(&absolute(path)?)?;
        walk.open(&end)
    }

    /// Opens a folder.
    pub(crate) fn open_folder(self, path: &Path) -> Result<TrustedFolder, OpenError> {
        let mut walk = Walk::from_root(self)?;
        match walk.go(&absolute(path)?)? {
            End::Folder => Ok(TrustedFolder { walk }),
            End::File(_) => Err(OpenError::Io(io::ErrorKind::NotADirectory.into())),
        }
    }

    /// Opens, by its name alone (`O_PATH`), a folder that may belong to anybody, if no other users could have put it where it is; and which
    /// one it is, by its device and inode. Nothing is asked of the file system that it is the root of, which may be its owner's.
    ///
    /// # Errors
    /// If it is no folder, or others could have put it there.
    pub fn open_others_folder(self, path: &Path) -> Result<(OwnedFd, (u64, u64)), OpenError> {
        let dir = Walk::from_root(self)?.go_to_others_folder(&absolute(path)?)?;
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = statx(&dir, "", flags, StatxFlags::INO)?;
        let inode = (makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino);
        Ok((dir, inode))
    }

    /// Which other users could write the file at `path`; none if there are none, or if it cannot be known.
    pub fn distrust(self, path: &Path) -> Option<Distrust> {
        match self.open(path) {
            Err(OpenError::Distrust(distrust)) => Some(distrust),
            Ok(_) | Err(OpenError::Io(_) | OpenError::NotRegular | OpenError::Unanswered) => None,
        }
    }

    /// Which other users could have something else run in place of the program at `path`, which runs as the user `runs_as`, if that is another than
    /// the daemon's; none if there are none, or if it cannot be known.
    pub(crate) fn distrust_program(self, path: &Path, runs_as: Option<u32>) -> Option<Distrust> {
        let look = || {
            let mut walk = Walk::to_program(self, runs_as)?;
            let end = walk.go(&absolute(path)?)?;
            walk.look(&end)
        };
        match look() {
            Err(OpenError::Distrust(distrust)) => Some(distrust),
            Ok(()) | Err(OpenError::Io(_) | OpenError::NotRegular | OpenError::Unanswered) => None,
        }
    }
}

impl TrustedFolder {
    /// The device and the inode: which folder it is, however the path to it is written.
    pub(crate) fn inode(&self) -> io::Result<(u64, u64)> {
        let stat = fstat(self.walk.dir())?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// The names of what is in it.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = Dir::new(openat(self.walk.dir(), ".", flags, Mode::empty())?)?;
        let mut names = Vec::new();
        for entry in dir {
            let name = entry?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(OsString::from_vec(name.into_bytes()));
            }
        }
        Ok(names)
    }

    /// Opens a regular file in it, or what a link in it names, for reading.
    pub(crate) fn open(&self, name: &OsStr) -> Result<File, OpenError> {
        let mut walk = self.walk.try_clone()?;
        let end = walk.go(Path::new(name))?;
        walk.open(&end)
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl From<Distrust> for OpenError {
    fn from(distrust: Distrust) -> Self {
        Self::Distrust(distrust)
    }
}

#[cfg(test)]
mod tests;

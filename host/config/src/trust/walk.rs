//! Walk: resolves a path by descriptors, follows links as the kernel would, and checks each component.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat};
use rustix::io::Errno;

use super::entry::{FileEntry, FileUse, Insiders};
use super::{Distrust, OpenError, Trust};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// Opens the name only (`O_PATH`): that has no effect on a device, and does not block on a pipe.
const NAMES: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where a walk is: always in a folder.
#[derive(Debug)]
pub(super) struct Walk {
    trust: Trust,
    insiders: Insiders,
    /// What the file is for to which it goes.
    file_use: FileUse,
    dir: OwnedFd,
    /// With links followed.
    path: PathBuf,
    /// Whether others may put files into the folder.
    is_shared: bool,
    links: usize,
    /// Whether it is no matter who could write the folder where the walk ends.
    is_last_unchecked: bool,
}

/// Where a walk ended.
#[derive(Debug)]
pub(super) enum End {
    /// The folder that it is in.
    Folder,
    /// In that folder, what has this name and is neither a folder nor a link.
    File(OsString),
}

enum Part {
    Root,
    Up,
    Name(OsString),
}

impl Walk {
    pub(super) fn from_root(trust: Trust) -> Result<Self, OpenError> {
        Self::begin(trust, Insiders::here(), FileUse::Reads)
    }

    /// To a program, which runs as this user, if it is another than the daemon's.
    pub(super) fn to_program(trust: Trust, runs_as: Option<u32>) -> Result<Self, OpenError> {
        Self::begin(trust, Insiders::here().and(runs_as), FileUse::Runs)
    }

    fn begin(trust: Trust, insiders: Insiders, file_use: FileUse) -> Result<Self, OpenError> {
        let mut walk = Self {
            trust,
            insiders,
            file_use,
            dir: root()?,
            path: PathBuf::from("/"),
            is_shared: false,
            links: 0,
            is_last_unchecked: false,
        };
        walk.arrive(root()?, PathBuf::from("/"))?;
        Ok(walk)
    }

    pub(super) fn try_clone(&self) -> Result<Self, OpenError> {
        let Self { trust, insiders, file_use, is_shared, links, is_last_unchecked, .. } = *self;
        let (dir, path) = (self.dir.try_clone()?, self.path.clone());
        Ok(Self { trust, insiders, file_use, dir, path, is_shared, links, is_last_unchecked })
    }

    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Goes along `path` to a folder that may belong to anybody; the way there may not.
    pub(super) fn go_to_others_folder(mut self, path: &Path) -> Result<OwnedFd, OpenError> {
        self.is_last_unchecked = true;
        match self.go(path)? {
            End::Folder => Ok(self.dir),
            End::File(_) => Err(Errno::NOTDIR.into()),
        }
    }

    /// Goes along `path`.
    pub(super) fn go(&mut self, path: &Path) -> Result<End, OpenError> {
        let mut ahead: VecDeque<_> = parts(path).collect();
        while let Some(part) = ahead.pop_front() {
            match part {
                Part::Root => {
                    self.is_shared = false;
                    self.arrive(root()?, PathBuf::from("/"))?;
                }
                Part::Up => {
                    self.is_shared = false;
                    let above = openat(&self.dir, "..", NAMES | OFlags::DIRECTORY, Mode::empty())?;
                    let path = self.path.parent().unwrap_or(&self.path).to_owned();
                    self.arrive(above, path)?;
                }
                Part::Name(name) => {
                    // Opened as a folder, so that an automount is mounted.
                    match openat(&self.dir, &name, NAMES | OFlags::DIRECTORY, Mode::empty()) {
                        Ok(folder) if ahead.is_empty() && self.is_last_unchecked => self.dir = folder,
                        Ok(folder) => self.arrive(folder, self.path.join(&name))?,
                        Err(Errno::NOTDIR | Errno::LOOP) => match self.link(&name)? {
                            Some(target) => parts(&target).rev().for_each(|part| ahead.push_front(part)),
                            None if ahead.is_empty() => return Ok(End::File(name)),
                            None => return Err(Errno::NOTDIR.into()),
                        },
                        Err(errno) => return Err(errno.into()),
                    }
                }
            }
        }
        Ok(End::Folder)
    }

    /// Looks at what the walk ended at, if it is a regular file, without opening it: that takes no right to read it.
    pub(super) fn look(&self, end: &End) -> Result<(), OpenError> {
        let (name, named, stat) = self.name(end)?;
        Ok(self.check(FileEntry::of(&stat, named.as_fd()), &self.path.join(name))?)
    }

    /// What the walk ended at, by its name alone, if it is a regular file.
    fn name<'a>(&self, end: &'a End) -> Result<(&'a OsStr, OwnedFd, Stat), OpenError> {
        let End::File(name) = end else { return Err(OpenError::NotRegular) };
        let named = openat(&self.dir, name, NAMES, Mode::empty())?;
        let stat = fstat(&named)?;
        if kind(&stat) != FileType::RegularFile {
            return Err(OpenError::NotRegular);
        }
        Ok((name, named, stat))
    }

    /// Opens what the walk ended at, if it is a regular file.
    pub(super) fn open(&self, end: &End) -> Result<File, OpenError> {
        // Checked before it is opened: opening a device may already do something.
        let (name, ..) = self.name(end)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, name, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        if kind(&stat) != FileType::RegularFile {
            return Err(OpenError::NotRegular);
        }
        self.check(FileEntry::of(&stat, file.as_fd()), &self.path.join(name))?;
        Ok(file.into())
    }

    fn arrive(&mut self, dir: OwnedFd, path: PathBuf) -> Result<(), OpenError> {
        let entry = FileEntry::of(&fstat(&dir)?, dir.as_fd());
        self.check(entry, &path)?;
        self.is_shared = entry.is_shared();
        (self.dir, self.path) = (dir, path);
        Ok(())
    }

    /// What the link of this name names; none if it is no link.
    fn link(&mut self, name: &OsStr) -> Result<Option<PathBuf>, OpenError> {
        let link = openat(&self.dir, name, NAMES, Mode::empty())?;
        let stat = fstat(&link)?;
        if kind(&stat) != FileType::Symlink {
            return Ok(None);
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        // A link has no permissions: a user who can write the folder can change it. Its owner counts if other users may put files there.
        let entry = FileEntry { mode: 0, ..FileEntry::of(&stat, link.as_fd()) };
        if self.is_shared {
            self.check(entry, &self.path.join(name))?;
        }
        let target = readlinkat(&link, "", Vec::new())?;
        Ok(Some(OsString::from_vec(target.into_bytes()).into()))
    }

    fn check(&self, entry: FileEntry, path: &Path) -> Result<(), Distrust> {
        match self.trust {
            Trust::Strict => entry.check(path, self.insiders, self.is_shared, self.file_use),
            Trust::Anybody => Ok(()),
        }
    }
}

fn root() -> Result<OwnedFd, Errno> {
    open("/", NAMES | OFlags::DIRECTORY, Mode::empty())
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = Part> {
    path.components().filter_map(|component| match component {
        Component::RootDir => Some(Part::Root),
        Component::ParentDir => Some(Part::Up),
        Component::Normal(name) => Some(Part::Name(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

//! A small disk of a test's own, which can be full.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system of 8 MiB; gone when dropped.
pub(crate) struct Disk {
    folder: TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let folder = TempDir::with_prefix("postern-disk-").expect("a temporary folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs"])
            .arg(folder.path())
            .status()
            .expect("there is a mount");
        assert!(mounted.success(), "{mounted}");
        Self { folder }
    }

    /// A folder on it that is not there yet.
    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Leaves no byte of room.
    pub(crate) fn fill(&self) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.filler()).expect("our disk");
        while file.write_all(&[0; 1024]).is_ok() {}
    }

    /// Takes back what [`Disk::fill`] took.
    pub(crate) fn free(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A daemon that a failing test left may have a file open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

//! A small disk of a test's own, which can be full.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use postern_tests::eventually;
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

    /// Has everything that would be written fail. No file may be open to be written.
    pub(crate) fn make_read_only(&self) {
        self.mount_again("ro");
    }

    /// Takes back what [`Disk::make_read_only`] did.
    pub(crate) fn make_writable(&self) {
        self.mount_again("rw");
    }

    fn mount_again(&self, how: &str) {
        // What was killed may not be gone yet.
        eventually("nobody writes there", || {
            let done = Command::new("mount")
                .args(["-o", &format!("remount,{how}")])
                .arg(self.path())
                .output()
                .expect("there is a mount");
            done.status.success().then_some(())
        });
    }

    pub(crate) fn path(&self) -> &Path {
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

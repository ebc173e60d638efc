//! PidFile: the file with the number of the daemon's process. It never takes the pidfile of another daemon that runs.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// How long a daemon that was asked to stop just before may take to end.
const PATIENCE: Duration = Duration::from_secs(11);
const PAUSE: Duration = Duration::from_millis(100);
/// How often the file may be taken away by one that ends while this one starts.
const TRIES: u32 = 8;
/// A number and a line feed; more is no pidfile.
const LONGEST: u64 = 64;

/// A pidfile with our number in it.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    /// Locked as long as this process lives, so that of two that start at once one has it.
    _file: File,
}

/// Why there is no pidfile.
#[derive(Debug)]
pub(crate) enum NotWritten {
    /// It is that of a daemon that started at the same time.
    Held,
    /// The system does not let it be written.
    Failed(io::Error),
}

impl PidFile {
    /// Writes our number, whatever was there.
    ///
    /// # Errors
    /// See [`NotWritten`].
    pub(crate) fn write(path: PathBuf) -> Result<Self, NotWritten> {
        let mut file = open(&path)?;
        let number = format!("{}\n", process::id());
        let written = file.set_len(0).and_then(|()| file.write_all(number.as_bytes()));
        written.map_err(NotWritten::Failed)?;
        Ok(Self { path, _file: file })
    }

    /// Removes the file, if it is still ours.
    pub(crate) fn remove(self) {
        if read(&self.path) == Some(process::id()) {
            // If another process removed it before, that is as well.
            drop(fs::remove_file(self.path));
        }
    }
}

/// Opens the file and locks it, where there are locks.
fn open(path: &Path) -> Result<File, NotWritten> {
    for _ in 0..TRIES {
        // Opening a pipe would block.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = OpenOptions::new().write(true).create(true).truncate(false).custom_flags(flags).open(path);
        let file = file.map_err(NotWritten::Failed)?;
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            match read(path) {
                Some(pid) if pid != process::id() && is_knockd(pid) => return Err(NotWritten::Held),
                // It has not written its number yet.
                None => {
                    thread::sleep(PAUSE);
                    continue;
                }
                // A user who may only read the file can lock it, too; that must not keep the daemon from starting.
                Some(_) => return Ok(file),
            }
        }
        // The process that held the lock may have removed the file meanwhile.
        let inode =
            |metadata: io::Result<Metadata>| metadata.map(|metadata| (metadata.dev(), metadata.ino()));
        if inode(fs::metadata(path)).ok() == inode(file.metadata()).ok() {
            return Ok(file);
        }
    }
    Err(NotWritten::Held)
}

/// The daemon whose pidfile this is, if it still runs after the time that a stop may take.
pub(crate) fn holder(path: &Path) -> Option<u32> {
    holder_after(path, PATIENCE)
}

fn holder_after(path: &Path, patience: Duration) -> Option<u32> {
    let end = Instant::now() + patience;
    loop {
        let pid = read(path).filter(|pid| *pid != process::id() && is_knockd(*pid))?;
        if Instant::now() >= end {
            return Some(pid);
        }
        thread::sleep(PAUSE);
    }
}

fn read(path: &Path) -> Option<u32> {
    // Opening a pipe would block.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether a process runs as knockd, be it ours or the original. The number may be another's by now.
fn is_knockd(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    let is_name = |word: Option<&[u8]>| {
        word.is_some_and(|word| word.rsplit(|byte| *byte == b'/').next() == Some(b"knockd"))
    };
    is_name(words.next()) || words.next() == Some(b"knockd")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_daemon_that_runs_holds_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let holder = |text: &str| {
            fs::write(&path, text).unwrap();
            holder_after(&path, Duration::ZERO)
        };
        assert_eq!(holder_after(&path, Duration::ZERO), None);
        assert_eq!(holder(""), None);
        assert_eq!(holder("1 or so"), None);
        assert_eq!(holder(&format!("{}\n", process::id())), None, "we ourselves");
        let run = |name: &str| Command::new("/bin/sleep").arg0(name).arg("60").spawn().unwrap();
        let (mut other, mut knockd) = (run("sleep"), run("/usr/sbin/knockd"));
        // Between fork and exec it is not yet what it will be.
        let is_there = |pid| {
            (0..500).any(|_| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                thread::sleep(Duration::from_millis(10));
                line.ends_with(b"\x0060\0")
            })
        };
        assert!(is_there(other.id()) && is_there(knockd.id()));
        assert_eq!(holder(&format!("{}\n", other.id())), None, "somebody else has the number now");
        assert_eq!(holder(&format!("{}\n", knockd.id())), Some(knockd.id()));
        knockd.kill().unwrap();
        knockd.wait().unwrap();
        assert_eq!(holder(&format!("{}\n", knockd.id())), None);
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_file_that_is_not_ours_any_more_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let ours = PidFile::write(path.clone()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
        fs::write(&path, "1\n").unwrap();
        ours.remove();
        assert!(path.exists());
        PidFile::write(path.clone()).unwrap().remove();
        assert!(!path.exists());
    }

    #[test]
    fn of_two_at_once_one_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::write(&path, "left by one that crashed\n").unwrap();
        PidFile::write(path.clone()).unwrap().remove();
        let mut other = Command::new("/bin/sleep").arg0("/usr/sbin/knockd").arg("60").spawn().unwrap();
        assert!((0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            is_knockd(other.id())
        }));
        let number = format!("{}\n", other.id());
        fs::write(&path, &number).unwrap();
        let lock = File::open(&path).unwrap();
        lock.lock().unwrap();
        assert!(matches!(PidFile::write(path.clone()), Err(NotWritten::Held)));
        assert_eq!(fs::read_to_string(&path).unwrap(), number);
        // A user who may only read the file can lock it; what counts is the number in it.
        other.kill().unwrap();
        other.wait().unwrap();
        PidFile::write(path.clone()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
        let none = PidFile::write(dir.path().join("none/pid"));
        assert!(matches!(none, Err(NotWritten::Failed(_))));
    }
}

//! Usage: how much is in a cache, and which files go when it is too much: those that were used longest ago.

use std::ffi::CString;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, statat, unlinkat};

use crate::folder::Folder;
use crate::key::CodeKey;

/// Begins the names of files that are being written.
pub(crate) const UNFINISHED: &str = "unfinished-";
/// After this time nobody writes such a file any more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// How much a cache keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Files.
    pub files: usize,
}

impl Default for CacheLimits {
    /// Room for 5,000 modules of the usual size, or for 30 of Python: 2 GiB, 8,192 files.
    fn default() -> Self {
        Self { bytes: 2 << 30, files: 8192 }
    }
}

impl CacheLimits {
    /// What is left after pruning, so that not every file that comes prunes again.
    const fn after_pruning(self) -> Self {
        Self { bytes: self.bytes / 8 * 7, files: self.files - self.files / 8 }
    }
}

/// How much is in a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) files: usize,
}

impl Usage {
    pub(crate) const fn is_within(self, limits: CacheLimits) -> bool {
        self.bytes <= limits.bytes && self.files <= limits.files
    }
}

struct Kept {
    name: CString,
    bytes: u64,
    /// Seconds of the system's clock.
    used: i64,
}

/// Removes what is abandoned, and, if there is more than `limits`, what was used longest ago, but never the file `but`; what is left.
pub(crate) fn prune(folder: &Folder, limits: CacheLimits, but: &str) -> io::Result<Usage> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let abandoned = i64::try_from(now.saturating_sub(ABANDONED).as_secs()).unwrap_or(0);
    let (mut kept, mut usage) = (Vec::new(), Usage::default());
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        // It may be gone: another daemon may use the same cache.
        let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if CodeKey::is_name(name.to_bytes()) {
            let bytes = u64::try_from(stat.st_size).unwrap_or(0);
            usage.bytes += bytes;
            usage.files += 1;
            kept.push(Kept { name: name.to_owned(), bytes, used: stat.st_atime });
        } else if name.to_bytes().starts_with(UNFINISHED.as_bytes()) && stat.st_mtime < abandoned {
            let _ = unlinkat(folder, name, AtFlags::empty());
        }
    }
    if usage.is_within(limits) {
        return Ok(usage);
    }
    kept.retain(|file| file.name.to_bytes() != but.as_bytes());
    kept.sort_by_key(|file| file.used);
    for file in kept {
        if usage.is_within(limits.after_pruning()) {
            break;
        }
        if unlinkat(folder, &file.name, AtFlags::empty()).is_ok() {
            usage.bytes = usage.bytes.saturating_sub(file.bytes);
            usage.files = usage.files.saturating_sub(1);
        }
    }
    Ok(usage)
}

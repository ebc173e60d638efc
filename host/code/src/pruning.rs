//! Pruning: what is removed from a cache in which there is too much.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, statat, unlinkat};

use crate::eviction::{Kept, Losses, losses};
use crate::folder::Folder;
use crate::key::CodeKey;
use crate::owners::Owners;
use crate::usage::{CacheLimits, Usage};

/// Begins the names of files that are being written.
const UNFINISHED: &str = "unfinished-";
/// After this time nobody writes such a file any more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A name for a file that is being written, which no other has.
pub(crate) fn unfinished_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{UNFINISHED}{}-{}-{number}", now.as_nanos(), std::process::id())
}

/// What pruning found and did.
pub(crate) struct Pruned {
    /// What is left besides what is needed.
    pub(crate) left: Usage,
    /// All code that was there.
    pub(crate) was_there: HashSet<CodeKey>,
    /// What owners have lost.
    pub(crate) taken: Vec<(CodeKey, Arc<str>)>,
}

/// Removes what is abandoned, and, if there is more than `limits` besides what is needed, what owners have beyond their parts, but never the
/// code `but`. `owners` are as they were when it began; what `is_needed` by then is asked once more before it goes.
pub(crate) fn prune(
    folder: &Folder,
    limits: CacheLimits,
    but: &CodeKey,
    owners: &Owners,
    is_needed: &dyn Fn(&CodeKey) -> bool,
) -> io::Result<Pruned> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let abandoned = i64::try_from(now.saturating_sub(ABANDONED).as_secs()).unwrap_or(0);
    let (mut was_there, mut left) = (HashSet::new(), Usage::default());
    let (mut keys, mut kept) = (Vec::new(), Vec::new());
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        // It may be gone: another daemon may use the same cache.
        let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if let Some(key) = CodeKey::of_name(name.to_bytes()) {
            was_there.insert(key);
            if owners.is_needed(&key) {
                continue;
            }
            let bytes = u64::try_from(stat.st_size).unwrap_or(0);
            let used = (stat.st_atime, i64::try_from(stat.st_atime_nsec).unwrap_or(0));
            left.add(bytes);
            keys.push(key);
            kept.push(Kept { bytes, used, owners: owners.of(&key).cloned().collect(), stays: key == *but });
        } else if name.to_bytes().starts_with(UNFINISHED.as_bytes()) && stat.st_mtime < abandoned {
            let _ = unlinkat(folder, name, AtFlags::empty());
        }
    }
    if left.is_within(limits) {
        return Ok(Pruned { left, was_there, taken: Vec::new() });
    }
    let Losses { taken, gone } = losses(&kept, limits.after_pruning());
    for place in gone {
        let key = &keys[place];
        if !is_needed(key) && unlinkat(folder, key.file_name(), AtFlags::empty()).is_ok() {
            left.subtract(kept[place].bytes);
        }
    }
    let taken = taken.into_iter().map(|(place, owner)| (keys[place], owner)).collect();
    Ok(Pruned { left, was_there, taken })
}

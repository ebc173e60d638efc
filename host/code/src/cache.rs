//! CodeCache: finds code by its key, and keeps code that comes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postern_text::panic::PastPanic;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fstat, futimens,
    openat, renameat, unlinkat,
};

use crate::error::CacheError;
use crate::folder::{Folder, is_trusted};
use crate::key::CodeKey;
use crate::owners::Owners;
use crate::owners_file;
use crate::pruning::{Pruned, prune, unfinished_name};
use crate::trailer::{Trailer, checksum_of};
use crate::usage::{CacheLimits, Usage};

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;
/// How exactly is known when a file was used last: its inode is written no more often.
const USED_WITHIN: Duration = Duration::from_secs(3600);

/// A folder of compiled code. Several processes may use the same; which code is needed is known to those who have said so, and written down
/// for the others by whoever did that last.
#[derive(Debug)]
pub struct CodeCache {
    folder: Folder,
    limits: CacheLimits,
    state: Mutex<State>,
    /// Not held while the disk is waited for.
    owners: Mutex<Owners>,
    /// Whether this process has said what is needed.
    knows_needs: AtomicBool,
    /// Held while it is written down who wants what.
    writing: Mutex<()>,
}

/// Code that was found, or was just kept.
#[derive(Debug)]
pub struct Entry {
    /// The code, open for reading, and behind it the trailer of the cache.
    pub file: File,
    /// What it is, by whoever stored it.
    pub label: u8,
}

#[derive(Debug, Default)]
struct State {
    /// Files whose checksum was right: it is looked at once in the life of the process.
    checked: HashMap<CodeKey, Checked>,
    /// Besides what is needed; none if that must be looked for.
    usage: Option<Usage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Checked {
    identity: Identity,
    label: u8,
}

/// Which file it is; it changes if the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    written: (i64, i64),
}

impl CodeCache {
    /// The cache in this folder, which is made if it is not there. `readers` is the number of the group that may read in it, besides the
    /// owner: files get the mode 0640 and the folder 0750 then, else 0600 and 0700.
    ///
    /// # Errors
    /// If the folder cannot be opened, or others could write it.
    pub fn open(folder: &Path, readers: Option<u32>, limits: CacheLimits) -> Result<Self, CacheError> {
        let folder = Folder::open(folder, readers)?;
        let owners = Mutex::new(owners_file::read(&folder));
        let knows_needs = AtomicBool::new(false);
        Ok(Self { folder, limits, state: Mutex::default(), owners, knows_needs, writing: Mutex::default() })
    }

    /// The code of this key, which `owner` wants from now on: a name of one word, which outlives the process. None if there is none, or only
    /// what is damaged, cut, something else, or could be another user's; that is removed.
    pub fn find(&self, key: &CodeKey, owner: &str) -> Option<Entry> {
        let name = key.file_name();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.folder, &name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::LOOP) => {
                self.remove(key);
                return None;
            }
            Err(_) => return None,
        };
        let found = self.check(key, &file);
        if found.is_none() {
            self.remove(key);
        }
        let label = found?;
        self.note_wanted(key, owner);
        Some(Entry { file, label })
    }

    /// Keeps the first `length` bytes of a file as the code of this key, which `owner` wants from now on.
    ///
    /// If there is too much then, owners lose what they have beyond their parts. What came stays until something else comes, even if it is more
    /// than its owner's part.
    ///
    /// # Errors
    /// If it cannot be written: the cache is as it was then.
    pub fn store(
        &self,
        key: &CodeKey,
        owner: &str,
        label: u8,
        code: &File,
        length: u64,
    ) -> Result<Entry, CacheError> {
        let size = length.saturating_add(Trailer::SIZE as u64);
        if size > self.limits.bytes {
            let (folder, most) = (self.folder.path.clone(), self.limits.bytes);
            return Err(CacheError::TooLarge { folder, length, most });
        }
        let entry = self.write(key, label, code, length);
        let entry = entry.map_err(|error| CacheError::Write { folder: self.folder.path.clone(), error })?;
        self.note_wanted(key, owner);
        self.make_room(key, size);
        Ok(entry)
    }

    /// This code is needed from now on, each by an owner, and no other: it is not removed, and not counted. Nothing is read or written.
    pub fn need<'a>(&self, needed: impl IntoIterator<Item = (CodeKey, &'a str)>) {
        self.owners.lock().past_panic().need(needed);
        self.knows_needs.store(true, Ordering::Relaxed);
        // What is needed no more counts again.
        self.state.lock().past_panic().usage = None;
    }

    /// Writes down who wants which code, and what is needed, for the next process. If that cannot be done it finds all code all the same, and
    /// knows only less well what may go.
    pub fn write_owners(&self) {
        let _writing = self.writing.lock().past_panic();
        let text = self.owners.lock().past_panic().to_text();
        let _ = owners_file::write(&self.folder, &text);
    }

    /// Removes the code of this key, which turned out to be of no use.
    pub fn remove(&self, key: &CodeKey) {
        self.state.lock().past_panic().checked.remove(key);
        self.owners.lock().past_panic().forget(key);
        let _ = unlinkat(&self.folder, key.file_name(), AtFlags::empty());
    }

    /// The label of a file if it is what it should be.
    fn check(&self, key: &CodeKey, file: &File) -> Option<u8> {
        let stat = fstat(file).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || !is_trusted(&stat) {
            return None;
        }
        let identity = Identity::of(&stat);
        let known = self.state.lock().past_panic().checked.get(key).copied();
        let label = match known.filter(|known| known.identity == identity) {
            Some(known) => known.label,
            None => {
                let label = read_through(key, file, &stat)?;
                self.state.lock().past_panic().checked.insert(*key, Checked { identity, label });
                label
            }
        };
        note_use(file, &stat);
        Some(label)
    }

    fn write(&self, key: &CodeKey, label: u8, code: &File, length: u64) -> io::Result<Entry> {
        let unfinished = unfinished_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&self.folder, &unfinished, flags, Mode::RUSR | Mode::WUSR)?);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let written = copy(key, label, code, length, &file)
            .and_then(|()| Ok(self.folder.let_read(&file)?))
            // Under its own name another process might have removed it already.
            .and_then(|()| Ok(openat(&self.folder, &unfinished, flags, Mode::empty())?))
            .and_then(|entry| {
                renameat(&self.folder, &unfinished, &self.folder, key.file_name())?;
                Ok(File::from(entry))
            });
        if written.is_err() {
            let _ = unlinkat(&self.folder, &unfinished, AtFlags::empty());
        }
        let file = written?;
        let identity = Identity::of(&fstat(&file)?);
        self.state.lock().past_panic().checked.insert(*key, Checked { identity, label });
        Ok(Entry { file, label })
    }

    fn note_wanted(&self, key: &CodeKey, owner: &str) {
        let mut owners = self.owners.lock().past_panic();
        owners.want(key, owner);
        // Others may have stored and removed so much meanwhile.
        let (wanted, needed) = owners.counts();
        if wanted > needed + 4 * self.limits.files {
            owners.forget_wanted();
        }
    }

    /// Counts what came, and removes what may go if there is too much.
    fn make_room(&self, key: &CodeKey, size: u64) {
        let mut state = self.state.lock().past_panic();
        let counted = state.usage.map(|mut usage| {
            usage.add(size);
            usage
        });
        // As many as there can be files, and no more, whatever others remove.
        if state.checked.len() > self.limits.files {
            state.checked.clear();
        }
        state.usage = counted.filter(|usage| usage.is_within(self.limits));
        if state.usage.is_some() {
            return;
        }
        // Others may have stored and removed as well.
        drop(state);
        let usage = self.prune(key);
        self.state.lock().past_panic().usage = usage;
    }

    fn prune(&self, but: &CodeKey) -> Option<Usage> {
        let before = self.owners.lock().past_panic().clone();
        let is_needed = |key: &CodeKey| self.owners.lock().past_panic().is_needed(key);
        let pruned = prune(&self.folder, self.limits, but, &before, &is_needed).ok()?;
        let Pruned { left, was_there, taken } = pruned;
        {
            let mut owners = self.owners.lock().past_panic();
            before.known().filter(|key| !was_there.contains(key)).for_each(|key| owners.forget(key));
            taken.iter().for_each(|(key, owner)| owners.take_from(key, owner));
        }
        // Who does not know what is needed leaves that to those who do.
        if !taken.is_empty() && self.knows_needs.load(Ordering::Relaxed) {
            self.write_owners();
        }
        Some(left)
    }
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            written: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        }
    }
}

/// Reads a file to its end; its label if the checksum is right.
fn read_through(key: &CodeKey, file: &File, stat: &Stat) -> Option<u8> {
    let size = u64::try_from(stat.st_size).ok()?;
    let length = size.checked_sub(Trailer::SIZE as u64)?;
    let mut trailer = [0; Trailer::SIZE];
    file.read_exact_at(&mut trailer, length).ok()?;
    let trailer = Trailer::of_bytes(trailer).filter(|trailer| trailer.length == length)?;
    let mut checksum = checksum_of(key, trailer.label);
    for_each_chunk(file, length, |chunk| {
        checksum.update(chunk);
        Ok(())
    })
    .ok()?;
    (checksum.finalize() == trailer.checksum).then_some(trailer.label)
}

fn copy(key: &CodeKey, label: u8, code: &File, length: u64, mut into: &File) -> io::Result<()> {
    let mut checksum = checksum_of(key, label);
    for_each_chunk(code, length, |chunk| {
        checksum.update(chunk);
        into.write_all(chunk)
    })?;
    into.write_all(&Trailer { length, label, checksum: checksum.finalize() }.to_bytes())
}

fn for_each_chunk(file: &File, length: u64, mut with: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        let left = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
        file.read_exact_at(&mut buffer[..left], at)?;
        with(&buffer[..left])?;
        at += left as u64;
    }
    Ok(())
}

/// Notes, in the file's time of access, that it is used now. Whoever may not do that only reads here.
fn note_use(file: &File, stat: &Stat) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let noted = i64::try_from(now.saturating_sub(USED_WITHIN).as_secs()).unwrap_or(0);
    if stat.st_atime < noted {
        let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
        let times = Timestamps { last_access: at(UTIME_NOW), last_modification: at(UTIME_OMIT) };
        let _ = futimens(file, &times);
    }
}

#[cfg(test)]
mod tests;

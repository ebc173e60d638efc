//! Ahead: files of tenants that were read together with their rules, until they are asked for.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use postern_config::{FileBeside, TenantFolder, Unread};
use postern_text::panic::PastPanic;

use super::reader_messages::CopiedTo;
use super::reader_process::{ModuleCopy, SealedCopies, nonsense};

/// Most bytes of one folder, and of all folders of a preparation. What is beyond that is read when it is asked for.
const MOST_OF_FOLDER: u64 = 16 << 20;
const MOST_OF_ALL: u64 = 128 << 20;
/// Which part of what is left a folder gets, so that many can be read at once.
const PART: u64 = 8;

/// The files of one preparation; another handle is the same files.
#[derive(Clone, Debug, Default)]
pub(super) struct Ahead(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Bytes that are kept, or may come.
    bytes: u64,
    folders: HashMap<PathBuf, AheadFolder>,
}

#[derive(Debug)]
struct AheadFolder {
    inode: (u64, u64),
    /// As long as something of it is to be asked for.
    copies: Arc<SealedCopies>,
    bytes: u64,
    /// Each of which at most so many bytes were asked for.
    files: HashMap<OsString, (u64, Result<CopiedTo, Unread>)>,
}

/// Room for so many bytes of a folder, until this is dropped or used.
#[derive(Debug)]
pub(super) struct Room {
    ahead: Ahead,
    pub(super) bytes: u64,
}

impl Ahead {
    /// Takes room for a folder, perhaps for nothing.
    pub(super) fn room(&self) -> Room {
        let mut state = self.lock();
        let bytes = MOST_OF_FOLDER.min(MOST_OF_ALL.saturating_sub(state.bytes) / PART);
        state.bytes += bytes;
        Room { ahead: self.clone(), bytes }
    }

    /// What a file of this name said when its folder's rules were read, if so many bytes of it were asked for then; once.
    pub(super) fn take(
        &self,
        folder: &TenantFolder,
        name: &OsStr,
        most: u64,
    ) -> Option<Result<Vec<u8>, Unread>> {
        let (copies, copied) = {
            let mut state = self.lock();
            let known = state.folders.get_mut(&folder.path).filter(|known| known.inode == folder.inode)?;
            let (_, copied) = known.files.remove(name).filter(|(asked, _)| *asked == most)?;
            let copies = Arc::clone(&known.copies);
            if known.files.is_empty() {
                state.forget(&folder.path);
            }
            (copies, copied)
        };
        Some(copied.and_then(|copied| copies.bytes(copied)))
    }

    /// Nothing more will be asked for.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        let folders: Vec<_> = state.folders.keys().cloned().collect();
        folders.iter().for_each(|folder| state.forget(folder));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().past_panic()
    }
}

impl State {
    fn forget(&mut self, path: &PathBuf) {
        self.bytes -= self.folders.remove(path).map_or(0, |folder| folder.bytes);
    }
}

impl Room {
    /// Keeps what was copied of these files of a folder, instead of what was kept of it before.
    ///
    /// # Errors
    /// If that is not where it was said to be.
    pub(super) fn keep(
        self,
        folder: &TenantFolder,
        copy: ModuleCopy,
        files: &[FileBeside],
        copied: Vec<Option<Result<CopiedTo, Unread>>>,
    ) -> Result<(), Unread> {
        let (copies, bytes) = copy.closed()?;
        let is_within = |CopiedTo { offset, length }: &CopiedTo| {
            offset.checked_add(*length).is_some_and(|end| end <= bytes)
        };
        if !copied.iter().flatten().flatten().all(is_within) {
            return Err(nonsense());
        }
        let named = files.iter().zip(copied);
        let files: HashMap<_, _> =
            named.filter_map(|(file, copied)| Some((file.name.clone(), (file.most, copied?)))).collect();
        let mut state = self.ahead.lock();
        state.forget(&folder.path);
        if !files.is_empty() {
            // A little more than it has room for, if the one that wrote it was taken over.
            state.bytes += bytes;
            let kept = AheadFolder { inode: folder.inode, copies: Arc::new(copies), bytes, files };
            state.folders.insert(folder.path.clone(), kept);
        }
        drop(state);
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.ahead.lock().bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use postern_config::{TenantUser, Trust};
    use rustix::process::geteuid;
    use tempfile::TempDir;

    use super::*;

    fn folder(dir: &TempDir) -> TenantFolder {
        let user = TenantUser::new("own", geteuid().as_raw(), 0);
        TenantFolder::open(dir.path(), &user, Trust::Anybody).unwrap()
    }

    fn keep(
        ahead: &Ahead,
        folder: &TenantFolder,
        bytes: &[u8],
        copied: Vec<Option<Result<CopiedTo, Unread>>>,
    ) -> Result<(), Unread> {
        let room = ahead.room();
        let copy = ModuleCopy::new().unwrap();
        File::from(std::os::fd::AsFd::as_fd(&copy).try_clone_to_owned().unwrap()).write_all(bytes).unwrap();
        let files: Vec<_> = ["a", "b", "c"].map(|name| FileBeside { name: name.into(), most: 9 }).into();
        room.keep(folder, copy, &files, copied)
    }

    #[test]
    fn each_file_is_had_once_as_it_was_asked_for_and_then_its_room_is_free() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (ahead, dir, other) = (Ahead::default(), folder(&dir), folder(&other));
        let at = |offset, length| Some(Ok(CopiedTo { offset, length }));
        let refused = Unread::new("is odd", "make it even");
        keep(&ahead, &dir, b"firstsecond", vec![at(0, 5), None, Some(Err(refused.clone()))]).unwrap();
        keep(&ahead, &dir, b"firstsecond", vec![at(0, 5), at(5, 6), Some(Err(refused.clone()))]).unwrap();
        assert_eq!(ahead.lock().bytes, 11);
        let take = |folder, name: &str, most| ahead.take(folder, OsStr::new(name), most);
        assert_eq!((take(&other, "a", 9), take(&dir, "d", 9)), (None, None));
        assert_eq!(take(&dir, "a", 9), Some(Ok(b"first".to_vec())));
        assert_eq!(take(&dir, "a", 9), None);
        assert_eq!(take(&dir, "c", 9), Some(Err(refused)));
        // Another folder of that name now, and another bound.
        let another = TenantFolder { inode: (0, 0), ..folder_of(&dir) };
        assert_eq!(take(&another, "b", 9), None);
        assert_eq!(take(&dir, "b", 9), Some(Ok(b"second".to_vec())));
        assert!(ahead.lock().folders.is_empty());
        assert_eq!(ahead.lock().bytes, 0);
        keep(&ahead, &dir, b"first", vec![at(0, 5), None, None]).unwrap();
        assert_eq!(take(&dir, "a", 8), None, "of more bytes were asked for");
        keep(&ahead, &dir, b"first", vec![at(0, 5), None, None]).unwrap();
        ahead.clear();
        assert_eq!(ahead.lock().bytes, 0);
        assert_eq!(take(&dir, "a", 9), None);
    }

    fn folder_of(folder: &TenantFolder) -> TenantFolder {
        TenantFolder::open(&folder.path, &folder.user, folder.trust).unwrap()
    }

    #[test]
    fn what_is_not_there_is_nonsense() {
        let dir = tempfile::tempdir().unwrap();
        let (ahead, dir) = (Ahead::default(), folder(&dir));
        for (offset, length) in [(0, 6), (5, 1), (u64::MAX, 2), (2, u64::MAX)] {
            let copied = vec![Some(Ok(CopiedTo { offset, length })), None, None];
            assert_eq!(keep(&ahead, &dir, b"bytes", copied), Err(nonsense()));
        }
        assert_eq!(ahead.lock().bytes, 0);
    }

    #[test]
    fn there_is_room_for_many_at_once_and_never_for_too_much() {
        let ahead = Ahead::default();
        let rooms: Vec<_> = (0..1000).map(|_| ahead.room()).collect();
        assert_eq!(rooms[0].bytes, MOST_OF_FOLDER);
        assert!(rooms[15].bytes > 1 << 20, "{}", rooms[15].bytes);
        assert!(rooms.iter().map(|room| room.bytes).sum::<u64>() <= MOST_OF_ALL);
        drop(rooms);
        assert_eq!(ahead.lock().bytes, 0);
    }
}

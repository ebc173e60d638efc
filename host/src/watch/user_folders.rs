//! UserFolders: notices changes in the folders of tenants that have users of their own, of which this process opens and looks at nothing.
//!
//! Each folder has an inotify descriptor here, and a process of its user that reads it has it watch the folder, before it reads: with that
//! user's rights, so that a disk that hangs holds up that process alone.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use postern_config::is_rule_file;
use postern_text::panic::PastPanic;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::{Errno, write};

use super::Noticed;

/// What a process of the user has the descriptor watch its folder for.
pub(crate) const WATCHED: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// The number of the descriptor that ends the thread; folders have others.
const END: u64 = 0;
/// Bytes that are read at once; one event takes at most 272.
const BUFFER: usize = 16 << 10;

/// The folders, and the thread that hears of them. It ends when this is dropped.
pub(crate) struct UserFolders {
    shared: Arc<SharedFolders>,
    end: OwnedFd,
}

struct SharedFolders {
    epoll: OwnedFd,
    folders: Mutex<Folders>,
    noticed: Arc<Noticed>,
}

#[derive(Default)]
struct Folders {
    last: u64,
    known: HashMap<u64, Folder>,
}

struct Folder {
    path: PathBuf,
    inode: (u64, u64),
    inotify: Arc<OwnedFd>,
    /// The files that matter beside rule files; none if that is not known yet, and all may.
    modules: Option<HashSet<OsString>>,
}

impl UserFolders {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// If there are too many open files, or there can be no thread.
    pub(crate) fn start(noticed: Arc<Noticed>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let end = eventfd(0, EventfdFlags::CLOEXEC)?;
        epoll::add(&epoll, &end, EventData::new_u64(END), EventFlags::IN)?;
        let shared = Arc::new(SharedFolders { epoll, folders: Mutex::default(), noticed });
        let hears = Arc::clone(&shared);
        thread::Builder::new().name("user-folders".to_owned()).spawn(move || hears.hear())?;
        Ok(Self { shared, end })
    }

    /// The descriptor that is to watch this folder: another one for another folder of that name.
    ///
    /// # Errors
    /// If there are too many of them: `fs.inotify.max_user_instances`.
    pub(crate) fn descriptor(&self, path: &Path, inode: (u64, u64)) -> io::Result<Arc<OwnedFd>> {
        let mut folders = self.shared.lock();
        let known = folders.known.values().find(|folder| folder.path == path && folder.inode == inode);
        if let Some(folder) = known {
            return Ok(Arc::clone(&folder.inotify));
        }
        folders.known.retain(|_, folder| folder.path != path);
        self.shared.noticed.forget_folder(path);
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let inotify = Arc::new(inotify::init(flags)?);
        folders.last += 1;
        let number = folders.last;
        epoll::add(&self.shared.epoll, &inotify, EventData::new_u64(number), EventFlags::IN)?;
        let folder = Folder { path: path.to_owned(), inode, inotify: Arc::clone(&inotify), modules: None };
        folders.known.insert(number, folder);
        Ok(inotify)
    }

    /// Watches these folders and no others, in which these modules matter.
    pub(crate) fn keep_only(&self, modules: &HashMap<PathBuf, HashSet<OsString>>) {
        self.shared.lock().known.retain(|_, folder| {
            folder.modules = modules.get(&folder.path).cloned();
            folder.modules.is_some()
        });
    }
}

impl Drop for UserFolders {
    fn drop(&mut self) {
        let _ = write(&self.end, &1_u64.to_ne_bytes());
    }
}

impl SharedFolders {
    fn lock(&self) -> MutexGuard<'_, Folders> {
        self.folders.lock().past_panic()
    }

    fn hear(&self) {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        loop {
            // One at a time, so that none is kept waiting by another's noise.
            let mut ready = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(END) }];
            match epoll::wait(&self.epoll, &mut ready[..], None) {
                Err(Errno::INTR) => continue,
                Ok(1..) => {}
                _ => return,
            }
            let number = ready[0].data.u64();
            if number == END {
                return;
            }
            let inotify = self.lock().known.get(&number).map(|folder| Arc::clone(&folder.inotify));
            let Some(inotify) = inotify else { continue };
            let mut events = inotify::Reader::new(&*inotify, &mut buffer);
            loop {
                match events.next() {
                    Ok(event) => {
                        let name =
                            event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                        self.note(number, event.events(), name.as_deref());
                    }
                    Err(Errno::INTR) => continue,
                    Err(_) => break,
                }
                if events.is_buffer_empty() {
                    break;
                }
            }
        }
    }

    /// Something happened to a file in a folder, or to the folder itself.
    fn note(&self, number: u64, what: ReadFlags, name: Option<&OsStr>) {
        let Some(path) = self.lock().known.get(&number).and_then(|folder| folder.of_interest(name)) else {
            return;
        };
        if what.intersects(ReadFlags::QUEUE_OVERFLOW) {
            self.noticed.note_loss();
        } else if what == ReadFlags::MODIFY {
            self.noticed.note_writing([path]);
        } else if !what.intersects(ReadFlags::IGNORED) {
            self.noticed.note_change(&[path]);
        }
    }
}

impl Folder {
    /// What this is the name of, if it matters.
    fn of_interest(&self, name: Option<&OsStr>) -> Option<PathBuf> {
        let Some(name) = name else { return Some(self.path.clone()) };
        let is_module = self.modules.as_ref().is_none_or(|modules| modules.contains(name));
        (is_rule_file(name) || is_module).then(|| self.path.join(name))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    /// Long enough to call it silence.
    const A_WHILE: Duration = Duration::from_millis(200);

    /// A folder that is watched as a process of its user would have it.
    fn watched() -> (tempfile::TempDir, UserFolders, Arc<Noticed>) {
        let dir = tempfile::tempdir().unwrap();
        let noticed = Arc::new(Noticed::default());
        let folders = UserFolders::start(Arc::clone(&noticed)).unwrap();
        let inotify = folders.descriptor(dir.path(), (1, 1)).unwrap();
        inotify::add_watch(&*inotify, dir.path(), WATCHED).unwrap();
        (dir, folders, noticed)
    }

    fn modules(dir: &Path, names: &[&str]) -> HashMap<PathBuf, HashSet<OsString>> {
        [(dir.to_owned(), names.iter().map(OsString::from).collect())].into()
    }

    #[tokio::test]
    async fn what_matters_is_noticed_and_nothing_else() {
        let (dir, folders, noticed) = watched();
        let change = async |name: &str| {
            fs::write(dir.path().join(name), "text").unwrap();
            timeout(A_WHILE, noticed.changed.notified()).await.is_ok()
        };
        // Before it is known which modules there are, any may be one.
        assert!(change("x.wasm").await && change("a.toml").await);
        folders.keep_only(&modules(dir.path(), &["x.wasm"]));
        assert!(change("x.wasm").await && change("a.toml").await);
        while timeout(A_WHILE, noticed.changed.notified()).await.is_ok() {}
        for name in ["y.wasm", ".a.toml", "a.toml.swp", "toml"] {
            assert!(!change(name).await, "{name}");
        }
        fs::rename(dir.path().join("y.wasm"), dir.path().join("b.toml")).unwrap();
        timeout(SOON, noticed.changed.notified()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_is_waited_for() {
        let (dir, _folders, noticed) = watched();
        let mut file = File::create(dir.path().join("a.toml")).unwrap();
        timeout(SOON, noticed.changed.notified()).await.unwrap();
        file.write_all(b"half").unwrap();
        timeout(SOON, noticed.written.notified()).await.unwrap();
        assert!(noticed.is_being_written());
        drop(file);
        timeout(SOON, noticed.changed.notified()).await.unwrap();
        assert!(!noticed.is_being_written());
    }

    #[test]
    fn another_folder_of_the_name_has_another_descriptor_and_one_that_is_not_named_has_none() {
        let (dir, folders, _) = watched();
        let descriptor = |inode| folders.descriptor(dir.path(), inode).unwrap();
        let first = descriptor((1, 1));
        assert!(Arc::ptr_eq(&first, &descriptor((1, 1))));
        let second = descriptor((1, 2));
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(folders.shared.lock().known.len(), 1);
        folders.keep_only(&modules(dir.path(), &[]));
        assert!(Arc::ptr_eq(&second, &descriptor((1, 2))));
        folders.keep_only(&HashMap::new());
        assert_eq!((folders.shared.lock().known.len(), Arc::strong_count(&second)), (0, 1));
    }
}

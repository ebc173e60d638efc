//! UserFolders: notices changes in the folders of tenants that have users of their own, of which this process opens and looks at nothing.
//!
//! Each folder has an inotify descriptor here, and a process of its user that reads it has it watch the folder, before it reads: with that
//! user's rights, so that a disk that hangs holds up that process alone. After something has happened in a folder it is left alone for a while,
//! so that a user who makes noise without end costs next to nothing: what happens meanwhile waits in the kernel, which has a bound for it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use postern_text::panic::PastPanic;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fs::inotify::{self, WatchFlags};
use rustix::io::{Errno, write};

use super::Noticed;
use super::folder_events::FolderEvents;
use crate::pace::Pace;

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
/// How long a folder is left alone after something has happened there: shorter than the quiet that a reload waits for.
const PAUSE: Duration = Duration::from_millis(50);
/// How often something may be noticed there, and how often after a silence before that counts. Each time is a reason for a reload.
const NOTICED: Pace = Pace::one_each(Duration::from_secs(2), 20);

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
    known: HashMap<u64, UserFolder>,
}

struct UserFolder {
    path: PathBuf,
    inode: (u64, u64),
    inotify: Arc<OwnedFd>,
    /// The files that matter beside rule files; none if that is not known yet, and all may.
    modules: Option<HashSet<OsString>>,
    pace: Pace,
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
        epoll::add(&self.shared.epoll, &inotify, EventData::new_u64(number), ONCE)?;
        let folder = UserFolder {
            path: path.to_owned(),
            inode,
            inotify: Arc::clone(&inotify),
            modules: None,
            pace: NOTICED,
        };
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

/// A folder is listened to until something happens there, and then not before it is asked for again.
const ONCE: EventFlags = EventFlags::IN.union(EventFlags::ONESHOT);

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
        // The folders that are left alone, and until when.
        let mut left_alone = BTreeSet::<(Instant, u64)>::new();
        loop {
            let now = Instant::now();
            while let Some((until, number)) = left_alone.first().copied()
                && until <= now
            {
                left_alone.pop_first();
                self.listen_again(number);
            }
            let left = left_alone.first().map(|(until, _)| until.saturating_duration_since(now));
            let timeout = left.map(|left| Timespec {
                // A second at most.
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(1),
                tv_nsec: left.subsec_nanos().into(),
            });
            // One at a time, so that none is kept waiting by another's noise.
            let mut ready = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(END) }];
            match epoll::wait(&self.epoll, &mut ready[..], timeout.as_ref()) {
                Err(Errno::INTR) | Ok(0) => continue,
                Ok(_) => {}
                Err(_) => return,
            }
            let number = ready[0].data.u64();
            if number == END {
                return;
            }
            if let Some(pause) = self.look(number, &mut buffer) {
                left_alone.insert((Instant::now() + pause, number));
            }
        }
    }

    /// Takes what has happened in a folder; how long it is left alone from now on.
    fn look(&self, number: u64, buffer: &mut [MaybeUninit<u8>]) -> Option<Duration> {
        let mut folders = self.lock();
        let folder = folders.known.get_mut(&number)?;
        let events = FolderEvents::take(&folder.inotify, buffer, folder.modules.as_ref());
        self.noticed.note_in_folder(&folder.path, events);
        Some(folder.pace.take(1, Instant::now()).max(PAUSE))
    }

    fn listen_again(&self, number: u64) {
        // It may not be watched any more.
        if let Some(folder) = self.lock().known.get(&number) {
            // The same call with the same descriptors has been done before.
            let _ = epoll::modify(&self.epoll, &*folder.inotify, EventData::new_u64(number), ONCE);
        }
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
        assert!(noticed.patience().is_some() && !noticed.is_host_being_written());
        drop(file);
        timeout(SOON, noticed.changed.notified()).await.unwrap();
        assert!(noticed.patience().is_none());
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

    #[tokio::test]
    async fn a_storm_is_noticed_now_and_then_and_the_last_of_it_too() {
        let (dir, _folders, noticed) = watched();
        let (one, other) = (dir.path().join("a.toml"), dir.path().join("b.toml"));
        fs::write(&one, "text").unwrap();
        let (begin, storm) = (Instant::now(), Duration::from_secs(3));
        let renames = tokio::task::spawn_blocking(move || {
            let mut renames = 0;
            while begin.elapsed() < storm {
                fs::rename(&one, &other).unwrap();
                fs::rename(&other, &one).unwrap();
                renames += 2;
            }
            renames
        });
        let mut noticed_in_all = 0;
        // It is looked at every two seconds then.
        while timeout(Duration::from_millis(2500), noticed.changed.notified()).await.is_ok() {
            noticed_in_all += 1;
        }
        assert!(renames.await.unwrap() > 1000);
        let most = 20 + begin.elapsed().as_secs() / 2 + 1;
        assert!((1..=most).contains(&noticed_in_all), "{noticed_in_all} of {most}");
        fs::write(dir.path().join("c.toml"), "text").unwrap();
        timeout(SOON, noticed.changed.notified()).await.unwrap();
    }
}

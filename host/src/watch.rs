//! FileWatch: notices that a file changed from which the configuration was read.

mod folder_events;
mod noticed;
mod trail;
mod user_folders;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use postern_config::{Activity, Config, ConfigReading, OpenError};
use postern_core::{Observer, Report, What};
use postern_text::panic::PastPanic;
use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};

use crate::pace::Pace;
pub(crate) use noticed::Noticed;
use trail::Trails;
pub(crate) use user_folders::{UserFolders, WATCHED};

/// How fast events are taken: the same change of the same folder without end, which a tenant can have of its own, is one in the kernel until it is
/// taken.
const HEARD: Pace = Pace::per_second(5000, 5000);

/// Watches folders rather than files, since editors replace a file by a new one.
pub(crate) struct FileWatch {
    watched: Mutex<WatchedFolders>,
    of_interest: Arc<Mutex<OfInterest>>,
    noticed: Arc<Noticed>,
}

struct WatchedFolders {
    watcher: RecommendedWatcher,
    observer: Arc<dyn Observer>,
    /// Each folder, and which one it was; none if it cannot be watched.
    dirs: HashMap<PathBuf, Option<Identity>>,
    /// Of the configuration that was followed last.
    paths: Paths,
}

/// What a configuration was read from, as it names it.
#[derive(Clone, Debug, Default)]
struct Paths {
    /// The folders of rules, one for each tenant.
    rules_dirs: Vec<PathBuf>,
    files: Vec<PathBuf>,
    /// Of tenants with users of their own: only the way there is watched here, and what is in them by [`UserFolders`].
    user_dirs: Vec<PathBuf>,
}

impl Paths {
    fn of(config: &Config, reading: &ConfigReading) -> Self {
        let mut paths = Self::default();
        paths.rules_dirs.push(config.rules_dir.clone());
        for tenant in &config.tenants {
            let dir = tenant.rules_dir.clone();
            if tenant.user.is_none() {
                paths.rules_dirs.push(dir);
            } else if !matches!(config.trust.open_others_folder(&dir), Err(OpenError::Distrust(_))) {
                paths.user_dirs.push(dir);
            }
            // Else the way to it may be its user's, who could have it lead anywhere.
        }
        let is_of_user = |file: &Path| {
            let is_in = |dir: &Path| config.tenants.iter().any(|of| of.user.is_some() && of.rules_dir == dir);
            file.parent().is_some_and(is_in)
        };
        for rule in &config.rules {
            if config.tenant(&rule.id.tenant).is_none_or(|tenant| tenant.user.is_none()) {
                paths.files.extend(config.module_files(rule));
            }
        }
        paths.files.extend(reading.files.iter().filter(|file| !is_of_user(file)).cloned());
        paths
    }
}

/// Which folder it is: another of the same name is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    /// The numbers of one that was removed may be another's.
    created: Option<(i64, u32)>,
}

/// Which files in the watched folders matter.
#[derive(Debug, Default)]
struct OfInterest {
    /// Files, and folders and links on the way to them.
    names: HashSet<PathBuf>,
    /// The folders of rules.
    rules_dirs: HashSet<PathBuf>,
}

impl FileWatch {
    /// Watches nothing yet; `noticed` is notified of what it will find. That nothing can be watched is reported.
    pub(crate) fn start(noticed: &Arc<Noticed>, observer: Arc<dyn Observer>) -> Option<Self> {
        let of_interest = Arc::new(Mutex::new(OfInterest::default()));
        let watcher = notify::recommended_watcher({
            let (of_interest, noticed) = (Arc::clone(&of_interest), Arc::clone(noticed));
            let mut pace = HEARD;
            move |event: notify::Result<Event>| {
                thread::sleep(pace.take(1, Instant::now()));
                // If events were lost, anything may have changed.
                let is_lost = event.as_ref().map_or(true, Event::need_rescan);
                if is_lost {
                    return noticed.note_loss();
                }
                let Ok(event) = event else { return };
                let of_interest = lock(&of_interest);
                if !event.paths.iter().any(|path| of_interest.includes(path)) {
                    return;
                }
                if is_change(&event.kind) {
                    noticed.note_change(&event.paths);
                } else if is_writing(&event.kind) {
                    noticed.note_writing(event.paths);
                }
            }
        });
        match watcher {
            Ok(watcher) => {
                let watched =
                    WatchedFolders { watcher, observer, dirs: HashMap::new(), paths: Paths::default() };
                Some(Self { watched: Mutex::new(watched), of_interest, noticed: Arc::clone(noticed) })
            }
            Err(error) => {
                let error = error.to_string().into();
                observer.report(&Report::new(What::NotWatched { folder: None, error }));
                None
            }
        }
    }

    /// Watches, besides what is watched, the file and the folders of rules that are about to be read, as far as they are known before: reading
    /// may hang, and then the operator may take away what hangs.
    pub(crate) fn precede(&self, file: &Path, activity: &Activity) {
        let mut rules_dirs = lock(&self.watched).paths.rules_dirs.clone();
        if rules_dirs.is_empty() {
            rules_dirs.push(file.with_file_name("rules"));
        }
        let mut trails = Trails::default();
        let mut follow = |path: &Path| activity.read(path, || Ok(trails.follow(path))).ok().flatten();
        follow(file);
        let rules_dirs: HashSet<_> = rules_dirs.iter().filter_map(|dir| follow(dir)).collect();
        let Trails { names, mut dirs, .. } = trails;
        dirs.extend(rules_dirs.iter().cloned());
        let dirs = identified(dirs);
        {
            let mut of_interest = lock(&self.of_interest);
            of_interest.names.extend(names);
            of_interest.rules_dirs.extend(rules_dirs);
        }
        lock(&self.watched).add(dirs, &self.noticed);
    }

    /// Watches what a configuration was read from: its folders, and every folder and link on the way to them that may be replaced. If its
    /// file could not be parsed, what it named before is watched. True if something is watched now that was not before: it may
    /// have changed in between. A folder that cannot be watched is reported.
    pub(crate) fn follow(&self, file: &Path, reading: &ConfigReading, activity: &Activity) -> bool {
        let paths = match &reading.config {
            Some(config) => {
                let of = || Ok(Paths::of(config, reading));
                activity.read(file, of).unwrap_or_else(|_| lock(&self.watched).paths.clone())
            }
            None => lock(&self.watched).paths.clone(),
        };
        // Outside the lock: a disk may hang.
        let mut trails = Trails::default();
        let mut follow = |path: &Path| activity.read(path, || Ok(trails.follow(path))).ok().flatten();
        follow(file);
        let rules_dirs: HashSet<_> = paths.rules_dirs.iter().filter_map(|dir| follow(dir)).collect();
        for path in &paths.files {
            follow(path);
        }
        for dir in &paths.user_dirs {
            follow(dir);
        }
        let Trails { names, mut dirs, .. } = trails;
        dirs.extend(rules_dirs.iter().cloned());
        let dirs = identified(dirs);
        if activity.is_overtaken() {
            // A newer configuration is watched already.
            return false;
        }
        *lock(&self.of_interest) = OfInterest { names, rules_dirs };
        let mut watched = lock(&self.watched);
        watched.paths = paths;
        watched.keep_only(&dirs);
        watched.add(dirs, &self.noticed)
    }
}

impl WatchedFolders {
    /// Watches no other folders any more.
    fn keep_only(&mut self, dirs: &[(PathBuf, Option<Identity>)]) {
        let kept: HashSet<&PathBuf> = dirs.iter().map(|(dir, _)| dir).collect();
        let Self { watcher, dirs, .. } = self;
        dirs.retain(|dir, _| {
            let is_kept = kept.contains(dir);
            if !is_kept {
                // Gone already, if this fails.
                let _ = watcher.unwatch(dir);
            }
            is_kept
        });
    }

    /// Watches these as well; whether any of them is new.
    fn add(&mut self, dirs: Vec<(PathBuf, Option<Identity>)>, noticed: &Noticed) -> bool {
        let mut is_any_new = false;
        for (dir, identity) in dirs {
            let known = self.dirs.insert(dir.clone(), identity);
            let is_same = known == Some(identity);
            if known.is_some() && !is_same {
                // What had the name before. Gone already, if this fails.
                let _ = self.watcher.unwatch(&dir);
                noticed.forget_folder(&dir);
            }
            // Again even if it is the same: it costs nothing.
            if let Err(error) = self.watcher.watch(&dir, RecursiveMode::NonRecursive) {
                let (folder, error) = (Some(dir.into()), error.to_string().into());
                self.observer.report(&Report::new(What::NotWatched { folder, error }));
            }
            is_any_new |= !is_same;
        }
        is_any_new
    }
}

fn identified(dirs: HashSet<PathBuf>) -> Vec<(PathBuf, Option<Identity>)> {
    dirs.into_iter().map(|dir| (dir.clone(), Identity::of(&dir))).collect()
}

impl Identity {
    /// Without asking a disk that may hang: none of this changes.
    fn of(dir: &Path) -> Option<Self> {
        let stat = statx(CWD, dir, AtFlags::STATX_DONT_SYNC, StatxFlags::INO | StatxFlags::BTIME).ok()?;
        let created = (stat.stx_mask & StatxFlags::BTIME.bits() != 0).then_some(stat.stx_btime);
        Some(Self {
            device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            created: created.map(|at| (at.tv_sec, at.tv_nsec)),
        })
    }
}

impl OfInterest {
    fn includes(&self, path: &Path) -> bool {
        let is_rule = || {
            let name = path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
            let is_in = path.parent().is_some_and(|parent| self.rules_dirs.contains(parent));
            is_in && !name.starts_with(b".") && path.extension().is_some_and(|e| e == "toml")
        };
        self.names.contains(path) || is_rule()
    }
}

/// The watched folders, also after a panic: they are consistent between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().past_panic()
}

/// Whether something is different now. Reading is an event too, and ours would never end; a file that is being written is
/// waited for until it is closed, since half of it may make sense and mean something else.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => *kind == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(kind) => !matches!(kind, ModifyKind::Data(_)),
        EventKind::Any | EventKind::Create(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

fn is_writing(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Modify(ModifyKind::Data(_)))
}

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
pub(crate) use noticed::{FileOwner, Noticed, OWNERS};
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
    /// The folder of the host's rules.
    host_dir: Option<PathBuf>,
    /// Rule files and modules of the host.
    host_files: Vec<PathBuf>,
    /// The folders of rules of the other tenants.
    tenant_dirs: Vec<PathBuf>,
    /// Rule files and modules that are in none of these or of the next.
    tenant_files: Vec<PathBuf>,
    /// Of tenants with users of their own: only the way there is watched here, and what is in them by [`UserFolders`].
    user_dirs: Vec<PathBuf>,
}

impl Paths {
    fn of(config: &Config, reading: &ConfigReading) -> Self {
        let mut paths = Self { host_dir: Some(config.rules_dir.clone()), ..Self::default() };
        for tenant in &config.tenants {
            let dir = tenant.rules_dir.clone();
            if tenant.user.is_none() {
                paths.tenant_dirs.push(dir);
            } else if !matches!(config.trust.open_others_folder(&dir), Err(OpenError::Distrust(_))) {
                paths.user_dirs.push(dir);
            }
            // Else the way to it may be its user's, who could have it lead anywhere.
        }
        let is_in = |file: &Path, dir: &Path| file.parent().is_some_and(|parent| parent == dir);
        let is_of_user = |file: &Path| {
            config.tenants.iter().any(|tenant| tenant.user.is_some() && is_in(file, &tenant.rules_dir))
        };
        for rule in &config.rules {
            let files = match config.tenant(&rule.id.tenant) {
                None => &mut paths.host_files,
                Some(tenant) if tenant.user.is_none() => &mut paths.tenant_files,
                Some(_) => continue,
            };
            files.extend(config.module_files(rule));
        }
        for file in reading.files.iter().filter(|file| !is_of_user(file)) {
            let is_host = is_in(file, &config.rules_dir);
            let files = if is_host { &mut paths.host_files } else { &mut paths.tenant_files };
            files.push(file.clone());
        }
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
    /// Those of them that the host's files have been found under.
    host_names: HashSet<PathBuf>,
    /// The folders of rules.
    rules_dirs: HashSet<PathBuf>,
    /// The host's.
    host_dir: Option<PathBuf>,
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
                let owners = event.paths.iter().filter_map(|path| of_interest.owner(path));
                let Some(owner) = owners.min() else { return };
                if is_change(&event.kind) {
                    noticed.note_change(owner, &event.paths);
                } else if is_writing(&event.kind) {
                    noticed.note_writing(owner, event.paths);
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
        let Paths { host_dir, tenant_dirs, .. } = lock(&self.watched).paths.clone();
        let host_dir = host_dir.unwrap_or_else(|| file.with_file_name("rules"));
        let paths = Paths { host_dir: Some(host_dir), tenant_dirs, ..Paths::default() };
        let (found, dirs) = OfInterest::of(file, &paths, activity);
        lock(&self.of_interest).extend(found);
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
        let (of_interest, dirs) = OfInterest::of(file, &paths, activity);
        if activity.is_overtaken() {
            // A newer configuration is watched already.
            return false;
        }
        *lock(&self.of_interest) = of_interest;
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
    /// What is found at these paths, and the folders that are to be watched for it.
    fn of(file: &Path, paths: &Paths, activity: &Activity) -> (Self, Vec<(PathBuf, Option<Identity>)>) {
        let mut trails = Trails::default();
        let follow =
            |trails: &mut Trails, path: &Path| activity.read(path, || Ok(trails.follow(path))).ok().flatten();
        let Paths { host_dir, host_files, tenant_dirs, tenant_files, user_dirs } = paths;
        follow(&mut trails, file);
        let host_dir = host_dir.as_ref().and_then(|dir| follow(&mut trails, dir));
        for path in host_files {
            follow(&mut trails, path);
        }
        let host_names = trails.names.clone();
        let mut rules_dirs: HashSet<_> =
            tenant_dirs.iter().filter_map(|dir| follow(&mut trails, dir)).collect();
        rules_dirs.extend(host_dir.clone());
        for path in tenant_files.iter().chain(user_dirs) {
            follow(&mut trails, path);
        }
        let Trails { names, mut dirs, .. } = trails;
        dirs.extend(rules_dirs.iter().cloned());
        (Self { names, host_names, rules_dirs, host_dir }, identified(dirs))
    }

    /// These matter as well.
    fn extend(&mut self, Self { names, host_names, rules_dirs, host_dir }: Self) {
        self.names.extend(names);
        self.host_names.extend(host_names);
        self.rules_dirs.extend(rules_dirs);
        self.host_dir = host_dir.or_else(|| self.host_dir.take());
    }

    /// Whose the file at this path is, if it matters.
    fn owner(&self, path: &Path) -> Option<FileOwner> {
        let name = path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
        let is_rule = !name.starts_with(b".") && path.extension().is_some_and(|e| e == "toml");
        let dir = path.parent().filter(|parent| is_rule && self.rules_dirs.contains(*parent));
        if self.host_names.contains(path) || dir.is_some_and(|dir| self.host_dir.as_deref() == Some(dir)) {
            return Some(FileOwner::Host);
        }
        (dir.is_some() || self.names.contains(path)).then_some(FileOwner::Tenant)
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

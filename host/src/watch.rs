//! Watch: notices that a file changed from which the configuration was read.

mod trail;

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::activity::Activity;
use crate::config::Config;
use trail::Trails;

/// What is notified of files.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    /// One is different now.
    pub(crate) changed: Notify,
    /// Somebody writes to one and has not closed it.
    is_being_written: AtomicBool,
}

impl Noticed {
    /// Whether somebody wrote to a file and has not closed it.
    pub(crate) fn is_being_written(&self) -> bool {
        self.is_being_written.load(Ordering::Relaxed)
    }
}

/// Watches folders rather than files, since editors replace a file by a new one.
pub(crate) struct Watch {
    watched: Mutex<Watched>,
    of_interest: Arc<Mutex<OfInterest>>,
}

struct Watched {
    watcher: RecommendedWatcher,
    /// Each folder, and which one it was; none if it cannot be watched.
    dirs: HashMap<PathBuf, Option<Identity>>,
    /// Of the configuration that was followed last.
    paths: Paths,
}

/// What a configuration was read from, as it names it.
#[derive(Clone, Debug, Default)]
struct Paths {
    rules_dir: Option<PathBuf>,
    files: Vec<PathBuf>,
}

/// Which folder it is: another of the same name is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    /// The numbers of one that was removed may be another's.
    created: Option<SystemTime>,
}

/// Which files in the watched folders matter.
#[derive(Debug, Default)]
struct OfInterest {
    /// Files, and folders and links on the way to them.
    names: HashSet<PathBuf>,
    rules_dir: Option<PathBuf>,
}

impl Watch {
    /// Watches nothing yet; `noticed` is notified of what it will find. That nothing can be watched is told in the log.
    pub(crate) fn start(noticed: &Arc<Noticed>) -> Option<Self> {
        let of_interest = Arc::new(Mutex::new(OfInterest::default()));
        let mut unfinished: HashSet<PathBuf> = HashSet::new();
        let watcher = notify::recommended_watcher({
            let (of_interest, noticed) = (Arc::clone(&of_interest), Arc::clone(noticed));
            move |event: notify::Result<Event>| {
                // If events were lost, anything may have changed.
                let Ok(event) = event else { return noticed.changed.notify_one() };
                let of_interest = lock(&of_interest);
                if !event.need_rescan() && !event.paths.iter().any(|path| of_interest.includes(path)) {
                    return;
                }
                let changed = is_change(&event.kind);
                if changed {
                    unfinished.retain(|path| !event.paths.contains(path));
                } else if is_writing(&event.kind) {
                    unfinished.extend(event.paths);
                }
                noticed.is_being_written.store(!unfinished.is_empty(), Ordering::Relaxed);
                if changed {
                    noticed.changed.notify_one();
                }
            }
        });
        match watcher {
            Ok(watcher) => {
                let watched = Watched { watcher, dirs: HashMap::new(), paths: Paths::default() };
                Some(Self { watched: Mutex::new(watched), of_interest })
            }
            Err(error) => {
                tracing::warn!(event = "not-watched", detail = %error, "file changes will not be noticed ({error}); send SIGHUP instead");
                None
            }
        }
    }

    /// Watches what a configuration was read from: its folders, and whatever on the way to them may be replaced or turned around. If its
    /// file could not be understood, what it said before is watched. True if something is watched now that was not before: it may
    /// have changed in between. A folder that cannot be watched is told in the log.
    pub(crate) fn follow(&self, file: &Path, config: Option<&Config>, activity: &Activity) -> bool {
        let paths = match config {
            Some(config) => {
                let rules = config.rules.iter().map(|rule| rule.file.as_path());
                let files = config.module_files().chain(rules).map(Path::to_owned).collect();
                Paths { rules_dir: Some(config.rules_dir.clone()), files }
            }
            None => lock(&self.watched).paths.clone(),
        };
        // Outside the lock: a disk may hang.
        let mut trails = Trails::default();
        let mut follow = |path: &Path| activity.read(path, || Ok(trails.follow(path))).ok().flatten();
        follow(file);
        let rules_dir = paths.rules_dir.as_deref().and_then(&mut follow);
        for path in &paths.files {
            follow(path);
        }
        let Trails { names, mut dirs, .. } = trails;
        dirs.extend(rules_dir.clone());
        let dirs: Vec<_> = dirs.into_iter().map(|dir| (Identity::of(&dir), dir)).collect();
        if activity.is_overtaken() {
            // The newer one knows better.
            return false;
        }
        *lock(&self.of_interest) = OfInterest { names, rules_dir };
        let mut watched = lock(&self.watched);
        watched.paths = paths;
        watched.follow(dirs)
    }
}

impl Watched {
    fn follow(&mut self, dirs: Vec<(Option<Identity>, PathBuf)>) -> bool {
        let Self { watcher, dirs: before, .. } = self;
        let mut after = HashMap::with_capacity(dirs.len());
        let mut is_any_new = false;
        for (identity, dir) in dirs {
            let known = before.remove(&dir);
            let is_same = known == Some(identity);
            if known.is_some() && !is_same {
                // What had the name before. Gone already, if this fails.
                let _ = watcher.unwatch(&dir);
            }
            // Again even if it is the same: it costs nothing.
            if let Err(error) = watcher.watch(&dir, RecursiveMode::NonRecursive) {
                let shown = dir.display();
                tracing::warn!(event = "not-watched", detail = %error, "changes in {shown} will not be noticed ({error}); send SIGHUP instead");
            }
            is_any_new |= !is_same;
            after.insert(dir, identity);
        }
        for dir in before.keys() {
            let _ = watcher.unwatch(dir);
        }
        *before = after;
        is_any_new
    }
}

impl Identity {
    fn of(dir: &Path) -> Option<Self> {
        let metadata = dir.metadata().ok()?;
        Some(Self { device: metadata.dev(), inode: metadata.ino(), created: metadata.created().ok() })
    }
}

impl OfInterest {
    fn includes(&self, path: &Path) -> bool {
        let is_rule = || {
            let name = path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
            let is_in = path.parent().is_some_and(|parent| self.rules_dir.as_deref() == Some(parent));
            is_in && !name.starts_with(b".") && path.extension().is_some_and(|e| e == "toml")
        };
        self.names.contains(path) || is_rule()
    }
}

/// What a panic leaves behind is as good as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

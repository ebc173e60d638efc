//! Watch: notices that a file changed from which the configuration was read.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use tokio::sync::Notify;

use crate::config::Config;

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
    watcher: RecommendedWatcher,
    dirs: HashSet<PathBuf>,
    of_interest: Arc<Mutex<OfInterest>>,
}

/// Which files in the watched folders matter.
#[derive(Debug, Default)]
struct OfInterest {
    files: HashSet<PathBuf>,
    rules_dirs: HashSet<PathBuf>,
}

impl Watch {
    /// Watches nothing yet; `noticed` is notified of what it will find.
    pub(crate) fn start(noticed: Arc<Noticed>) -> notify::Result<Self> {
        let of_interest = Arc::new(Mutex::new(OfInterest::default()));
        let mut unfinished: HashSet<PathBuf> = HashSet::new();
        let watcher = notify::recommended_watcher({
            let of_interest = Arc::clone(&of_interest);
            move |event: notify::Result<Event>| {
                // If events were lost, anything may have changed.
                let Ok(event) = event else { return noticed.changed.notify_one() };
                let of_interest = of_interest.lock().unwrap_or_else(PoisonError::into_inner);
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
        })?;
        Ok(Self { watcher, dirs: HashSet::new(), of_interest })
    }

    /// Watches what this configuration was read from. A folder that cannot be watched is told in the log.
    pub(crate) fn follow(&mut self, file: &Path, config: &Config) {
        let mut files: HashSet<PathBuf> = HashSet::new();
        let sources = config.rules.iter().map(|rule| rule.file.as_path());
        for path in config.module_files().chain(sources).chain([file]) {
            files.extend(names(path));
        }
        let rules_dirs: HashSet<_> = names(&config.rules_dir).into_iter().collect();
        let mut dirs: HashSet<_> =
            files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
        dirs.extend(rules_dirs.iter().cloned());
        *self.of_interest.lock().unwrap_or_else(PoisonError::into_inner) = OfInterest { files, rules_dirs };
        for dir in self.dirs.difference(&dirs) {
            // Gone already, if this fails.
            let _ = self.watcher.unwatch(dir);
        }
        for dir in &dirs {
            // Again even if it was watched: it may be another folder of that name by now.
            if let Err(error) = self.watcher.watch(dir, RecursiveMode::NonRecursive) {
                let dir = dir.display();
                tracing::warn!(event = "reload", detail = %error, "changes in {dir} will not be noticed ({error}); send SIGHUP instead");
            }
        }
        self.dirs = dirs;
    }
}

impl OfInterest {
    fn includes(&self, path: &Path) -> bool {
        let name = path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
        let is_rule = || {
            let is_in = path.parent().is_some_and(|parent| self.rules_dirs.contains(parent));
            is_in && !name.starts_with(b".") && path.extension().is_some_and(|e| e == "toml")
        };
        // `..data`: a mounted volume changes all its files at once by turning a link around.
        self.files.contains(path) || self.rules_dirs.contains(path) || name.starts_with(b"..") || is_rule()
    }
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

/// The paths that events may name a file by: as it was written, and, if that is a link, as it is.
fn names(path: &Path) -> Vec<PathBuf> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // `rules/../module.wasm` is told as being in the folder that it is in.
    let plain = match (whole.parent().map(Path::canonicalize), whole.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => whole,
    };
    let target = plain.canonicalize().ok().filter(|target| *target != plain);
    std::iter::once(plain).chain(target).collect()
}

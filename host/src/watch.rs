//! Watch: notices that a file changed from which the configuration was read.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use crate::config::Config;
use crate::happening::{Happening, Teller};

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
    rules_dir: PathBuf,
}

impl Watch {
    /// Watches nothing yet.
    pub(crate) fn start(teller: Teller) -> notify::Result<Self> {
        let of_interest = Arc::new(Mutex::new(OfInterest::default()));
        let watcher = notify::recommended_watcher({
            let of_interest = Arc::clone(&of_interest);
            move |event: notify::Result<Event>| {
                let matters = match event {
                    Ok(event) => {
                        is_change(&event.kind) && {
                            let of_interest = of_interest.lock().unwrap_or_else(PoisonError::into_inner);
                            event.need_rescan() || event.paths.iter().any(|path| of_interest.includes(path))
                        }
                    }
                    // Events were lost, so anything may have changed.
                    Err(_) => true,
                };
                // Full: the loop has more than enough to do, and a change among it or soon after.
                if matters {
                    drop(teller.try_send(Happening::FilesChanged));
                }
            }
        })?;
        Ok(Self { watcher, dirs: HashSet::new(), of_interest })
    }

    /// Watches what this configuration was read from. A folder that cannot be watched is told in the log.
    pub(crate) fn follow(&mut self, file: &Path, config: &Config) {
        let mut files: HashSet<_> = config.module_files().map(absolute).collect();
        files.insert(absolute(file));
        let rules_dir = absolute(&config.rules_dir);
        let mut dirs: HashSet<_> =
            files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
        dirs.insert(rules_dir.clone());
        *self.of_interest.lock().unwrap_or_else(PoisonError::into_inner) = OfInterest { files, rules_dir };
        for dir in self.dirs.difference(&dirs) {
            // Gone already, if this fails.
            drop(self.watcher.unwatch(dir));
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
        let is_rule = || {
            let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            !is_hidden
                && path.parent() == Some(&self.rules_dir)
                && path.extension().is_some_and(|e| e == "toml")
        };
        self.files.contains(path) || path == self.rules_dir || is_rule()
    }
}

/// Reading a file is an event too, and ours would never end.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => *kind == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

/// The path as events will name it.
fn absolute(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // `rules/../module.wasm` is watched, and told, as the folder that it is in.
    match (whole.parent().map(Path::canonicalize), whole.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => whole,
    }
}

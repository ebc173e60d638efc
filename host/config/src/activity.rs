//! Activity: the steps of preparing a configuration that have begun and not ended, so that the log can say what it waits for, and the next
//! one can leave out files on which it hangs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use postern_text::panic::PastPanic;

use crate::trust::OpenError;

/// The steps under way of preparing one configuration, on all its threads.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    shared: Arc<ActivityState>,
}

#[derive(Debug, Default)]
struct ActivityState {
    /// What has begun and not ended.
    doing: Mutex<Vec<Doing>>,
    /// Files that are not to be read, because other preparations wait for them already.
    avoided: Vec<PathBuf>,
    is_overtaken: AtomicBool,
    is_outdated: AtomicBool,
    /// Until when it waits for what may take long and need not be there.
    waits_until: OnceLock<Instant>,
}

/// Something that has begun and not ended.
#[derive(Clone, Debug)]
pub struct Doing {
    what: ActivityKind,
    file: PathBuf,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ActivityKind {
    Reading,
    Compiling,
    Opening,
}

/// A step is under way as long as this lives.
struct During<'a> {
    shared: &'a ActivityState,
    what: ActivityKind,
    file: &'a Path,
}

impl Activity {
    /// One that does not read these files.
    pub fn avoiding(avoided: Vec<PathBuf>) -> Self {
        Self { shared: Arc::new(ActivityState { avoided, ..ActivityState::default() }) }
    }

    /// Notes that a newer preparation has begun: the result of this one may be of no use any more.
    pub fn overtake(&self) {
        self.shared.is_overtaken.store(true, Ordering::Relaxed);
    }

    /// Whether a newer preparation has begun.
    pub fn is_overtaken(&self) -> bool {
        self.shared.is_overtaken.load(Ordering::Relaxed)
    }

    /// Notes that a newer preparation has read its configuration: nobody waits for the modules of this one any more. As long as the newer one
    /// only hangs this one may still be what comes in force.
    pub fn outdate(&self) {
        self.shared.is_outdated.store(true, Ordering::Relaxed);
    }

    /// Whether a newer preparation has read its configuration.
    pub fn is_outdated(&self) -> bool {
        self.shared.is_outdated.load(Ordering::Relaxed)
    }

    /// Until when this preparation waits for what may take long and need not be there: so long from the first time that this is asked.
    pub fn waits_until(&self, patience: Duration) -> Instant {
        *self.shared.waits_until.get_or_init(|| Instant::now() + patience)
    }

    /// Has a file or folder read, which may never return: a disk may hang, and a file of procfs or tracefs may block until there is data.
    pub fn read<T>(&self, file: &Path, read: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
        if self.shared.avoided.iter().any(|avoided| avoided == file) {
            return Err(OpenError::Unanswered);
        }
        let _during = self.begin(ActivityKind::Reading, file);
        read()
    }

    /// The module of this file is being compiled from now on.
    pub fn begin_compiling(&self, file: &Path) {
        self.shared.begin(ActivityKind::Compiling, file);
    }

    /// The module of this file was compiled, or could not be.
    pub fn end_compiling(&self, file: &Path) {
        self.shared.end(ActivityKind::Compiling, file);
    }

    /// Has the journal in this folder opened, which another daemon may hold.
    pub fn open_journal<T>(&self, folder: &Path, open: impl FnOnce() -> T) -> T {
        let _during = self.begin(ActivityKind::Opening, folder);
        open()
    }

    /// What has begun and not ended, the oldest first.
    pub fn doing(&self) -> Vec<Doing> {
        self.shared.lock().clone()
    }

    fn begin<'a>(&'a self, what: ActivityKind, file: &'a Path) -> During<'a> {
        self.shared.begin(what, file);
        During { shared: &self.shared, what, file }
    }
}

impl ActivityState {
    fn lock(&self) -> MutexGuard<'_, Vec<Doing>> {
        self.doing.lock().past_panic()
    }

    fn begin(&self, what: ActivityKind, file: &Path) {
        self.lock().push(Doing { what, file: file.to_owned(), since: Instant::now() });
    }

    fn end(&self, what: ActivityKind, file: &Path) {
        let mut doing = self.lock();
        // Two threads at the same step are not told apart.
        if let Some(place) = doing.iter().position(|doing| doing.what == what && doing.file == file) {
            doing.remove(place);
        }
    }
}

impl Drop for During<'_> {
    fn drop(&mut self) {
        self.shared.end(self.what, self.file);
    }
}

impl Doing {
    /// The file that is being read, if that is what is done.
    pub fn reads(&self) -> Option<&Path> {
        (self.what == ActivityKind::Reading).then_some(&self.file)
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            ActivityKind::Reading => "reading",
            ActivityKind::Compiling => "compiling",
            ActivityKind::Opening => "opening the journal in",
        };
        write!(f, "{what} {}, for {} s now", self.file.display(), self.since.elapsed().as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_has_begun_and_not_ended() {
        let activity = Activity::default();
        let files = |activity: &Activity| -> Vec<_> {
            activity.doing().iter().map(|doing| (doing.what, doing.file.clone())).collect()
        };
        let read = activity.read(Path::new("/a"), || {
            activity.begin_compiling(Path::new("/b"));
            assert_eq!(
                files(&activity),
                [(ActivityKind::Reading, "/a".into()), (ActivityKind::Compiling, "/b".into())]
            );
            let reads: Vec<_> =
                activity.doing().iter().filter_map(Doing::reads).map(Path::to_owned).collect();
            assert_eq!(reads, [Path::new("/a")]);
            activity.end_compiling(Path::new("/b"));
            assert_eq!(files(&activity), [(ActivityKind::Reading, "/a".into())]);
            Ok(7)
        });
        assert_eq!(read.unwrap(), 7);
        assert!(activity.doing().is_empty());
        // Also if it ends with a panic.
        let panicked = std::panic::catch_unwind(|| {
            activity.read(Path::new("/b"), || -> Result<(), OpenError> { panic!("of this test") })
        });
        assert!(panicked.is_err() && activity.doing().is_empty());
    }

    #[test]
    fn does_not_read_what_is_avoided() {
        let activity = Activity::avoiding(vec!["/a".into()]);
        let read = |file: &str| activity.read(Path::new(file), || Ok(()));
        assert!(matches!(read("/a"), Err(OpenError::Unanswered)));
        assert!(read("/b").is_ok());
    }
}

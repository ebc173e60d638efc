//! Reload: prepares the next generation off the packet path.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use tokio::time::Instant;

use crate::config::{Mistake, Mistakes, Reading};
use crate::happening::{Happening, Prepared, Teller};
use crate::rules::{Generation, Loader, Runtime};
use crate::written::Written;

/// Files are left in peace for so long after a change, and at most for so long in all, before they are read.
const QUIET: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);

/// A thread that reads, checks, compiles and tries what the files say. It touches nothing that runs.
pub(crate) struct Preparer {
    requests: Sender<u64>,
}

impl Preparer {
    /// Prepares on a thread of its own from now on.
    pub(crate) fn start(written: Written, mut loader: Loader, teller: Teller) -> std::io::Result<Self> {
        let (requests, queue) = bounded(1);
        // Nobody waits for it at the end: a long compilation must not hold up a stop.
        thread::Builder::new().name("loader".to_owned()).stack_size(Runtime::STACK).spawn(move || {
            for number in queue {
                let prepared = prepare(&written, number, &mut loader);
                if teller.send(Happening::Prepared(Box::new(prepared))).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { requests })
    }

    /// Asks for a generation with this number. It comes as a happening. The caller asks for one at a time.
    pub(crate) fn request(&self, number: u64) {
        let _ = self.requests.try_send(number);
    }
}

/// Reads, checks, compiles and tries everything.
pub(crate) fn prepare(written: &Written, number: u64, loader: &mut Loader) -> Prepared {
    let Reading { config, mistakes, .. } = written.read();
    let generation = match &config {
        // A compiler is a large program, and what it is fed comes from outside.
        Some(config) if mistakes.is_empty() => {
            catch_unwind(AssertUnwindSafe(|| Generation::build(number, config, loader))).unwrap_or_else(
                |_| {
                    let what = "a module made the compiler panic; see the standard error".to_owned();
                    let mistake =
                        Mistake { file: config.rules_dir.clone(), line: None, key: String::new(), what };
                    Err(Mistakes::new(vec![mistake]))
                },
            )
        }
        _ => Err(Mistakes::new(mistakes)),
    };
    Prepared { config, generation }
}

/// When to prepare: not in the middle of somebody's writing, and one at a time.
#[derive(Debug, Default)]
pub(crate) enum Pace {
    /// Nothing to do.
    #[default]
    Idle,
    /// Files changed first and last at these times.
    Changed { first: Instant, last: Instant },
    /// The next generation is being prepared; whether something changed since.
    Preparing { again: bool },
}

impl Pace {
    /// A file changed.
    pub(crate) fn note_change(&mut self, now: Instant) {
        match self {
            Self::Idle => *self = Self::Changed { first: now, last: now },
            Self::Changed { last, .. } => *last = now,
            Self::Preparing { again } => *again = true,
        }
    }

    /// When to prepare, if files changed.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self {
            Self::Changed { first, last } => Some((*last + QUIET).min(*first + PATIENCE)),
            Self::Idle | Self::Preparing { .. } => None,
        }
    }

    /// Whether to prepare at once; if that is being done already, it is done once more after.
    pub(crate) fn may_prepare(&mut self) -> bool {
        if let Self::Preparing { again } = self {
            *again = true;
            return false;
        }
        true
    }

    /// Preparing begins.
    pub(crate) fn begin(&mut self) {
        *self = Self::Preparing { again: false };
    }

    /// Preparing has ended.
    pub(crate) fn end(&mut self, now: Instant) {
        let again = matches!(self, Self::Preparing { again: true });
        *self = Self::Idle;
        if again {
            self.note_change(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_quiet_but_not_for_ever() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        assert_eq!(pace.due(), None);
        pace.note_change(at(0));
        assert_eq!(pace.due(), Some(at(100)));
        pace.note_change(at(90));
        assert_eq!(pace.due(), Some(at(190)));
        for millis in (100..2000).step_by(50) {
            pace.note_change(at(millis));
        }
        assert_eq!(pace.due(), Some(at(1000)));
    }

    #[test]
    fn what_changes_while_preparing_is_prepared_after() {
        let now = Instant::now();
        let mut pace = Pace::default();
        assert!(pace.may_prepare());
        pace.begin();
        assert_eq!(pace.due(), None);
        assert!(!pace.may_prepare());
        pace.end(now);
        assert_eq!(pace.due(), Some(now + QUIET));
        pace.begin();
        pace.end(now);
        assert_eq!(pace.due(), None);
    }
}

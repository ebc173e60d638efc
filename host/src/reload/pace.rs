//! Pace: when to prepare the next generation: not while files are being written, and not repeatedly while that takes long.

use std::time::Duration;

use tokio::time::Instant;

/// Files are read when they have not changed for [`QUIET`], but at the latest [`PATIENCE`] after the first change.
const QUIET: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);
/// A preparation that takes longer is not waited for: the next begins in parallel.
const OVERTAKEN: Duration = Duration::from_secs(1);

/// When to prepare the next generation.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When files changed, first and last, since the newest preparation began.
    changed: Option<(Instant, Instant)>,
    /// When a signal asked for it.
    asked: Option<Instant>,
    /// When the newest preparation began, while it is under way.
    began: Option<Instant>,
}

impl Pace {
    /// A file changed.
    pub(super) fn note_change(&mut self, now: Instant) {
        self.changed = Some((self.changed.map_or(now, |(first, _)| first), now));
    }

    /// It is to be prepared at this moment, without waiting for quiet.
    pub(super) fn ask(&mut self, at: Instant) {
        self.asked = Some(self.asked.map_or(at, |asked| asked.min(at)));
    }

    /// When to prepare, if there is a reason to.
    pub(super) fn due(&self) -> Option<Instant> {
        let quiet = self.changed.map(|(first, last)| (last + QUIET).min(first + PATIENCE));
        let due = [quiet, self.asked].into_iter().flatten().min()?;
        Some(self.began.map_or(due, |began| due.max(began + OVERTAKEN)))
    }

    /// A preparation begins.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = Self { began: Some(now), ..Self::default() };
    }

    /// The preparation that began last has ended.
    pub(super) fn end(&mut self) {
        self.began = None;
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
        pace.ask(at(800));
        assert_eq!(pace.due(), Some(at(800)));
        pace.ask(at(300));
        pace.ask(at(900));
        assert_eq!(pace.due(), Some(at(300)));
    }

    #[test]
    fn what_changes_while_preparing_is_prepared_after() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        pace.note_change(at(0));
        pace.begin(at(100));
        assert_eq!(pace.due(), None);
        pace.note_change(at(150));
        pace.end();
        assert_eq!(pace.due(), Some(at(250)));
        pace.begin(at(250));
        pace.end();
        assert_eq!(pace.due(), None);
    }

    #[test]
    fn a_preparing_that_takes_long_is_overtaken() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        pace.ask(at(0));
        pace.begin(at(0));
        pace.note_change(at(20));
        pace.ask(at(30));
        assert_eq!(pace.due(), Some(at(1000)), "not sooner: it may be done in a moment");
        pace.begin(at(1000));
        pace.note_change(at(5000));
        assert_eq!(pace.due(), Some(at(5100)));
    }
}

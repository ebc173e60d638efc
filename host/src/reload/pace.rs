//! Pace: when to prepare the next generation: not while files are being written, and not repeatedly while that takes long.

use std::time::Duration;

use tokio::time::Instant;

use crate::watch::FileOwner;

/// Files are read when they have not changed for [`QUIET`], but at the latest [`PATIENCE`] after the first change.
const QUIET: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);
/// A preparation that takes longer is not waited for: the next begins in parallel.
const OVERTAKEN: Duration = Duration::from_secs(1);

/// When to prepare the next generation.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the host's files changed, first and last, since the newest preparation began.
    of_host: Option<(Instant, Instant)>,
    /// The same of tenants' files: a tenant that changes them without end does not have the host's change wait for quiet.
    of_tenants: Option<(Instant, Instant)>,
    /// When a signal asked for it, or something else that is the host's.
    asked: Option<Instant>,
    /// When it is asked for to go on with the rules of tenants.
    asked_for_tenants: Option<Instant>,
    /// When the newest preparation began, while it is under way, and because of whose change.
    began: Option<(Instant, FileOwner)>,
}

impl Pace {
    /// A file of this owner's changed.
    pub(super) fn note_change(&mut self, owner: FileOwner, now: Instant) {
        let changed = match owner {
            FileOwner::Host => &mut self.of_host,
            FileOwner::Tenant => &mut self.of_tenants,
        };
        *changed = Some((changed.map_or(now, |(first, _)| first), now));
    }

    /// It is to be prepared at this moment, without waiting for quiet; for tenants' sake it does not keep the host waiting.
    pub(super) fn ask(&mut self, owner: FileOwner, at: Instant) {
        let asked = match owner {
            FileOwner::Host => &mut self.asked,
            FileOwner::Tenant => &mut self.asked_for_tenants,
        };
        *asked = Some(asked.map_or(at, |asked| asked.min(at)));
    }

    /// When to prepare, if there is a reason to.
    pub(super) fn due(&self) -> Option<Instant> {
        let quiet = |(first, last): (Instant, Instant)| (last + QUIET).min(first + PATIENCE);
        let [of_host, of_tenants] = [self.of_host, self.of_tenants].map(|changed| changed.map(quiet));
        let of_host = of_host.into_iter().chain(self.asked).min();
        let of_tenants = of_tenants.into_iter().chain(self.asked_for_tenants).min();
        // One that a tenant's change is the reason for does not keep the host waiting.
        let after = |due: Instant, owner| match self.began {
            Some((began, of)) if of <= owner => due.max(began + OVERTAKEN),
            _ => due,
        };
        let of_host = of_host.map(|due| after(due, FileOwner::Host));
        let of_tenants = of_tenants.map(|due| after(due, FileOwner::Tenant));
        of_host.into_iter().chain(of_tenants).min()
    }

    /// A preparation begins.
    pub(super) fn begin(&mut self, now: Instant) {
        let is_of_host = self.of_host.is_some() || self.asked.is_some();
        let owner = if is_of_host { FileOwner::Host } else { FileOwner::Tenant };
        *self = Self { began: Some((now, owner)), ..Self::default() };
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
        pace.note_change(FileOwner::Host, at(0));
        assert_eq!(pace.due(), Some(at(100)));
        pace.note_change(FileOwner::Host, at(90));
        assert_eq!(pace.due(), Some(at(190)));
        for millis in (100..2000).step_by(50) {
            pace.note_change(FileOwner::Host, at(millis));
        }
        assert_eq!(pace.due(), Some(at(1000)));
        pace.ask(FileOwner::Host, at(800));
        assert_eq!(pace.due(), Some(at(800)));
        pace.ask(FileOwner::Host, at(300));
        pace.ask(FileOwner::Host, at(900));
        assert_eq!(pace.due(), Some(at(300)));
    }

    #[test]
    fn a_change_of_the_host_does_not_wait_for_a_tenant_to_be_quiet() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        for millis in (0..=600).step_by(50) {
            pace.note_change(FileOwner::Tenant, at(millis));
        }
        assert_eq!(pace.due(), Some(at(700)));
        pace.note_change(FileOwner::Host, at(310));
        assert_eq!(pace.due(), Some(at(410)));
        // Nor for what is prepared because of it, while others do.
        let mut pace = Pace::default();
        pace.note_change(FileOwner::Tenant, at(0));
        pace.begin(at(100));
        pace.note_change(FileOwner::Tenant, at(110));
        assert_eq!(pace.due(), Some(at(1100)));
        pace.note_change(FileOwner::Host, at(120));
        assert_eq!(pace.due(), Some(at(220)));
        pace.begin(at(220));
        pace.note_change(FileOwner::Host, at(230));
        assert_eq!(pace.due(), Some(at(1220)));
    }

    #[test]
    fn what_changes_while_preparing_is_prepared_after() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        pace.note_change(FileOwner::Host, at(0));
        pace.begin(at(100));
        assert_eq!(pace.due(), None);
        pace.note_change(FileOwner::Host, at(150));
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
        pace.ask(FileOwner::Host, at(0));
        pace.begin(at(0));
        pace.note_change(FileOwner::Host, at(20));
        pace.ask(FileOwner::Host, at(30));
        assert_eq!(pace.due(), Some(at(1000)), "not sooner: it may be done in a moment");
        pace.begin(at(1000));
        pace.note_change(FileOwner::Host, at(5000));
        assert_eq!(pace.due(), Some(at(5100)));
    }
}

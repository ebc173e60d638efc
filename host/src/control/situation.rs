//! Situation: how the daemon is, as far as its reports say. It is nothing but what was reported last of each thing that can be well or not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use postern_core::{Direction, Report, RuleId, TenantId, What};
use postern_protocol::{Interface, InterfaceState};

/// How the daemon is.
#[derive(Clone, Debug, Default)]
pub(super) struct Situation {
    captures: BTreeMap<(String, bool), Option<String>>,
    /// Rules that failed: until when they are not asked, and why.
    resting: BTreeMap<RuleId, (Instant, String)>,
    /// What is wrong and was not said to be well again, in words: of the machine, by its kind.
    troubles: BTreeMap<&'static str, String>,
    /// Tenants over their share.
    over_share: BTreeMap<TenantId, String>,
}

impl Situation {
    /// Takes a report in.
    pub(super) fn note(&mut self, report: &Report<'_>, now: Instant, words: impl FnOnce() -> String) {
        match &report.what {
            What::Listening { interface, direction, .. } => {
                self.captures.insert((interface.to_string(), *direction == Direction::Outgoing), None);
            }
            What::ListeningAgain { interface, .. } => {
                for ((name, _), trouble) in &mut self.captures {
                    if *name == **interface {
                        *trouble = None;
                    }
                }
            }
            What::NotListening { interface, reason, direction } => {
                let place = (interface.to_string(), *direction == Direction::Outgoing);
                self.captures.insert(place, Some(reason.to_string()));
            }
            What::Fault { detail, pause, .. } => {
                if let Some(rule) = report.rule() {
                    self.resting.retain(|_, (until, _)| *until > now);
                    self.resting.insert(rule.clone(), (now + *pause, detail.to_string()));
                }
            }
            What::OverShare { .. } => {
                if let Some(tenant) = report.tenant() {
                    self.over_share.insert(tenant.clone(), words());
                }
            }
            What::WithinShare { .. } => {
                if let Some(tenant) = report.tenant() {
                    self.over_share.remove(tenant);
                }
            }
            what => self.note_trouble(what, words),
        }
    }

    /// What is well again by a report is no trouble any more.
    fn note_trouble(&mut self, what: &What<'_>, words: impl FnOnce() -> String) {
        let ended: &[&str] = match what {
            What::JournalWritable { .. } => &["journal-unwritable"],
            What::LedgerUsable { .. } => &["ledger-unusable"],
            What::TableOwned => &["table-unprotected", "table-taken", "guard-down"],
            What::GuardRestored { .. } => &["guard-down"],
            What::InForce { .. } => &["doors-refused", "not-released"],
            What::NetworkRead { .. } => &["network-unread"],
            _ => &[],
        };
        self.troubles.retain(|kind, _| !ended.contains(kind));
        let lasts = matches!(
            what,
            What::JournalMissing { .. }
                | What::JournalUnwritable { .. }
                | What::LedgerUnusable { .. }
                | What::TableTaken { .. }
                | What::GuardDown { .. }
                | What::FilterUnwatched { .. }
                | What::DoorsRefused { .. }
                | What::NotReleased { .. }
                | What::NetworkUnread { .. }
                | What::NetworkUnfollowed { .. }
                | What::CaptureNotStarted { .. }
                | What::GrantsNotWritten { .. }
        );
        if lasts {
            self.troubles.insert(what.name(), words());
        }
    }

    /// Where captures are, and how each is. Only of these interfaces: reports of others are old.
    pub(super) fn interfaces(&self, configured: &[String]) -> Vec<Interface> {
        let of = |((name, is_outgoing), trouble): (&(String, bool), &Option<String>)| Interface {
            name: name.clone(),
            direction: if *is_outgoing { "outgoing" } else { "incoming" }.to_owned(),
            state: trouble.as_ref().map_or(InterfaceState::Listening, |_| InterfaceState::Waiting),
            why: trouble.clone().unwrap_or_default(),
        };
        let known = self.captures.iter().filter(|((name, _), _)| configured.contains(name)).map(of);
        // What was never tried waits for that.
        let untried = configured.iter().filter(|name| !self.captures.keys().any(|(known, _)| known == *name));
        let untried = untried.map(|name| Interface {
            name: name.clone(),
            direction: "incoming".to_owned(),
            state: InterfaceState::Waiting,
            why: "it has not been tried yet".to_owned(),
        });
        known.chain(untried).collect()
    }

    /// Why a rule is not asked now, and for how long, if it failed.
    pub(super) fn resting(&self, rule: &RuleId, now: Instant) -> Option<(Duration, &str)> {
        let (until, detail) = self.resting.get(rule)?;
        let left = until.checked_duration_since(now)?;
        (!left.is_zero()).then_some((left, detail))
    }

    /// Everything that is wrong with the machine's part of it, a sentence each.
    pub(super) fn troubles(&self) -> impl Iterator<Item = &String> {
        self.troubles.values()
    }

    /// Tenants over their share, in words.
    pub(super) fn over_share(&self) -> impl Iterator<Item = (&TenantId, &String)> {
        self.over_share.iter()
    }
}

/// Whether a report can say anything to a [`Situation`]: judging alone never does, but for a fault.
pub(super) fn is_about_situation(report: &Report<'_>) -> bool {
    match &report.what {
        What::Fault { .. } | What::OverShare { .. } | What::WithinShare { .. } => true,
        _ => report.client.is_none() && report.rule().is_none(),
    }
}

//! Situation: how the daemon is, as far as its reports say. It is nothing but what was reported last of each thing that can be well or not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use postern_core::{Direction, Report, RuleId, TenantId, What};
use postern_protocol::{Interface, InterfaceState};

/// How the daemon is.
#[derive(Clone, Debug, Default)]
pub(super) struct Situation {
    captures: BTreeMap<(String, bool), Option<String>>,
    /// How rules failed last, for a while.
    failures: BTreeMap<RuleId, Failure>,
    /// What is wrong and was not said to be well again, in words: of the machine, by its kind.
    troubles: BTreeMap<&'static str, String>,
    /// Tenants over their share.
    over_share: BTreeMap<TenantId, String>,
}

/// That a rule failed.
#[derive(Clone, Debug)]
struct Failure {
    at: Instant,
    /// Until then it is not asked.
    until: Instant,
    detail: String,
}

/// For how long a failure is told of: as long as it makes the next one's back-off longer.
const LATELY: Duration = Duration::from_secs(120);

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
                    self.failures.retain(|_, failure| failure.at + LATELY > now);
                    let failure = Failure { at: now, until: now + *pause, detail: detail.to_string() };
                    self.failures.insert(rule.clone(), failure);
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
        let Failure { until, detail, .. } = self.failures.get(rule)?;
        let left = until.checked_duration_since(now)?;
        (!left.is_zero()).then_some((left, detail))
    }

    /// How long ago a rule failed, if that was lately, and why.
    pub(super) fn failed(&self, rule: &RuleId, now: Instant) -> Option<(Duration, &str)> {
        let Failure { at, detail, .. } = self.failures.get(rule)?;
        let ago = now.saturating_duration_since(*at);
        (ago < LATELY).then_some((ago, detail))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_of_for_as_long_as_it_counts() {
        let rule = |name: &str| RuleId { tenant: TenantId::host(), name: name.into() };
        let (ssh, web) = (rule("ssh"), rule("web"));
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut situation = Situation::default();
        let mut fail = |rule: &RuleId, now, pause| {
            let fault = What::Fault { detail: "it loops".into(), module: [0; 32], pause };
            situation.note(&Report::of_rule(rule, fault), now, String::new);
        };
        fail(&ssh, at(0), Duration::ZERO);
        fail(&web, at(100), Duration::from_secs(60));
        assert_eq!(situation.failed(&ssh, at(7)), Some((Duration::from_secs(7), "it loops")));
        assert_eq!(situation.resting(&ssh, at(0)), None);
        assert_eq!(situation.failed(&ssh, at(120)), None);
        assert_eq!(situation.resting(&web, at(101)), Some((Duration::from_secs(59), "it loops")));
        assert_eq!(situation.resting(&web, at(160)), None);
        // Who failed long ago is forgotten when another does.
        let mut fail = |now| {
            let fault = What::Fault { detail: "again".into(), module: [0; 32], pause: Duration::ZERO };
            situation.note(&Report::of_rule(&web, fault), now, String::new);
        };
        fail(at(219));
        assert_eq!(situation.failures.keys().collect::<Vec<_>>(), [&web]);
        assert_eq!(situation.failed(&web, at(220)), Some((Duration::from_secs(1), "again")));
    }
}

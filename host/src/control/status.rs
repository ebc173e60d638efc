//! Status: how the daemon is, in one answer.

use std::time::{Duration, Instant};

use postern_core::{DropReason, TenantId};
use postern_protocol::{
    Drops, Health, Interface, InterfaceState, Process, ProcessState, Status, TenantRefusal,
};
use postern_text::panic::PastPanic;

use super::access::View;
use super::desk::{Desk, REASONS, millis};
use super::event::millis_of;
use crate::observe::counted;
use crate::try_run::TryView;

/// What is meant by lately, where drops are counted.
const LATELY: Duration = Duration::from_secs(60);

impl Desk {
    /// Notes all drops so far.
    pub(super) fn note_drops(&self, now: Instant) {
        let mut noted = self.noted.lock().past_panic();
        // One that is older than what is asked for is enough.
        while noted.get(1).is_some_and(|(time, _)| now.duration_since(*time) >= LATELY) {
            noted.pop_front();
        }
        noted.push_back((now, DropReason::ALL.map(|reason| self.feed.counters.total(reason))));
    }

    fn drops(&self) -> Vec<Drops> {
        let noted = self.noted.lock().past_panic();
        let before = noted.front().map_or([0; REASONS], |(_, counts)| *counts);
        let count = |(n, reason): (usize, DropReason)| {
            let total = self.feed.counters.total(reason);
            let last_minute = total.saturating_sub(before.get(n).copied().unwrap_or_default());
            (total > 0).then(|| Drops { reason: reason.name().to_owned(), last_minute, total })
        };
        DropReason::ALL.into_iter().enumerate().filter_map(count).collect()
    }

    pub(super) fn status(&self, view: &View) -> Status {
        let in_force = self.feed.in_force.load();
        let (started, since) = self.started;
        let now = Instant::now();
        let is_all = *view == View::All;
        let shows = |tenant: &str| view.shows(Some(&TenantId::new(tenant)));
        let rules = in_force.rules.iter().filter(|rule| view.shows(Some(&rule.id.tenant)));
        let (mut running, mut trial, mut resting) = (0, 0, Vec::new());
        let situation = self.feed.situation();
        for rule in rules {
            running += 1;
            trial += u64::from(rule.is_trial);
            if situation.resting(&rule.id, now).is_some() {
                resting.push(rule.id.to_string());
            }
        }
        let troubles = situation.troubles().filter(|_| is_all);
        let over = situation.over_share().filter(|(tenant, _)| view.shows(Some(tenant)));
        let troubles: Vec<_> = troubles.chain(over.map(|(_, words)| words)).cloned().collect();
        let interfaces = situation.interfaces(&in_force.interfaces);
        let refused: Vec<_> = in_force.refused.iter().filter(|of| shows(&of.tenant)).cloned().collect();
        let processes = if is_all { self.processes.lock().past_panic().clone() } else { Vec::new() };
        let reasons = reasons(troubles, &interfaces, &resting, &refused, &processes);
        let open = match view {
            View::All => self.engine.open() as u64,
            View::Of(tenants) => tenants.iter().map(|tenant| self.engine.parts_of(Some(tenant)) as u64).sum(),
        };
        Status {
            health: if reasons.is_empty() { Health::Ok } else { Health::Degraded },
            reasons,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: millis_of(since),
            uptime_ms: millis(started.elapsed()),
            generation: in_force.generation,
            processes,
            interfaces,
            rules: running,
            trial,
            resting,
            refused,
            open,
            drops: if is_all { self.drops() } else { Vec::new() },
            trial_left_ms: self.tried.as_ref().and_then(TryView::left).map(millis),
        }
    }
}

/// Why a daemon is not well, a sentence each: what was reported to be wrong, captures that wait, rules that failed, files that are not in force, and
/// processes.
fn reasons(
    troubles: Vec<String>,
    interfaces: &[Interface],
    resting: &[String],
    refused: &[TenantRefusal],
    processes: &[Process],
) -> Vec<String> {
    let mut reasons = troubles;
    let waiting = interfaces.iter().filter(|interface| interface.state == InterfaceState::Waiting);
    reasons.extend(waiting.map(|Interface { name, why, .. }| format!("nobody can knock on {name}: {why}")));
    reasons.extend(resting.iter().map(|rule| format!("rule {rule} rests after a fault")));
    reasons.extend(refused.iter().map(|TenantRefusal { tenant, mistakes }| {
        let mistakes = counted(mistakes.len(), "mistake");
        match &**tenant {
            TenantId::HOST => format!("the newest configuration has {mistakes} and is not in force"),
            tenant => format!("tenant {tenant}: what its files say now has {mistakes} and is not in force"),
        }
    }));
    for Process { name, state, missing, .. } in processes {
        if *state == ProcessState::Restarting {
            reasons.push(format!("the {name} is being started again"));
        }
        reasons.extend(missing.iter().map(|barrier| format!("{name}: {barrier}")));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn every_reason_is_a_sentence() {
        let interface = |name: &str, state, why: &str| Interface {
            name: name.to_owned(),
            direction: "incoming".to_owned(),
            state,
            why: why.to_owned(),
        };
        let refused = |tenant: &str, count| TenantRefusal {
            tenant: tenant.to_owned(),
            mistakes: vec!["a mistake".to_owned(); count],
        };
        let process = |name: &str, state, missing: &[&str]| Process {
            name: name.to_owned(),
            state,
            restarts: 1,
            held: String::new(),
            missing: missing.iter().map(|text| (*text).to_owned()).collect(),
        };
        let reasons = reasons(
            vec!["what was reported".to_owned()],
            &[
                interface("eth0", InterfaceState::Listening, ""),
                interface("eth1", InterfaceState::Waiting, "No such device"),
            ],
            &["web/gate".to_owned()],
            &[refused(TenantId::HOST, 1), refused("web", 2)],
            &[
                process("engine", ProcessState::Running, &["Landlock: this kernel has none"]),
                process("doorman", ProcessState::Restarting, &[]),
            ],
        );
        expect![[r#"
            what was reported
            nobody can knock on eth1: No such device
            rule web/gate rests after a fault
            the newest configuration has 1 mistake and is not in force
            tenant web: what its files say now has 2 mistakes and is not in force
            engine: Landlock: this kernel has none
            the doorman is being started again
        "#]]
        .assert_eq(&reasons.iter().map(|reason| format!("{reason}\n")).collect::<String>());
    }
}

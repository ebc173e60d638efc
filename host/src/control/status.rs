//! Status: how the daemon is, in one answer.

use std::time::{Duration, Instant};

use postern_core::{DropReason, TenantId};
use postern_protocol::{Drops, Health, InterfaceState, ProcessState, Status};
use postern_text::panic::PastPanic;

use super::access::View;
use super::desk::{Desk, REASONS, millis};
use super::event::millis_of;
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
        let mut reasons = Vec::new();
        let situation = self.feed.situation();
        for rule in rules {
            running += 1;
            trial += u64::from(rule.is_trial);
            if situation.resting(&rule.id, now).is_some() {
                resting.push(rule.id.to_string());
            }
        }
        if is_all {
            reasons.extend(situation.troubles().cloned());
        }
        let over = situation.over_share().filter(|(tenant, _)| view.shows(Some(tenant)));
        reasons.extend(over.map(|(_, words)| words.clone()));
        let interfaces = situation.interfaces(&in_force.interfaces);
        let refused: Vec<_> = in_force.refused.iter().filter(|of| shows(&of.tenant)).cloned().collect();
        let processes = if is_all { self.processes.lock().past_panic().clone() } else { Vec::new() };
        let waiting = interfaces.iter().filter(|interface| interface.state == InterfaceState::Waiting);
        reasons.extend(waiting.map(|interface| {
            let name = &interface.name;
            format!("nobody can knock on {name}: {}", interface.why)
        }));
        reasons.extend(resting.iter().map(|rule| format!("rule {rule} rests after a fault")));
        reasons.extend(refused.iter().map(|of| {
            let of_whom = if of.tenant == TenantId::HOST { "" } else { &of.tenant };
            let whose =
                if of_whom.is_empty() { "the newest configuration" } else { "what its files say now" };
            let name = if of_whom.is_empty() { String::new() } else { format!("tenant {of_whom}: ") };
            let count = of.mistakes.len();
            format!("{name}{whose} has {count} mistakes and is not in force")
        }));
        for process in &processes {
            if process.state == ProcessState::Restarting {
                reasons.push(format!("the {} is being started again", process.name));
            }
            reasons.extend(process.missing.iter().map(|barrier| format!("{}: {barrier}", process.name)));
        }
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
            open: match view {
                View::All => self.engine.open() as u64,
                View::Of(tenants) => self.engine.open_of(tenants) as u64,
            },
            drops: if is_all { self.drops() } else { Vec::new() },
            trial_left_ms: self.tried.as_ref().and_then(TryView::left).map(millis),
        }
    }
}

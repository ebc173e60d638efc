//! Explain: why somebody did not get in, in words that can be read out to them.

use std::time::Duration;

use postern_capture::Shown;
use postern_core::{DropReason, Knock, RuleId, Silence, Transport};
use postern_protocol::Event;
use postern_text::duration;
use serde_json::{Map, json};

use super::in_force::InForce;
use super::recent::{Record, Said};

/// What a record is as an event.
pub(super) fn event_of(record: &Record, in_force: &InForce) -> Event {
    let Record { time_ms, rule, client, said } = record;
    let of_stage = |stage: u32| Map::from_iter([("stage".to_owned(), json!(stage))]);
    let (kind, text, door, fields) = match said {
        Said::Stage(stage, lasts) => {
            ("stage", stage_text(rule, *stage, *lasts, in_force), None, of_stage(*stage))
        }
        Said::TimedOut(stage) => ("timeout", timeout_text(rule, *stage, in_force), None, of_stage(*stage)),
        Said::Forgot(why) => ("forget", format!("rule {rule} lets it start over: {why}"), None, Map::new()),
        Said::Solved { closes } => {
            let what = if *closes { "closes" } else { "opens" };
            ("solved", format!("the knock was right; rule {rule} {what} its doors"), None, Map::new())
        }
        Said::Other { kind, text, door } => (*kind, text.to_string(), door.clone(), Map::new()),
    };
    Event {
        time_ms: *time_ms,
        kind: kind.to_owned(),
        severity: "info".to_owned(),
        tenant: Some(rule.tenant.to_string()),
        rule: Some(rule.name.to_string()),
        client: Some(Shown(*client).to_string()),
        door: door.map(String::from),
        text: postern_text::line(&text).to_string(),
        fields,
    }
}

/// That a client has come so far, and what the rule waits for now.
pub(super) fn stage_text(rule: &RuleId, stage: u32, lasts: Duration, in_force: &InForce) -> String {
    let next = in_force.awaited(rule, stage).map_or_else(String::new, |next| format!(" for {next}"));
    format!("step {stage} was right; rule {rule} waits{next}, for {} at most", shown(lasts))
}

/// That a client took too long after a step.
pub(super) fn timeout_text(rule: &RuleId, stage: u32, in_force: &InForce) -> String {
    let missing = in_force
        .awaited(rule, stage)
        .map_or_else(|| "the next step".to_owned(), |next| format!("{next}, the next step,"));
    let within = in_force.within(rule).map_or_else(String::new, |within| format!("; `within` is {within}"));
    format!("{missing} did not come in time after step {stage}: rule {rule} lets it start over{within}")
}

/// That a packet came, and from where on what.
pub(super) fn arrived_text(knock: &Knock) -> String {
    let flags = if knock.transport == Transport::Tcp {
        format!(" with {}", flags(knock.tcp_flags))
    } else {
        String::new()
    };
    format!("{} arrived on {}{flags}", name_of(knock), knock.interface)
}

/// That a rule did nothing about a packet, and what it waits for.
pub(super) fn silent_text(rule: &RuleId, knock: &Knock, silence: Silence) -> String {
    match silence {
        Silence::Ignored => format!("rule {rule} took no notice of {}", name_of(knock)),
        Silence::Remembered => format!("rule {rule} noted {}, which is no step yet", name_of(knock)),
        Silence::Dropped(reason) => format!("rule {rule} was not asked about {}: {reason}", name_of(knock)),
    }
}

/// That no rule judged a packet.
pub(super) fn passed_over_text(knock: &Knock, reason: DropReason) -> String {
    match reason {
        DropReason::NotWatched => format!("{} arrived; no rule watches it", name_of(knock)),
        _ => format!("{} was left out: {reason}", name_of(knock)),
    }
}

fn name_of(knock: &Knock) -> String {
    format!("{}/{}", knock.transport, knock.destination_port)
}

fn flags(flags: postern_core::TcpFlags) -> String {
    let text = flags.to_string();
    if text.is_empty() { "no flag".to_owned() } else { text }
}

/// A time as exact as people need it: to tenths of a second, or to seconds if it is long.
pub(super) fn shown(time: Duration) -> String {
    let step = if time < Duration::from_secs(10) { 100 } else { 1000 };
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    duration::show(Duration::from_millis(millis.saturating_add(step / 2) / step * step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_exact_as_people_need_them() {
        let shown = |millis| shown(Duration::from_millis(millis));
        assert_eq!(
            [0, 40, 60, 1_230, 24_995, 90_400].map(shown),
            ["0s", "0s", "100ms", "1200ms", "25s", "90s"]
        );
    }
}

//! Explain: why somebody did not get in, in words that can be read out to them.

use std::time::Duration;

use postern_capture::Shown;
use postern_core::{DropReason, Knock, RuleId, Silence, Transport};
use postern_protocol::Event;
use postern_text::duration;
use serde_json::{Map, json};

use super::in_force::InForce;
use super::recent::{Record, Said};

/// Ports of a rule that are named; of more it is said how many there are.
const MOST_WATCHED: usize = 6;

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

/// That a client has come so far, and what the rule waits for now. What a stage means is known of the steps of a sequence alone; of any other rule
/// it is known which packets it is asked about.
pub(super) fn stage_text(rule: &RuleId, stage: u32, lasts: Duration, in_force: &InForce) -> String {
    let lasts = shown(lasts);
    match in_force.awaited(rule, stage) {
        Some(next) => format!("step {stage} was right; rule {rule} waits for {next}, for {lasts} at most"),
        None => {
            format!("rule {rule} has it at stage {stage}, for {lasts} at most{}", watched(rule, in_force))
        }
    }
}

/// That a client took too long after a step.
pub(super) fn timeout_text(rule: &RuleId, stage: u32, in_force: &InForce) -> String {
    match in_force.awaited(rule, stage) {
        Some(next) => {
            let within =
                in_force.within(rule).map_or_else(String::new, |within| format!("; `within` is {within}"));
            format!(
                "{next}, the next step, did not come in time after step {stage}: rule {rule} lets it start over{within}"
            )
        }
        None => format!(
            "nothing more that counts came in time after stage {stage}: rule {rule} lets it start over{}",
            watched(rule, in_force)
        ),
    }
}

/// What a rule watches, as the end of a sentence; nothing if it is not in force any more.
fn watched(rule: &RuleId, in_force: &InForce) -> String {
    let watches = in_force.watches(rule);
    let (named, rest) = watches.split_at(watches.len().min(MOST_WATCHED));
    match (named.is_empty(), rest.len()) {
        (true, _) => String::new(),
        (false, 0) => format!("; it watches {}", named.join(", ")),
        (false, more) => format!("; it watches {} and {more} more", named.join(", ")),
    }
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
pub(super) fn silent_text(rule: &RuleId, knock: &Knock, silence: Silence, in_force: &InForce) -> String {
    match silence {
        Silence::Ignored => {
            let why = match in_force.awaited(rule, 0) {
                Some(first) if first == step_of(knock) => {
                    "; it is the first step, so look at the settings family, tcp_flags, target and cooldown"
                        .to_owned()
                }
                Some(first) => format!("; a knock at it begins with {first}"),
                None => String::new(),
            };
            format!("rule {rule} took no notice of {}{why}", name_of(knock))
        }
        Silence::Remembered => format!("rule {rule} noted {}, which is no step yet", name_of(knock)),
        Silence::Dropped(reason) => format!("rule {rule} was not asked about {}: {reason}", name_of(knock)),
    }
}

/// That no rule judged a packet.
pub(super) fn passed_over_text(knock: &Knock, reason: DropReason, in_force: &InForce) -> String {
    match reason {
        DropReason::NotWatched => {
            let guard = in_force.guarding(knock).map_or_else(String::new, |door| {
                format!("; door {door} guards it, and `postern doors {door}` says for whom it is open")
            });
            format!("{} arrived; no rule watches it{guard}", name_of(knock))
        }
        _ => format!("{} was left out: {reason}", name_of(knock)),
    }
}

fn name_of(knock: &Knock) -> String {
    format!("{}/{}", knock.transport, knock.destination_port)
}

/// As the settings of a sequence have it.
fn step_of(knock: &Knock) -> String {
    format!("{}/{}", knock.destination_port, knock.transport)
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
    use postern_core::{
        Destination, Detail, GuardProtocol, Interest, PortRange, TcpFlags, TenantId, Timestamp, Watch,
    };

    use super::*;
    use crate::sample_knock::sample_knock;

    #[test]
    fn what_a_rule_waits_for_is_said_as_far_as_it_is_known() {
        let sequence = RuleId { tenant: TenantId::host(), name: "ssh".into() };
        let gate = RuleId { tenant: TenantId::new("web"), name: "gate".into() };
        let many = RuleId { tenant: TenantId::host(), name: "many".into() };
        let gone = RuleId { tenant: TenantId::host(), name: "gone".into() };
        let ports: Vec<_> = (7000..7009).map(|port| format!("udp/{port}")).collect();
        let in_force = InForce::of_rules(&[
            (&sequence, &["udp/7000", "tcp/8000"], &["7000/udp", "8000/tcp"]),
            (&gate, &["udp/7001", "tcp/8000-8010"], &[]),
            (&many, &ports.iter().map(String::as_str).collect::<Vec<_>>(), &[]),
        ]);
        let stage = |rule, stage| stage_text(rule, stage, Duration::from_secs(5), &in_force);
        assert_eq!(stage(&sequence, 1), "step 1 was right; rule ssh waits for 8000/tcp, for 5s at most");
        assert_eq!(
            stage(&gate, 2),
            "rule web/gate has it at stage 2, for 5s at most; it watches udp/7001, tcp/8000-8010"
        );
        assert_eq!(
            stage(&many, 1),
            "rule many has it at stage 1, for 5s at most; it watches udp/7000, udp/7001, udp/7002, udp/7003, udp/7004, udp/7005 and 3 more"
        );
        assert_eq!(stage(&gone, 1), "rule gone has it at stage 1, for 5s at most");
        assert_eq!(
            timeout_text(&sequence, 1, &in_force),
            "8000/tcp, the next step, did not come in time after step 1: rule ssh lets it start over; `within` is 5s"
        );
        assert_eq!(
            timeout_text(&gate, 2, &in_force),
            "nothing more that counts came in time after stage 2: rule web/gate lets it start over; it watches udp/7001, tcp/8000-8010"
        );
    }

    #[test]
    fn what_no_rule_takes_notice_of_is_said_with_what_it_would_take() {
        let rule = |name: &str| RuleId { tenant: TenantId::host(), name: name.into() };
        let (sequence, gate) = (rule("ssh"), rule("gate"));
        let in_force = InForce::of_rules(&[
            (&sequence, &["udp/7000", "tcp/8000"], &["7000/udp", "8000/tcp"]),
            (&gate, &["udp/7001"], &[]),
        ])
        .with_guard(PortRange::single(GuardProtocol::Tcp, 22), "ssh");
        let packet = |transport, port| {
            let (set, clear) = (TcpFlags::default(), TcpFlags::default());
            let watch = Watch { transport, first_port: port, last_port: port, set, clear };
            let (destination, detail) = (Destination::ThisHost, Detail::default());
            let interest = Interest { watches: vec![watch], destination, detail, memory_format: 0 };
            sample_knock(&interest, 0, 0, Timestamp::default())
        };
        let ignored =
            |rule, transport, port| silent_text(rule, &packet(transport, port), Silence::Ignored, &in_force);
        assert_eq!(
            ignored(&sequence, Transport::Tcp, 8000),
            "rule ssh took no notice of tcp/8000; a knock at it begins with 7000/udp"
        );
        assert_eq!(
            ignored(&sequence, Transport::Udp, 7000),
            "rule ssh took no notice of udp/7000; it is the first step, so look at the settings family, tcp_flags, target and cooldown"
        );
        assert_eq!(ignored(&gate, Transport::Udp, 7001), "rule gate took no notice of udp/7001");
        let passed =
            |transport, port| passed_over_text(&packet(transport, port), DropReason::NotWatched, &in_force);
        assert_eq!(
            passed(Transport::Tcp, 22),
            "tcp/22 arrived; no rule watches it; door ssh guards it, and `postern doors ssh` says for whom it is open"
        );
        assert_eq!(passed(Transport::Udp, 22), "udp/22 arrived; no rule watches it");
    }

    #[test]
    fn times_are_as_exact_as_people_need_them() {
        let shown = |millis| shown(Duration::from_millis(millis));
        assert_eq!(
            [0, 40, 60, 1_230, 24_995, 90_400].map(shown),
            ["0s", "0s", "100ms", "1200ms", "25s", "90s"]
        );
    }
}

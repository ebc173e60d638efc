//! What people read of each answer, held by the files in `golden`, so that a change of the wording is seen in review. `UPDATE_EXPECT=1` writes them.

use std::fmt::Display;

use expect_test::{ExpectFile, expect_file};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use postern_protocol::{
    Changed, Drops, Event, HalfFinished, Health, Interface, InterfaceState, NewGeneration, Opening, Process,
    ProcessState, Refusal, RuleInfo, RuleState, Status, TenantRefusal,
};

use super::{clients, doors, events, reload, rules, status};
use crate::control::{gone, refused};
use crate::exit::CommandFailure;

/// What a tenant or a client may have chosen to be called.
const BAD: &str = "a\u{1b}[2J\nb\u{202e}c";
const HOUR: u64 = 3_600_000;
/// 2026-03-05, 03:12:41.020 UTC.
const NOW: u64 = 1_772_680_361_020;

/// As a terminal gets it.
#[track_caller]
fn check(lines: impl IntoIterator<Item = impl Display>, expected: ExpectFile) {
    let lines: Vec<_> = lines.into_iter().map(|line| postern_text::line(line).to_string()).collect();
    assert!(lines.iter().all(|line| !line.ends_with(' ')), "{lines:#?}");
    expected.assert_eq(&lines.iter().map(|line| format!("{line}\n")).collect::<String>());
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn process(name: &str, held: &str) -> Process {
    let state = ProcessState::Running;
    Process { name: name.to_owned(), state, restarts: 0, held: held.to_owned(), missing: Vec::new() }
}

fn interface(name: &str, why: &str) -> Interface {
    let state = if why.is_empty() { InterfaceState::Listening } else { InterfaceState::Waiting };
    Interface { name: name.to_owned(), direction: "incoming".to_owned(), state, why: why.to_owned() }
}

fn drops(reason: &str, last_minute: u64, total: u64) -> Drops {
    Drops { reason: reason.to_owned(), last_minute, total }
}

fn well() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        started_ms: NOW - 74 * HOUR,
        uptime_ms: 74 * HOUR,
        generation: 7,
        processes: vec![
            process(
                "engine",
                "user 995, no capabilities, no new privileges, Landlock, seccomp, limits, not dumpable",
            ),
            process("doorman", "user 995, CAP_NET_ADMIN, no new privileges, Landlock, seccomp, not dumpable"),
            process("runner", ""),
        ],
        interfaces: vec![interface("eth0", ""), interface("wg0", "")],
        rules: 12,
        open: 1,
        drops: vec![drops("not-watched", 0, 3), drops("ignored", 12, 40_211)],
        ..Status::default()
    }
}

fn degraded(reasons: &[&str]) -> Status {
    Status { health: Health::Degraded, reasons: texts(reasons), ..well() }
}

#[test]
fn status_of_a_daemon_that_is_well() {
    check(status::screen(&well()), expect_file!["golden/status-ok.txt"]);
    let fresh = Status { uptime_ms: 900, generation: 1, rules: 1, open: 0, drops: Vec::new(), ..well() };
    check(status::screen(&fresh), expect_file!["golden/status-fresh.txt"]);
}

#[test]
fn status_of_a_daemon_with_everything_wrong() {
    let mistakes =
        ["/etc/postern/tenants/web/gate.toml:3: door: postern.toml has no door `shh`; there are ssh"];
    let mut status = degraded(&[
        "the journal cannot be written; command doors open for nobody meanwhile: No space left on device",
        "nobody can knock on eth1: No such device",
        "rule web/gate rests after a fault",
        "tenant web: what its files say now has 1 mistake and is not in force",
        "the doorman is being started again",
        "engine: Landlock: this kernel has none",
    ]);
    status.interfaces.push(interface("eth1", "No such device"));
    status.processes[1].state = ProcessState::Restarting;
    status.processes[1].held.clear();
    status.processes[0].restarts = 1;
    status.processes[2].restarts = 4;
    status.trial = 2;
    status.resting = texts(&["web/gate"]);
    status.refused = vec![TenantRefusal { tenant: "web".to_owned(), mistakes: texts(&mistakes) }];
    check(status::screen(&status), expect_file!["golden/status-degraded.txt"]);
}

#[test]
fn status_of_much_is_still_a_screen() {
    let reasons: Vec<_> = (0..300).map(|n| format!("rule web/r{n:03} rests after a fault")).collect();
    let mistakes = (0..101).map(|n| format!("rules/r{n}.toml:1: door: there is no door `{n}`")).collect();
    let mut status = Status { health: Health::Degraded, reasons, ..well() };
    status.interfaces = (0..40).map(|n| interface(&format!("vlan{n}"), "")).collect();
    status.interfaces.push(interface("vlan99", "No such device"));
    status.refused = vec![TenantRefusal { tenant: "host".to_owned(), mistakes }];
    status.drops = (1..30).map(|n| drops(&format!("reason-{n}"), n, 1000 * n)).collect();
    let screen = status::screen(&status);
    assert!(screen.len() < 70, "{}", screen.len());
    check(screen, expect_file!["golden/status-much.txt"]);
}

#[test]
fn status_of_a_run_that_is_tried() {
    let tried = Status { trial_left_ms: Some(242_000), ..well() };
    check(status::screen(&tried), expect_file!["golden/status-tried.txt"]);
}

#[test]
fn status_as_a_tenant_sees_it() {
    // Neither processes nor what came to nothing.
    let seen = Status { processes: Vec::new(), drops: Vec::new(), rules: 2, trial: 2, ..well() };
    check(status::screen(&seen), expect_file!["golden/status-tenant.txt"]);
}

#[test]
fn status_with_names_that_others_chose() {
    let mut bad = degraded(&[BAD]);
    bad.interfaces = vec![interface(BAD, BAD), interface("eth0", "")];
    bad.processes = vec![process("engine", BAD)];
    bad.refused = vec![TenantRefusal { tenant: BAD.to_owned(), mistakes: texts(&[BAD]) }];
    check(status::screen(&bad), expect_file!["golden/status-bad-names.txt"]);
}

fn opening(door: &str, client: &str) -> Opening {
    Opening {
        door: door.to_owned(),
        kind: "guard".to_owned(),
        client: client.to_owned(),
        state: "open".to_owned(),
        tenant: Some("host".to_owned()),
        rule: Some("ssh".to_owned()),
        module: Some("5f8a1c9b2d3e".repeat(6)[..64].to_owned()),
        since_ms: Some(4200),
        left_ms: 595_800,
        packets: Some(1024),
    }
}

#[test]
fn doors() {
    check(doors::text(&[]), expect_file!["golden/doors-empty.txt"]);
    let found = Opening {
        tenant: None,
        rule: None,
        module: None,
        since_ms: None,
        left_ms: 61_000,
        packets: None,
        ..opening("ssh", "2001:db8::/64")
    };
    let of_tenant = |state: &str| Opening {
        tenant: Some("web".to_owned()),
        rule: Some("gate".to_owned()),
        state: state.to_owned(),
        ..opening("shop", "fe80::1%eth0")
    };
    let all = [
        opening("ssh", "192.0.2.7"),
        found,
        of_tenant("opening"),
        of_tenant("closing"),
        Opening { rule: Some(BAD.to_owned()), ..opening(BAD, "198.51.100.1") },
    ];
    let lines = doors::text(&all).into_iter().chain(doors::left_out_text(0)).chain(doors::left_out_text(3));
    check(lines, expect_file!["golden/doors.txt"]);
    let changed = |left_ms| Changed { door: "ssh".to_owned(), client: "192.0.2.7".to_owned(), left_ms };
    let lines = [1_799_990, 0].map(|left_ms| doors::changed_text(&changed(left_ms)));
    check(lines, expect_file!["golden/by-hand.txt"]);
}

fn rule(rule: &str, state: RuleState, why: &str) -> RuleInfo {
    RuleInfo {
        tenant: "host".to_owned(),
        rule: rule.to_owned(),
        state,
        why: why.to_owned(),
        module: String::new(),
        watches: texts(&["udp/7000", "tcp/8000", "udp/9000"]),
        doors: texts(&["ssh"]),
    }
}

#[test]
fn rules() {
    check(rules::text(&[]), expect_file!["golden/rules-empty.txt"]);
    let well = [rule("ssh", RuleState::Running, ""), rule("web-admin", RuleState::Running, "")];
    check(rules::text(&well), expect_file!["golden/rules-ok.txt"]);
    let resting = "it rests for 12s more: the module trapped: unreachable";
    let watches = (7000..7300).map(|port| format!("udp/{port}")).collect();
    let all = [
        RuleInfo { watches, ..rule("scan", RuleState::Running, "") },
        rule("new", RuleState::Trial, "it is on trial, and opens nothing"),
        RuleInfo { tenant: "web".to_owned(), ..rule("gate", RuleState::Resting, resting) },
        rule("old", RuleState::Withdrawn, "its file is gone; it opens nothing"),
        RuleInfo { doors: Vec::new(), ..rule("ports", RuleState::Running, "it failed 7s ago: it loops") },
        RuleInfo { tenant: BAD.to_owned(), doors: texts(&[BAD]), ..rule(BAD, RuleState::Resting, BAD) },
    ];
    check(rules::text(&all), expect_file!["golden/rules.txt"]);
}

#[test]
fn clients() {
    let empty = [None, Some("192.0.2.7".parse().unwrap())].map(|address| clients::text(&[], address));
    check(empty.concat(), expect_file!["golden/clients-empty.txt"]);
    let client = |client: &str, rule: &str, stage, since_ms, left_ms| HalfFinished {
        tenant: "host".to_owned(),
        rule: rule.to_owned(),
        client: client.to_owned(),
        stage,
        since_ms,
        left_ms,
    };
    let all = [
        client("192.0.2.7", "ssh", 1, 1200, 3800),
        client("2001:db8::17", "web-admin", 12, 65_000, 535_000),
        client("198.51.100.1", BAD, 2, 0, 999),
    ];
    check(clients::text(&all, None), expect_file!["golden/clients.txt"]);
}

fn event(before: u64, kind: &str, text: &str) -> Event {
    Event { time_ms: NOW - before, kind: kind.to_owned(), text: text.to_owned(), ..Event::default() }
}

#[test]
fn events() {
    let now = Timestamp::from_millisecond(i64::try_from(NOW).unwrap()).unwrap();
    let now = now.to_zoned(TimeZone::fixed(jiff::tz::offset(1)));
    let all = [
        event(26 * HOUR, "stage", "step 1 was right; rule ssh waits for 2222/udp, for 5s at most"),
        event(7290, "stage", "step 1 was right; rule ssh waits for 2222/udp, for 5s at most"),
        event(
            0,
            "timeout",
            "2222/udp, the next step, did not come in time after step 1: rule ssh lets it start over; `within` is 5s",
        ),
        event(0, "not-watched", "udp/4444 arrived; no rule watches it"),
        event(0, "reload-refused", "1 mistake; the running configuration (generation 3) is unchanged"),
        event(0, BAD, BAD),
        Event { time_ms: u64::MAX, ..event(0, "open", "at no time") },
    ];
    let lines = all.iter().map(|event| events::text(event, &now));
    let about = [events::left_out_text(17), events::unknown_text("192.0.2.7".parse().unwrap())];
    check(lines.chain(about), expect_file!["golden/events.txt"]);
}

#[test]
fn reloads_and_confirmations() {
    let of_web = TenantRefusal {
        tenant: "web".to_owned(),
        mistakes: texts(&["/srv/web/gate.toml:3: door: there is no door `shh`", BAD]),
    };
    let new = |rules, refused, warnings| NewGeneration { generation: 8, rules, refused, warnings };
    let next_start =
        "/etc/postern/postern.toml:9: control.socket: this change takes effect at the next start of posternd";
    let mut lines = reload::text(&new(12, Vec::new(), Vec::new()));
    lines.extend(reload::text(&new(1, vec![of_web], texts(&[next_start]))));
    lines.extend([reload::UNDER_WAY, reload::CONFIRMED].map(str::to_owned));
    check(lines, expect_file!["golden/reload.txt"]);
}

#[test]
fn refusals_and_what_programs_hear_of_them() {
    let text = |text: &str| text.to_owned();
    let mistakes = |count| Refusal::Mistakes { generation: 7, mistakes: vec![text("a mistake"); count] };
    let refusals = [
        Refusal::NotAllowed { uid: 1000, what: text("anything"), remedy: text("root may") },
        Refusal::NotFound { kind: text("door"), name: text(BAD), there_are: text("there are ssh, web") },
        Refusal::NotDone { why: text("ssh is not opened: the doorman does not answer") },
        mistakes(1),
        mistakes(2),
        Refusal::Busy { why: text("16 listen already; try again when one of them has gone") },
        Refusal::InterfaceNotFound { interface: text("org.postern.other") },
        Refusal::MethodNotFound { method: text("org.postern.control.Dance") },
        Refusal::InvalidParameter { parameter: text("from: `home` is no address") },
        Refusal::ExpectedMore {},
        Refusal::Other { name: text("org.postern.control.Later"), parameters: serde_json::json!({"a": 1}) },
    ];
    let failures = refusals.into_iter().map(refused).chain([gone()]);
    let lines = failures.flat_map(|failure: CommandFailure| {
        let exit = failure.exit.number();
        failure.lines().into_iter().map(move |line| format!("exit {exit}: {line}"))
    });
    check(lines, expect_file!["golden/refusals.txt"]);
}

//! What is written about each thing that happens, and what never gets into a line.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use postern_core::{Client, Direction, PacketCounts, RuleId, RuleLogLevel, What, Why};
use postern_tests::Random;
use postern_text::clean::is_fit;
use tracing_subscriber::layer::SubscriberExt;

use super::line::{Line, Value};
use super::*;

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::new(name)
}

/// The line that is written about a report.
fn line(report: &Report<'_>) -> Line {
    let counters = Counters::default();
    counters.count(None, DropReason::NotIp, 3);
    lines::line(report, &Context { suppressed: Some(0), unsaid: 0, counters: &counters }, 2)
}

fn ssh() -> RuleId {
    RuleId { tenant: tenant("acme"), name: "a \"b\"".into() }
}

fn client() -> Client {
    "192.0.2.7".parse().unwrap()
}

#[test]
fn a_line_looks_as_it_should() {
    let rule = ssh();
    let module = std::array::from_fn(|n| u8::try_from(n).unwrap());
    let opened = What::Opened { lasts: Duration::from_millis(30_002), module: Some(module) };
    let report = Report { door: Some("ssh".into()), ..Report::of_rule(&rule, opened).with_client(client()) };
    let text = line(&report).render(Format::Text, false);
    let (_, text) = text.split_once(' ').unwrap();
    assert_eq!(
        text,
        " INFO ssh is open for 192.0.2.7 for 30s event=\"open\" tenant=acme rule=\"a \\\"b\\\"\" door=\"ssh\" src=192.0.2.7 lasts_s=30.002 module=0001020304050607\n"
    );
    let json = line(&report).render(Format::Json, true);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let expected = serde_json::json!({
        "timestamp": json["timestamp"],
        "level": "INFO",
        "message": "ssh is open for 192.0.2.7 for 30s",
        "event": "open",
        "tenant": "acme",
        "rule": "a \"b\"",
        "door": "ssh",
        "src": "192.0.2.7",
        "lasts_s": 30.002,
        "module": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "suppressed": 0,
    });
    assert_eq!(json, expected);
    assert!(json["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{json}");
}

#[test]
fn people_read_nothing_twice_and_programs_everything() {
    let rule = ssh();
    let told = |what| {
        let line = line(&Report::of_rule(&rule, what).with_client(client()));
        let json = serde_json::Value::Object(line.json(String::new()));
        (line.render(Format::Text, false), json)
    };
    let fault = || What::Fault { detail: "it loops for ever".into(), module: [0; 32], pause: Duration::ZERO };
    let (text, json) = told(fault());
    assert!(!text.contains("detail=") && text.ends_with("module=0000000000000000\n"), "{text}");
    assert_eq!(json["detail"], "it loops for ever");
    // One word may stand in others by chance, as `removed` does here.
    let (text, _) = told(What::Closed { why: Why::Removed });
    assert!(text.ends_with("src=192.0.2.7 reason=\"removed\"\n"), "{text}");
    // Where the words are cut short, the field is all that is left of it.
    let long = format!("{} and so on", "x ".repeat(4_000));
    let (text, _) = told(What::Refused { reason: DropReason::DoorNotGranted, detail: long.into() });
    assert!(text.contains("detail=\"x x "), "{text}");
}

#[test]
fn what_a_user_closes_no_rule_has_closed() {
    let words = |rule: &RuleId| {
        let report =
            Report { door: Some("ssh".into()), ..Report::of_rule(rule, What::Closed { why: Why::Asked }) };
        line(&report.with_client(client())).words
    };
    assert_eq!(words(&RuleId::by_hand()), "ssh is closed for 192.0.2.7, by hand");
    assert_eq!(words(&ssh()), "ssh is closed for 192.0.2.7: a rule said so");
}

#[test]
fn an_opening_that_was_found_open_has_a_rule_all_the_same() {
    let report = Report::of_door("ssh", What::Closed { why: Why::Removed }).with_client(client());
    let Line { words, fields, .. } = line(&report);
    assert_eq!(words, "ssh is closed for 192.0.2.7: somebody else removed it");
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(
        fields,
        [
            ("event", text("close")),
            ("tenant", text("")),
            ("rule", text("-")),
            ("door", text("ssh")),
            ("src", Value::Plain("192.0.2.7".to_owned())),
            ("reason", text("removed")),
            ("suppressed", Value::Unsigned(0)),
        ]
    );
}

#[test]
fn what_a_rule_writes_is_cut() {
    let (rule, text) = (ssh(), "x".repeat(10_000));
    let says = What::Says { severity: Severity::Warn, level: RuleLogLevel::OfDaemon, text: text.into() };
    let Line { level, words, .. } = line(&Report::of_rule(&rule, says));
    assert!(
        level == "WARN" && words.starts_with("acme/a \"b\": xxx") && words.chars().count() < 420,
        "{words}"
    );
}

#[test]
fn the_last_line_says_what_came_to_nothing() {
    let packets = Some(PacketCounts { received: 7, lost: 1 });
    let Line { words, fields, .. } = line(&Report::new(What::Stopped { packets, open: 2 }));
    assert_eq!(
        words,
        "stopped; 7 packets captured, 1 lost; 2 doors stay open for their time; came to nothing: not-ip 3, log-line 2"
    );
    assert!(fields.contains(&("drops", Value::Text("not-ip 3, log-line 2".to_owned()))), "{fields:?}");
    assert!(fields.contains(&("dropped", Value::Counts(vec![("not-ip", 3), ("log-line", 2)]))), "{fields:?}");
}

#[test]
fn what_is_not_opened_is_named_and_why() {
    let rule = ssh();
    let words = |door: Option<&'static str>, what| {
        line(&Report { door: door.map(Cow::Borrowed), ..Report::of_rule(&rule, what).with_client(client()) })
            .words
    };
    let refused = || What::Refused { reason: DropReason::DoorNotGranted, detail: "why".into() };
    assert_eq!(words(Some("web"), refused()), "web is not opened for 192.0.2.7: why");
    assert_eq!(words(None, refused()), "no door is opened for 192.0.2.7: why");
    let level = RuleLogLevel::OfDaemon;
    let forgot = |reason: &'static str| words(None, What::Forgot { reason: reason.into(), level });
    assert_eq!(forgot("step 2"), "acme/a \"b\": 192.0.2.7 starts over: step 2");
    assert_eq!(forgot(" "), "acme/a \"b\": 192.0.2.7 starts over; the rule does not say why");
    let lost = |without: Option<&'static str>| What::DoorLost { without: without.map(Cow::Borrowed) };
    let start =
        "acme/a \"b\" goes on as it was, but it cannot open ssh any more: postern.toml does not grant";
    assert_eq!(words(Some("ssh"), lost(None)), format!("{start} it"));
    assert_eq!(
        words(Some("ssh"), lost(Some("web"))),
        format!("{start} its first door, web, and without that one it opens none")
    );
}

/// The line of the stop as a program reads it, after these drops.
fn stopped(drops: &[(Option<&str>, u64)], packets: Option<PacketCounts>) -> serde_json::Value {
    let counters = Counters::default();
    for (name, count) in drops {
        counters.count(name.map(tenant).as_ref(), DropReason::Fault, *count);
    }
    let context = Context { suppressed: None, unsaid: 0, counters: &counters };
    let line = lines::line(&Report::new(What::Stopped { packets, open: 2 }), &context, 0);
    serde_json::from_str(&line.render(Format::Json, false)).unwrap()
}

#[test]
fn packets_that_nobody_counted_are_not_said_to_be_none() {
    let known = stopped(&[], Some(PacketCounts { received: 0, lost: 0 }));
    assert_eq!((known["received"].as_u64(), known["lost"].as_u64()), (Some(0), Some(0)));
    let unknown = stopped(&[], None);
    assert!(unknown.get("received").is_none() && unknown.get("lost").is_none(), "{unknown}");
    assert_eq!(unknown["open"], 2);
}

#[test]
fn what_came_to_nothing_is_told_for_each_tenant_if_there_are_any_besides_the_host() {
    let host = Some(TenantId::HOST);
    let alone = stopped(&[(None, 1), (host, 2)], None);
    assert_eq!(alone["dropped"], serde_json::json!({ "fault": 3 }));
    assert!(alone.get("dropped_by_tenant").is_none(), "{alone}");
    let several = stopped(&[(None, 1), (host, 2), (Some("a\n"), 4)], None);
    assert_eq!(several["dropped"], serde_json::json!({ "fault": 7 }));
    let by_tenant = serde_json::json!({ "host": { "fault": 2 }, r"a\n": { "fault": 4 } });
    assert_eq!(several["dropped_by_tenant"], by_tenant);
}

/// Of each kind whose texts may come from outside.
fn with_text(text: &str) -> Vec<What<'_>> {
    let text = Cow::Borrowed(text);
    let path = || Cow::Borrowed(Path::new(&*text));
    vec![
        What::Forgot { reason: text.clone(), level: RuleLogLevel::OfDaemon },
        What::Fault { detail: text.clone(), pause: Duration::ZERO, module: [0; 32] },
        What::Says { severity: Severity::Warn, level: RuleLogLevel::OfDaemon, text: text.clone() },
        What::Refused { reason: DropReason::DoorFailed, detail: text.clone() },
        What::StuckOpen { detail: text.clone(), again_in: None },
        What::CommandRuns { line: text.clone() },
        What::CommandNotStarted { error: text.clone() },
        What::NotListening { interface: text.clone(), reason: text.clone(), direction: Direction::Incoming },
        What::NotWatched { folder: Some(path().into_owned().into()), error: text.clone() },
        What::Mistake { detail: text.clone() },
        What::TenantRefused { rules: 1, mistakes: 1, detail: text.clone() },
        What::StartRefused { mistakes: 1, detail: text.clone(), guards: Some(text.clone()) },
        What::Advice { text: text.clone() },
    ]
}

#[test]
fn nothing_that_stands_in_a_report_makes_a_line_or_moves_a_cursor() {
    let mut random = Random::new(20_261_126);
    for _ in 0..200 {
        let hostile = hostile(&mut random);
        let rule = RuleId { tenant: tenant(&hostile), name: hostile.as_str().into() };
        for what in with_text(&hostile) {
            let report = Report { door: Some(hostile.as_str().into()), ..Report::of_rule(&rule, what) };
            check(&line(&report.with_client(client())), &hostile);
        }
    }
}

#[test]
fn nothing_that_the_crates_of_others_say_does_so_either() {
    let mut random = Random::new(20_261_127);
    for _ in 0..200 {
        let hostile = hostile(&mut random);
        let heard = Mutex::new(Vec::new());
        // For the time of the test; a layer must be able to live for ever.
        let heard: &'static Mutex<Vec<Line>> = Box::leak(Box::new(heard));
        let layer = Foreign(|line: &Line| heard.lock().unwrap().push(line.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let (text, shown, error) = (&*hostile, &hostile, std::io::Error::other(hostile.clone()));
            let (inside, dynamic): (_, &(dyn std::error::Error + 'static)) = (&hostile, &error);
            tracing::warn!(text, %shown, ?inside, %error, dynamic, number = 7, "{shown}: {shown}");
        });
        let heard = heard.lock().unwrap();
        let [line] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((line.level, &*line.words), ("WARN", &*format!("{hostile}: {hostile}")));
        assert!(line.fields.contains(&("number", Value::Signed(7))), "{line:?}");
        check(line, &hostile);
    }
}

/// What a program makes of a line for people: its fields by name, which stand behind the words. A backslash outside of quotes may be one of an
/// escape, or mean itself.
fn fields_of(line: &str, may_escape: bool) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut characters = line.chars();
    // One word after the other; a quote begins what ends with another, wherever it stands.
    let (mut word, mut name, mut is_quoted) = (String::new(), None, false);
    loop {
        match characters.next() {
            Some('\\') if is_quoted || may_escape => word.extend(characters.next()),
            Some('"') => is_quoted = !is_quoted,
            Some('=') if !is_quoted && name.is_none() && !word.is_empty() => {
                name = Some(std::mem::take(&mut word))
            }
            Some(' ') | None if !is_quoted => {
                let value = std::mem::take(&mut word);
                fields.extend(name.take().map(|name| (name, value)));
                if characters.as_str().is_empty() {
                    return fields;
                }
            }
            Some(c) => word.push(c),
            None => panic!("a quote does not end: {line}"),
        }
    }
}

/// No text in a line passes for a field: neither for a program, nor for who looks for one.
fn check_fields(line: &Line) {
    let text = line.render(Format::Text, false);
    let text = text.strip_suffix('\n').unwrap();
    let json: serde_json::Value = serde_json::from_str(&line.render(Format::Json, false)).unwrap();
    let are_shown = |value: &Value| !matches!(value, Value::Counts(_) | Value::CountsByTenant(_));
    let names: Vec<_> = line
        .fields
        .iter()
        .filter(|(name, value)| are_shown(value) && !line.says(name, value))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let look_so = text.match_indices('=').filter(|(at, _)| !text[..*at].ends_with(' '));
    assert_eq!(look_so.count(), names.len(), "{text}");
    for may_escape in [false, true] {
        let fields = fields_of(text, may_escape);
        assert_eq!(fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), names, "{text}");
        for (name, value) in fields {
            // Without what stands for `=`: that is as JSON has it.
            let Some(expected) = json[&name].as_str().filter(|_| name != "module") else { continue };
            let value = value.replace("u{3d}", "=");
            let is_it = value.strip_suffix("...").map_or(value == expected, |cut| expected.starts_with(cut));
            assert!(is_it, "{name} in {text}");
        }
    }
}

fn check(line: &Line, hostile: &str) {
    check_fields(line);
    for format in [Format::Text, Format::Json] {
        let line = line.render(format, false);
        let line = line.strip_suffix('\n').unwrap();
        assert!(line.chars().all(is_fit), "{hostile:?} in {line}");
        assert!(line.chars().count() < 60_000, "{} characters", line.chars().count());
    }
}

/// Of everything that is somewhere not taken as it is.
fn hostile(random: &mut Random) -> String {
    let pieces = [
        "\n",
        "\r",
        "\t",
        "\0",
        "\u{1b}[31m",
        "\u{1b}]0;x\u{7}",
        "\u{7f}",
        "\u{85}",
        "\u{9b}2J",
        "\u{2028}",
        "\u{2029}",
        "\u{202e}",
        "\u{2066}",
        "\u{200e}",
        "\u{200b}",
        "\u{feff}",
        "\u{e0041}",
        "\"",
        "\\",
        "\\n",
        "{}",
        "=",
        " ",
        " event=\"open\"",
        " src=192.0.2.1",
        "\u{a0}tenant=x ",
        "ä",
        "name",
    ];
    let most = if random.below(20) == 0 { 5000 } else { 20 };
    let count = random.below(most);
    (0..count).map(|_| pieces[random.below(pieces.len())]).collect()
}

/// Keeps what is written.
#[derive(Default)]
struct Kept(Mutex<Vec<&'static str>>);

impl Log for Kept {
    fn write(&self, report: &Report<'_>, _: &Context<'_>) {
        self.0.lock().unwrap().push(report.what.name());
    }
}

#[test]
fn what_is_not_severe_enough_is_counted_and_not_written() {
    let observers = Observers::new(Kept::default(), Some(Severity::Error));
    let rule = ssh();
    let refused = |reason| Report::of_rule(&rule, What::Refused { reason, detail: "".into() });
    observers.report(&refused(DropReason::OpeningsFull));
    observers.report(&Report::of_rule(
        &rule,
        What::Fault { detail: "".into(), pause: Duration::ZERO, module: [0; 32] },
    ));
    observers.count_drops(None, DropReason::NotIp, 5);
    assert_eq!(*observers.log.0.lock().unwrap(), ["fault"]);
    let totals: Vec<_> = observers.counters.totals().collect();
    assert_eq!(totals, [("not-ip", 5), ("fault", 1), ("openings-full", 1)]);
    let silent = Observers::new(Kept::default(), None);
    silent.report(&Report::new(What::Untidy { doors: 1 }));
    assert!(silent.log.0.lock().unwrap().is_empty());
}

#[test]
fn what_a_rule_writes_is_written_by_its_own_level_and_bounded_all_the_same() {
    let rule = ssh();
    let says = |level, severity| Report::of_rule(&rule, What::Says { severity, level, text: "x".into() });
    let written = |least, level, severity, times| {
        let observers = Observers::new(Kept::default(), least);
        (0..times).for_each(|_| observers.report(&says(level, severity)));
        let kept = observers.log.0.lock().unwrap().len();
        // A role has its lines written by the supervisor.
        let relayed = Observers::new(Kept::default(), least);
        let told = serde_json::json!({ "Report": {
            "report": says(level, severity), "suppressed": null, "unsaid": 0, "drops": [],
        } });
        assert!(!relayed.relay(told.to_string().as_bytes()));
        assert_eq!(relayed.log.0.lock().unwrap().len(), kept.min(1));
        kept
    };
    let debug = RuleLogLevel::AtLeast(Severity::Debug);
    assert_eq!(written(Some(Severity::Info), RuleLogLevel::OfDaemon, Severity::Debug, 1), 0);
    assert_eq!(written(Some(Severity::Info), debug, Severity::Debug, 1), 1);
    assert_eq!(written(Some(Severity::Info), debug, Severity::Debug, 100), 20, "as many as ever at once");
    let error = RuleLogLevel::AtLeast(Severity::Error);
    assert_eq!(written(Some(Severity::Debug), error, Severity::Warn, 1), 0);
    assert_eq!(written(Some(Severity::Debug), error, Severity::Error, 1), 1);
    assert_eq!(written(Some(Severity::Debug), RuleLogLevel::Off, Severity::Error, 1), 0);
    assert_eq!(written(None, debug, Severity::Error, 1), 0, "where nothing is written");
    // Why a client starts over is the rule's words as well, in detail.
    let forgot = |least, level| {
        let observers = Observers::new(Kept::default(), Some(least));
        observers.report(&Report::of_rule(&rule, What::Forgot { reason: "x".into(), level }));
        observers.log.0.lock().unwrap().len()
    };
    assert_eq!([forgot(Severity::Info, debug), forgot(Severity::Debug, error)], [1, 0]);
    assert_eq!([Severity::Info, Severity::Debug].map(|least| forgot(least, RuleLogLevel::OfDaemon)), [0, 1]);
}

//! The same packets through the same rule in every language, as its build script makes it: the same verdicts.

pub(crate) mod compiled;

use std::fmt::Write as _;

use knock::TwoKnocks;
use postern_sdk::Rule;
use postern_sdk::testing::{Rehearsal, rehearse};
use postern_tests::{Random, examples};

use self::compiled::{Compiled, Stage};

/// Settings, knocks, and what every example says.
const SCENARIOS: [(&str, &str, &str); 11] = [
    (
        "both knocks open, and what was remembered is used up",
        "+0.0s 203.0.113.7 udp/7000
         +0.4s 203.0.113.7 tcp/7001
         +0.5s 203.0.113.7 tcp/7001",
        "+0.0s 203.0.113.7 remember 1 until +5.0s
         +0.4s 203.0.113.7 open
         +0.5s 203.0.113.7 ignore",
    ),
    (
        "just within five seconds",
        "+1.0s 203.0.113.7 udp/7000
         +5.999999s 203.0.113.7 tcp/7001",
        "+1.0s 203.0.113.7 remember 1 until +6.0s
         +5.999999s 203.0.113.7 open",
    ),
    (
        "five seconds are too long",
        "+1.0s 203.0.113.7 udp/7000
         +6.0s 203.0.113.7 tcp/7001
         +7.0s 203.0.113.8 udp/7000
         +12.000001s 203.0.113.8 tcp/7001
         +3600.0s 203.0.113.8 tcp/7001",
        "+1.0s 203.0.113.7 remember 1 until +6.0s
         +6.0s 203.0.113.7 ignore
         +7.0s 203.0.113.8 remember 1 until +12.0s
         +12.000001s 203.0.113.8 ignore
         +3600.0s 203.0.113.8 ignore",
    ),
    (
        "the first knock again starts the time again",
        "+0.0s 203.0.113.7 udp/7000
         +4.0s 203.0.113.7 udp/7000
         +8.0s 203.0.113.7 tcp/7001",
        "+0.0s 203.0.113.7 remember 1 until +5.0s
         +4.0s 203.0.113.7 remember 1 until +9.0s
         +8.0s 203.0.113.7 open",
    ),
    (
        "interleaved sources",
        "+0.0s 203.0.113.7 udp/7000
         +0.1s 203.0.113.8 tcp/7001
         +0.2s 203.0.113.8 udp/7000
         +0.3s 203.0.113.7 tcp/7001
         +0.4s 203.0.113.9 tcp/7001
         +0.5s 203.0.113.8 tcp/7001",
        "+0.0s 203.0.113.7 remember 1 until +5.0s
         +0.1s 203.0.113.8 ignore
         +0.2s 203.0.113.8 remember 1 until +5.2s
         +0.3s 203.0.113.7 open
         +0.4s 203.0.113.9 ignore
         +0.5s 203.0.113.8 open",
    ),
    (
        "neighbours that differ in the lowest bit of IPv6",
        "+0.0s fd00::211:22ff:fe33:4454 udp/7000
         +0.1s fd00::211:22ff:fe33:4455 tcp/7001
         +0.2s fd00::211:22ff:fe33:4454 tcp/7001",
        "+0.0s fd00::211:22ff:fe33:4454 remember 1 until +5.0s
         +0.1s fd00::211:22ff:fe33:4455 ignore
         +0.2s fd00::211:22ff:fe33:4454 open",
    ),
    (
        "an IPv4 address, its IPv4-mapped and its IPv4-compatible one",
        "+0.0s 203.0.113.7 udp/7000
         +0.1s ::ffff:203.0.113.7 tcp/7001
         +0.2s ::cb00:7107 tcp/7001
         +0.3s cb00:7107:: tcp/7001
         +0.4s 203.0.113.7 tcp/7001",
        "+0.0s 203.0.113.7 remember 1 until +5.0s
         +0.1s ::ffff:203.0.113.7 ignore
         +0.2s ::cb00:7107 ignore
         +0.3s cb00:7107:: ignore
         +0.4s 203.0.113.7 open",
    ),
    (
        "flags, transports and ports that are others",
        "+0.0s 203.0.113.7 tcp/7000
         +0.1s 203.0.113.7 udp/7000
         +0.2s 203.0.113.7 tcp/7001 flags=syn,ack
         +0.2s 203.0.113.7 tcp/7001 flags=ack
         +0.2s 203.0.113.7 tcp/7001 flags=
         +0.2s 203.0.113.7 udp/7001
         +0.2s 203.0.113.7 tcp/7002
         +0.3s 203.0.113.7 tcp/7001 flags=syn,ece,cwr",
        "+0.0s 203.0.113.7 not shown
         +0.1s 203.0.113.7 remember 1 until +5.1s
         +0.2s 203.0.113.7 not shown
         +0.2s 203.0.113.7 not shown
         +0.2s 203.0.113.7 not shown
         +0.2s 203.0.113.7 not shown
         +0.2s 203.0.113.7 not shown
         +0.3s 203.0.113.7 open",
    ),
    (
        "a clock that steps back",
        "+9.0s 203.0.113.7 udp/7000
         +2.0s 203.0.113.7 tcp/7001",
        "+9.0s 203.0.113.7 remember 1 until +14.0s
         +2.0s 203.0.113.7 open",
    ),
    (
        "two zones are two clients",
        "+0.0s fe80::7%2 udp/7000
         +0.1s fe80::7%3 tcp/7001
         +0.2s fe80::7%2 tcp/7001",
        "+0.0s fe80::7%2 remember 1 until +5.0s
         +0.1s fe80::7%3 ignore
         +0.2s fe80::7%2 open",
    ),
    (
        "other packets of a client",
        "+0.0s 203.0.113.7 udp/7000 from=1 hops=1 length=1500 interface=9
         +0.1s 203.0.113.7 udp/7000 to=192.0.2.2
         +0.2s 203.0.113.7 tcp/7001 sequence=4294967295 options=0x020405b4 from=65535",
        "+0.0s 203.0.113.7 remember 1 until +5.0s
         +0.1s 203.0.113.7 not shown
         +0.2s 203.0.113.7 open",
    ),
];

/// What `within` may not be.
const WRONG: [&str; 11] = [
    "5",
    "true",
    r#""""#,
    r#""s""#,
    r#""5""#,
    r#""0s""#,
    r#""3601s""#,
    r#""5m""#,
    r#""soon""#,
    r#""99999999999999999999s""#,
    r#"{"within":"5s"}"#,
];

#[test]
fn in_web_assembly_text() {
    check("wat");
}

#[test]
fn in_c() {
    check("c");
}

#[test]
fn in_cpp() {
    check("cpp");
}

#[test]
fn in_zig() {
    check("zig");
}

#[test]
fn in_rust() {
    check("rust");
}

#[test]
fn in_go() {
    check("go");
}

#[test]
fn in_assembly_script() {
    check("assemblyscript");
}

#[test]
fn in_javascript() {
    check("javascript");
}

#[test]
fn in_typescript() {
    check("typescript");
}

#[test]
fn in_python() {
    check("python");
}

#[test]
fn natively() {
    plays_all_scenarios::<TwoKnocks>();
}

fn check(language: &str) {
    let Some(module) = examples::module(language) else { return };
    let stage = Stage::compile(&module);
    // An instance for all knocks, and one for each: a rule is a pure function.
    stage.perform(false, plays_all_scenarios::<Compiled>);
    stage.perform(true, plays_all_scenarios::<Compiled>);
    stage.logged();
    stage.perform(false, || rehearse::<Compiled>("{}", SCENARIOS[0].1));
    assert_eq!(stage.logged(), ["Info: second knock after 400 ms"]);
    stage.perform(false, judges_like_rust);
}

/// Each line without the blanks before it, and with an end.
fn lines(text: &str) -> String {
    text.lines().fold(String::new(), |lines, line| lines + line.trim() + "\n")
}

pub(crate) fn plays_all_scenarios<R: Rule>() {
    for (what, knocks, expected) in SCENARIOS {
        assert_eq!(rehearse::<R>("{}", knocks), lines(expected), "{what}");
        assert_eq!(rehearse::<R>(r#"{"within":"5s"}"#, knocks), lines(expected), "{what}");
    }
    has_a_setting::<R>();
    goes_on_after_a_reload_and_starts_over_after_a_restart::<R>();
    takes_no_notice_of_a_payload::<R>();
}

fn has_a_setting<R: Rule>() {
    let knocks = "+0.0s 203.0.113.7 udp/7000\n+3599.0s 203.0.113.7 tcp/7001";
    for (settings, expected) in [
        (r#"{"within":"3600s"}"#, "+0.0s 203.0.113.7 remember 1 until +3600.0s\n+3599.0s 203.0.113.7 open\n"),
        (r#"{"within":"1s"}"#, "+0.0s 203.0.113.7 remember 1 until +1.0s\n+3599.0s 203.0.113.7 ignore\n"),
    ] {
        assert_eq!(rehearse::<R>(settings, knocks), expected, "{settings}");
    }
    for wrong in WRONG {
        let said = rehearse::<R>(&format!(r#"{{"within":{wrong}}}"#), knocks);
        assert_eq!(said, "refused: within: use \"1s\" to \"3600s\"\n", "{wrong}");
    }
    // In WebAssembly text it is not said which one is unknown.
    let said = rehearse::<R>(r#"{"withn":"5s"}"#, knocks);
    assert!(said.starts_with("refused: with"), "{said}");
}

fn goes_on_after_a_reload_and_starts_over_after_a_restart<R: Rule>() {
    let mut rehearsal = Rehearsal::<R>::new("{}").unwrap();
    rehearsal.play("+0.0s 203.0.113.7 udp/7000\n+0.0s 203.0.113.8 udp/7000");
    rehearsal.reload(r#"{"within":"9s"}"#).unwrap();
    assert_eq!(rehearsal.play("+1.0s 203.0.113.7 tcp/7001"), "+1.0s 203.0.113.7 open\n");
    let mut rehearsal = Rehearsal::<R>::new("{}").unwrap();
    assert_eq!(rehearsal.play("+1.0s 203.0.113.8 tcp/7001"), "+1.0s 203.0.113.8 ignore\n");
}

fn takes_no_notice_of_a_payload<R: Rule>() {
    let payload = "7".repeat(1472);
    let said = rehearse::<R>("{}", &format!("+0.0s 203.0.113.7 udp/7000 payload={payload}"));
    assert_eq!(said, "+0.0s 203.0.113.7 remember 1 until +5.0s\n");
}

/// Thousands of knocks at random, a few of them wrong.
fn judges_like_rust() {
    let mut random = Random::of_environment(20_261_127);
    let sources = ["192.0.2.1", "192.0.2.2", "2001:db8::4454", "2001:db8::4455"];
    let knocks = ["udp/7000", "tcp/7001", "tcp/7001 flags=syn,ack", "tcp/7000", "udp/7001"];
    let mut script = String::new();
    let mut now = 0;
    for _ in 0..20_000 {
        now += random.below(4) * random.below(1000);
        let (source, knock) = (sources[random.below(4)], knocks[random.below(5).min(random.below(5))]);
        writeln!(script, "+{}.{:03}s {source} {knock}", now / 1000, now % 1000).unwrap();
    }
    let expected = rehearse::<TwoKnocks>("{}", &script);
    let count = |word| expected.lines().filter(|line| line.ends_with(word)).count();
    assert!(count("open") > 1000 && count("ignore") > 1000, "the knocks are worth judging");
    assert!(rehearse::<Compiled>("{}", &script) == expected, "it judges otherwise than the one in Rust");
}

//! What is taken as settings, and what is said of the rest.

use super::*;

fn parse(json: &str) -> Result<Settings, String> {
    Settings::check(&postern_sdk::serde_json::from_str(json).unwrap())
}

#[track_caller]
fn check(json: &str, mistakes: &[&str]) {
    assert_eq!(parse(json).err().unwrap_or_default(), mistakes.join("\n"));
}

#[test]
fn everything_has_a_default_but_the_sequence() {
    let settings = parse(r#"{"sequence": ["1111/udp"]}"#).unwrap();
    assert_eq!((settings.within, settings.gap, settings.cooldown), (DEFAULT_WITHIN, None, None));
    assert_eq!((settings.duplicates, settings.action), (Duplicates::Fail, DoorAction::Open));
    check("{}", &[r#"sequence is missing; give 1 to 64 steps such as ["1111/udp", "2222/tcp"]"#]);
}

#[test]
fn families() {
    let family = |json: &str| parse(&format!(r#"{{"sequence": ["7/udp"], "family": {json}}}"#));
    assert_eq!(parse(r#"{"sequence": ["7/udp"]}"#).unwrap().family, None);
    assert_eq!(family(r#""ipv4""#).unwrap().family, Some(ClientFamily::Ipv4));
    assert_eq!(family(r#""ipv6""#).unwrap().family, Some(ClientFamily::Ipv6));
    let words = r#"family: "inet" is not known; write "ipv4" or "ipv6""#;
    assert_eq!(family(r#""inet""#).unwrap_err(), words);
}

#[test]
fn targets() {
    let target =
        |json: &str| parse(&format!(r#"{{"sequence": ["7/udp"], "target": {json}}}"#)).map(|s| s.target);
    assert_eq!(parse(r#"{"sequence": ["7/udp"]}"#).unwrap().target, Destination::ThisHost);
    assert_eq!(target(r#""any""#), Ok(Destination::Anywhere));
    let one = Prefix::from("10.9.0.255".parse::<IpAddr>().unwrap());
    assert_eq!(target(r#""10.9.0.255""#), Ok(Destination::Within(vec![one])));
    let net = Prefix::new("2001:db8::".parse().unwrap(), 32);
    assert_eq!(target(r#"["10.9.0.255", "2001:db8::/32"]"#), Ok(Destination::Within(vec![one, net])));
    for wrong in ["[]", "7", r#""gate""#, r#""10.0.0.1/8""#, r#""10.0.0.0/33""#, r#""10.0.0.0/""#] {
        assert!(target(wrong).unwrap_err().starts_with("target"), "{wrong}");
    }
}

#[test]
fn every_mistake_is_said_at_once() {
    check(
        r#"{
            "sequenc": [],
            "sequence": ["1111/udp", "70000/udp", 7, "0/tcp", "udp/7", "8:tcp", "tcp:0"],
            "within": "2h",
            "gap": "soon",
            "cooldown": "61m",
            "tcp_flags": ["sin", "syn", "!syn", "!"],
            "duplicates": "maybe",
            "action": true
        }"#,
        &[
            "sequenc: no such key; there are sequence, within, gap, min_gap, reorder, cooldown, tcp_flags, duplicates, action, prefix, target, family, strict",
            r#"sequence[1]: "70000/udp" is not a step; write port/udp or port/tcp with a port from 1 to 65535"#,
            "sequence[2]: 7 is not a step; write port/udp or port/tcp with a port from 1 to 65535",
            r#"sequence[3]: "0/tcp" is not a step; write port/udp or port/tcp with a port from 1 to 65535"#,
            r#"sequence[4]: "udp/7" is not a step; write "7/udp""#,
            r#"sequence[5]: "8:tcp" is not a step; write "8/tcp""#,
            r#"sequence[6]: "tcp:0" is not a step; write port/udp or port/tcp with a port from 1 to 65535"#,
            "within: 2h is out of range; use 1ms to 1h",
            r#"gap: `soon` is not a duration; write a number and a unit (ms, s, m, h or d), or several, such as "90s" or "1h30m""#,
            "cooldown: 61m is out of range; use 1ms to 1h",
            r#"tcp_flags[0]: "sin" is not a flag; write one of fin syn rst psh ack urg ece cwr, with ! in front if it must be clear"#,
            r#"tcp_flags[3]: "!" is not a flag; write one of fin syn rst psh ack urg ece cwr, with ! in front if it must be clear"#,
            "tcp_flags: syn must be both set and clear; remove one of syn and !syn",
            r#"duplicates: "maybe" is not known; write "fail" or "ignore-last""#,
            r#"action: true is not known; write "open" or "close""#,
        ],
    );
}

#[test]
fn a_distance_that_no_client_can_keep_is_a_mistake() {
    let distance = |rest: &str| format!(r#"{{"sequence": ["1/udp", "2/udp", "3/udp"], {rest}}}"#);
    let settings = parse(&distance(r#""min_gap": "1s", "gap": "1001ms", "within": "2001ms""#)).unwrap();
    assert_eq!((settings.min_gap, settings.reorder), (Some(Duration::from_secs(1)), None));
    check(
        &distance(r#""min_gap": "2s", "gap": "2s", "within": "4s", "reorder": "5ms""#),
        &[
            "min_gap: 2s leaves no time before the gap of 2s; write less than that",
            "min_gap: 2s for each of 3 steps but the first makes 4s, and all must come within 4s; shorten it, or raise within",
            "reorder: steps that keep a min_gap do not overtake each other; leave one of the two out",
        ],
    );
    let settings = parse(&distance(r#""reorder": "1s""#)).unwrap();
    assert_eq!((settings.min_gap, settings.reorder), (None, Some(Duration::from_secs(1))));
    check(&distance(r#""reorder": "1001ms""#), &["reorder: 1001ms is out of range; use 1ms to 1s"]);
}

#[test]
fn durations() {
    let gap = |json: &str| parse(&format!(r#"{{"sequence": ["7/udp"], "gap": {json}}}"#)).map(|s| s.gap);
    for (json, millis) in
        [(r#""5s""#, 5_000), (r#""500ms""#, 500), (r#""1m 30s""#, 90_000), (r#""1h""#, 3_600_000)]
    {
        assert_eq!(gap(json), Ok(Some(Duration::from_millis(millis))), "{json}");
    }
    for (json, mistake) in [
        ("25", r#"gap: `25` has no unit; write ms, s, m, h or d behind it: "25s" are 25 seconds"#),
        (r#""25""#, r#"gap: `25` has no unit; write ms, s, m, h or d behind it: "25s" are 25 seconds"#),
        (
            "5000",
            r#"gap: `5000` has no unit; write ms, s, m, h or d behind it: "5000ms" are 5000 milliseconds"#,
        ),
        (
            "-5",
            r#"gap: `-5`: a duration cannot be negative; write a number and a unit (ms, s, m, h or d), such as "90s""#,
        ),
        (
            r#""-5s""#,
            r#"gap: `-5s`: a duration cannot be negative; write a number and a unit (ms, s, m, h or d), such as "90s""#,
        ),
        (r#""0s""#, "gap: 0s is out of range; use 1ms to 1h"),
        (r#""1h1ms""#, "gap: 3600001ms is out of range; use 1ms to 1h"),
        (
            "null",
            r#"gap: `null` is not a duration; write a number and a unit (ms, s, m, h or d), or several, such as "90s" or "1h30m""#,
        ),
    ] {
        assert_eq!(gap(json), Err(mistake.to_owned()), "{json}");
    }
}

#[test]
fn a_sequence_has_1_to_64_steps() {
    let sequence = |steps: usize| format!(r#"{{"sequence": {:?}}}"#, vec!["7/udp"; steps]);
    check(&sequence(1), &[]);
    check(&sequence(64), &[]);
    check(&sequence(0), &[&format!("sequence: has 0 steps; {MANY_STEPS}")]);
    check(&sequence(65), &[&format!("sequence: has 65 steps; {MANY_STEPS}")]);
    check(r#"{"sequence": "7/udp"}"#, &[&format!(r#"sequence: "7/udp" is not a list; {MANY_STEPS}"#)]);
    check(
        r#"{"sequence": ["7/udp"], "tcp_flags": "syn"}"#,
        &[r#"tcp_flags: "syn" is not a list; write one such as ["syn", "!ack"]"#],
    );
}

#[test]
fn each_port_is_watched_once_with_the_flags_for_tcp() {
    let settings = parse(r#"{"sequence": ["7/udp", "7/tcp", "7/udp"], "tcp_flags": ["syn", "!ack"]}"#);
    let interest = settings.unwrap().interest();
    let expected = Interest::new([Watch::udp(7), Watch::tcp(7).with(TcpFlags::SYN).without(TcpFlags::ACK)]);
    assert_eq!(interest.memory_format(0), expected);
}

#[test]
fn only_what_gives_memory_its_meaning_changes_its_format() {
    let format = |json: &str| parse(json).unwrap().memory_format();
    let base = format(r#"{"sequence": ["7/udp", "8/tcp"]}"#);
    assert_eq!(
        base,
        format(
            r#"{"sequence": ["7/udp", "8/tcp"], "within": "1s", "gap": "1s", "reorder": "1s", "cooldown": "1s", "action": "close", "duplicates": "ignore-last"}"#
        )
    );
    assert_eq!(base, format(r#"{"sequence": ["7/udp", "8/tcp"], "min_gap": "1s"}"#));
    for other in [
        r#"{"sequence": ["7/udp", "8/udp"]}"#,
        r#"{"sequence": ["8/tcp", "7/udp"]}"#,
        r#"{"sequence": ["7/udp", "8/tcp", "9/tcp"]}"#,
        r#"{"sequence": ["7/udp", "8/tcp"], "tcp_flags": ["syn"]}"#,
        r#"{"sequence": ["7/udp", "8/tcp"], "tcp_flags": ["!syn"]}"#,
    ] {
        assert_ne!(base, format(other), "{other}");
    }
}

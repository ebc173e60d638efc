//! What the rule says of knocks, client by client.

mod min_gap;
mod reorder;

use postern_sdk::testing::{Rehearsal, rehearse};

use super::Sequence;

/// Plays `knocks` and compares what the rule says, but for the source address, which is left out if it is 203.0.113.7.
#[track_caller]
fn check(settings: &str, knocks: &str, expected: &str) {
    let knocks: String = knocks.lines().map(with_source).collect();
    compare(&rehearse::<Sequence>(settings, &knocks), expected);
}

#[track_caller]
fn compare(said: &str, expected: &str) {
    let said = said.replace(" 203.0.113.7 ", " ");
    let expected: String = expected.lines().map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(said, expected);
}

/// Puts in the source address if the second word is not one.
fn with_source(line: &str) -> String {
    let line = line.trim();
    match line.split_once(' ') {
        Some((time, rest)) if rest.starts_with("tcp/") || rest.starts_with("udp/") => {
            format!("{time} 203.0.113.7 {rest}\n")
        }
        _ => format!("{line}\n"),
    }
}

const THREE: &str =
    r#"{"sequence": ["1111/udp", "2222/udp", "3333/tcp"], "within": "5s", "tcp_flags": ["syn", "!ack"]}"#;

#[test]
fn the_right_ports_in_order_open_the_door() {
    check(
        THREE,
        "+0.0s udp/1111
         +0.1s udp/2222
         +0.2s tcp/3333",
        "+0.0s remember 1 until +5.0s
         +0.1s remember 2 until +5.0s
         +0.2s open",
    );
}

#[test]
fn clients_of_another_family_than_that_of_the_sequence_open_nothing() {
    let knocks = "+0.0s 203.0.113.7 udp/7
                  +0.1s 2001:db8::1 udp/7";
    check(
        r#"{"sequence": ["7/udp"], "family": "ipv4"}"#,
        knocks,
        "+0.0s open
         +0.1s 2001:db8::1 ignore",
    );
    check(
        r#"{"sequence": ["7/udp"], "family": "ipv6"}"#,
        knocks,
        "+0.0s ignore
         +0.1s 2001:db8::1 open",
    );
    check(
        r#"{"sequence": ["7/udp"]}"#,
        knocks,
        "+0.0s open
         +0.1s 2001:db8::1 open",
    );
}

#[test]
fn a_strict_sequence_fails_at_any_other_port() {
    check(
        r#"{"sequence": ["7/udp", "8/udp"], "strict": true}"#,
        "+0.0s udp/7
         +0.1s udp/9999
         +0.2s udp/8
         +0.3s udp/7
         +0.4s udp/8",
        "+0.0s remember 1 until +25.0s
         +0.1s forget: step 2 should be 8/udp, was 9999/udp
         +0.2s ignore
         +0.3s remember 1 until +25.3s
         +0.4s open",
    );
}

#[test]
fn close_is_open_the_other_way_round() {
    check(
        r#"{"sequence": ["7/udp", "8/udp"], "action": "close"}"#,
        "+0.0s udp/7
         +0.1s udp/8",
        "+0.0s remember 1 until +25.0s
         +0.1s close",
    );
}

#[test]
fn a_prefix_is_opened_around_sources_of_its_family_and_other_sources_alone() {
    check(
        r#"{"sequence": ["7/udp"], "prefix": "ipv6/64"}"#,
        "+0.0s 2001:db8:1:2:3::7 udp/7
         +0.1s 203.0.113.7 udp/7
         +0.2s fe80::7 udp/7
         +0.3s ::ffff:203.0.113.7 udp/7",
        "+0.0s 2001:db8:1:2:3::7 open prefix 64
         +0.1s open
         +0.2s fe80::7 open
         +0.3s ::ffff:203.0.113.7 open",
    );
    check(
        r#"{"sequence": ["7/udp"], "prefix": ["ipv4/24", "ipv6/48"], "action": "close"}"#,
        "+0.0s 2001:db8:1:2:3::7 udp/7
         +0.1s 203.0.113.7 udp/7",
        "+0.0s 2001:db8:1:2:3::7 close prefix 48
         +0.1s close prefix 24",
    );
}

#[test]
fn one_step_opens_at_once() {
    check(
        r#"{"sequence": ["7/udp"]}"#,
        "+0.0s udp/7
         +0.1s udp/7",
        "+0.0s open
         +0.1s open",
    );
}

#[test]
fn after_a_right_knock_a_client_waits_and_no_other_does() {
    let one_step = r#"{"sequence": ["7/udp"], "cooldown": "5s"}"#;
    check(
        one_step,
        "+0.0s udp/7
         +0.1s udp/7
         +0.2s 203.0.113.8 udp/7
         +4.999999s udp/7
         +5.0s udp/7
         +5.1s udp/7",
        "+0.0s open and remember 0 until +5.0s
         +0.1s ignore
         +0.2s 203.0.113.8 open and remember 0 until +5.2s
         +4.999999s ignore
         +5.0s open and remember 0 until +10.0s
         +5.1s ignore",
    );
    check(
        r#"{"sequence": ["7/udp", "8/udp"], "cooldown": "5s", "strict": true, "action": "close"}"#,
        "+0.0s udp/7
         +0.5s udp/8
         +1.0s udp/9
         +1.1s udp/7
         +1.2s udp/8
         +5.4s udp/7
         +5.5s udp/8
         +5.6s udp/7
         +5.7s udp/8",
        "+0.0s remember 1 until +25.0s
         +0.5s close and remember 0 until +5.5s
         +1.0s ignore
         +1.1s ignore
         +1.2s ignore
         +5.4s ignore
         +5.5s ignore
         +5.6s remember 1 until +30.6s
         +5.7s close and remember 0 until +10.7s",
    );
}

#[test]
fn a_clock_that_is_set_back_makes_no_client_wait_longer() {
    check(
        r#"{"sequence": ["7/udp"], "cooldown": "5s"}"#,
        "+100.0s udp/7
         +96.0s udp/7
         +95.0s udp/7",
        "+100.0s open and remember 0 until +105.0s
         +96.0s ignore
         +95.0s open and remember 0 until +100.0s",
    );
}

#[test]
fn a_cooldown_that_a_reload_changes_holds_at_the_next_knock() {
    let settings = |cooldown: &str| format!(r#"{{"sequence": ["7/udp"]{cooldown}}}"#);
    let mut rehearsal = Rehearsal::<Sequence>::new(&settings(r#", "cooldown": "60s""#)).unwrap();
    let mut play = |text: &str, expected: &str| compare(&rehearsal.play(text), expected);
    play("+0.0s 203.0.113.7 udp/7", "+0.0s open and remember 0 until +60.0s");
    play("+5.0s 203.0.113.7 udp/7", "+5.0s ignore");
    rehearsal.reload(&settings(r#", "cooldown": "10s""#)).unwrap();
    let mut play = |text: &str, expected: &str| compare(&rehearsal.play(text), expected);
    play("+9.0s 203.0.113.7 udp/7", "+9.0s ignore");
    play("+10.0s 203.0.113.7 udp/7", "+10.0s open and remember 0 until +20.0s");
    rehearsal.reload(&settings("")).unwrap();
    let mut play = |text: &str, expected: &str| compare(&rehearsal.play(text), expected);
    play("+11.0s 203.0.113.7 udp/7", "+11.0s open");
}

#[test]
fn a_wrong_step_starts_over_and_is_no_first_step() {
    check(
        THREE,
        "+0.0s udp/1111
         +0.1s tcp/3333
         +0.2s udp/2222
         +0.3s udp/1111
         +0.4s udp/1111
         +0.5s udp/2222
         +0.6s udp/1111
         +0.7s udp/2222
         +0.8s tcp/3333",
        "+0.0s remember 1 until +5.0s
         +0.1s forget: step 2 should be 2222/udp, was 3333/tcp
         +0.2s ignore
         +0.3s remember 1 until +5.3s
         +0.4s forget: step 2 should be 2222/udp, was 1111/udp
         +0.5s ignore
         +0.6s remember 1 until +5.6s
         +0.7s remember 2 until +5.6s
         +0.8s open",
    );
}

#[test]
fn time_ends_exactly_with_within() {
    check(
        THREE,
        "+0.0s udp/1111
         +1.0s udp/2222
         +4.999999s tcp/3333
         +10.0s udp/1111
         +11.0s udp/2222
         +15.0s tcp/3333
         +20.0s udp/1111
         +25.0s udp/1111
         +26.0s udp/2222
         +29.9s tcp/3333",
        "+0.0s remember 1 until +5.0s
         +1.0s remember 2 until +5.0s
         +4.999999s open
         +10.0s remember 1 until +15.0s
         +11.0s remember 2 until +15.0s
         +15.0s ignore
         +20.0s remember 1 until +25.0s
         +25.0s remember 1 until +30.0s
         +26.0s remember 2 until +30.0s
         +29.9s open",
    );
}

#[test]
fn a_gap_counts_from_step_to_step() {
    check(
        r#"{"sequence": ["7/udp", "8/udp", "9/udp"], "within": "3s", "gap": "2s"}"#,
        "+0.0s udp/7
         +1.9s udp/8
         +2.9s udp/9
         +10.0s udp/7
         +12.0s udp/8
         +12.0s udp/7
         +13.0s udp/8
         +15.0s udp/9",
        "+0.0s remember 1 until +2.0s
         +1.9s remember 2 until +3.0s
         +2.9s open
         +10.0s remember 1 until +12.0s
         +12.0s ignore
         +12.0s remember 1 until +14.0s
         +13.0s remember 2 until +15.0s
         +15.0s ignore",
    );
}

#[test]
fn a_clock_set_back_lengthens_nothing() {
    check(
        r#"{"sequence": ["7/udp", "8/udp", "9/udp"], "within": "5s"}"#,
        "+100.0s udp/7
         +60.0s udp/8
         +64.9s udp/9
         +200.0s udp/7
         +160.0s udp/8
         +165.0s udp/9",
        "+100.0s remember 1 until +105.0s
         +60.0s remember 2 until +65.0s
         +64.9s open
         +200.0s remember 1 until +205.0s
         +160.0s remember 2 until +165.0s
         +165.0s ignore",
    );
}

#[test]
fn tcp_without_the_flags_is_no_step_right_or_wrong() {
    // The host does not even show it; the rule does not rely on that.
    check(
        THREE,
        "+0.0s udp/1111
         +0.1s tcp/3333 flags=ack
         +0.2s udp/2222
         +0.3s tcp/3333 flags=syn,ack
         +0.4s tcp/3333 flags=syn,ece,cwr",
        "+0.0s remember 1 until +5.0s
         +0.1s not shown
         +0.2s remember 2 until +5.0s
         +0.3s not shown
         +0.4s open",
    );
}

#[test]
fn duplicates_may_be_ignored() {
    check(
        r#"{"sequence": ["7/udp", "8/udp", "8/udp", "9/udp"], "within": "5s", "gap": "2s", "duplicates": "ignore-last"}"#,
        "+0.0s udp/7
         +1.0s udp/7
         +1.9s udp/8
         +2.0s udp/8
         +2.1s udp/8
         +2.2s udp/7
         +3.0s udp/7
         +5.0s udp/7",
        "+0.0s remember 1 until +2.0s
         +1.0s ignore
         +1.9s remember 2 until +3.9s
         +2.0s remember 3 until +4.0s
         +2.1s ignore
         +2.2s forget: step 4 should be 9/udp, was 7/udp
         +3.0s remember 1 until +5.0s
         +5.0s remember 1 until +7.0s",
    );
}

#[test]
fn clients_do_not_disturb_each_other() {
    check(
        THREE,
        "+0.0s 203.0.113.7 udp/1111
         +0.1s 203.0.113.8 udp/1111
         +0.2s 203.0.113.7 udp/2222
         +0.3s 203.0.113.8 tcp/3333
         +0.4s fd00::1 tcp/3333
         +0.5s 203.0.113.7 tcp/3333",
        "+0.0s remember 1 until +5.0s
         +0.1s 203.0.113.8 remember 1 until +5.1s
         +0.2s remember 2 until +5.0s
         +0.3s 203.0.113.8 forget: step 2 should be 2222/udp, was 3333/tcp
         +0.4s fd00::1 ignore
         +0.5s open",
    );
}

#[test]
fn a_reload_starts_over_only_if_the_sequence_changed() {
    let settings =
        |steps: &str, within: &str| format!(r#"{{"sequence": ["1/udp", {steps}], "within": "{within}"}}"#);
    let mut rehearsal = Rehearsal::<Sequence>::new(&settings(r#""2/udp", "3/udp""#, "5s")).unwrap();
    compare(&rehearsal.play("+0.0s 203.0.113.7 udp/1"), "+0.0s remember 1 until +5.0s");
    rehearsal.reload(&settings(r#""2/udp", "3/udp""#, "9s")).unwrap();
    compare(&rehearsal.play("+1.0s 203.0.113.7 udp/2"), "+1.0s remember 2 until +9.0s");
    assert!(rehearsal.reload("{}").is_err());
    compare(&rehearsal.play("+1.1s 203.0.113.7 udp/3"), "+1.1s open");
    compare(&rehearsal.play("+2.0s 203.0.113.7 udp/1"), "+2.0s remember 1 until +11.0s");
    rehearsal.reload(&settings(r#""2/udp", "4/udp""#, "9s")).unwrap();
    compare(&rehearsal.play("+2.1s 203.0.113.7 udp/2"), "+2.1s ignore");
}

/// What knockd 0.8 logs for the same packets, one door at a time.
mod knockd {
    use super::check;

    const A: &str = r#"{"sequence": ["7000/tcp", "8000/tcp", "9000/tcp"], "tcp_flags": ["syn"]}"#;

    /// Plays hits a tenth of a second apart, each `port`, `port/udp` or `port!` for a TCP packet with ACK alone, and
    /// compares the stages reached: a number, `open`, `-` for a step that fails, and `.` for a packet without effect.
    #[track_caller]
    fn stages(settings: &str, hits: &str, expected: &str) {
        let knocks: String = hits
            .split_whitespace()
            .enumerate()
            .map(|(index, hit)| {
                let target = match (hit.strip_suffix("/udp"), hit.strip_suffix('!')) {
                    (Some(port), _) => format!("udp/{port}"),
                    (_, Some(port)) => format!("tcp/{port} flags=ack"),
                    _ => format!("tcp/{hit}"),
                };
                format!("+{}.{}s 203.0.113.7 {target}\n", index / 10, index % 10)
            })
            .collect();
        let said = postern_sdk::testing::rehearse::<super::Sequence>(settings, &knocks);
        let stages: Vec<_> = said
            .lines()
            .map(|line| match line.split(' ').skip(2).collect::<Vec<_>>().as_slice() {
                ["remember", stage, ..] => stage,
                ["open"] => "open",
                ["forget:", ..] => "-",
                ["ignore"] | ["not", "shown"] => ".",
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(stages.join(" "), expected, "{hits}");
    }

    #[test]
    fn sequences() {
        stages(A, "7000 8000 9000", "1 2 open");
        stages(A, "7000 1234 8000 9000", "1 . 2 open");
        stages(A, "7000 7000 8000 9000", "1 - . .");
        stages(A, "7000 7000 7000 8000 9000", "1 - 1 2 open");
        stages(A, "7000 8000! 8000 9000", "1 . 2 open");
    }

    #[test]
    fn a_port_may_come_several_times() {
        let thrice = r#"{"sequence": ["7/tcp", "7/tcp", "7/tcp"]}"#;
        stages(thrice, "7 7 7 7", "1 2 open 1");
    }

    #[test]
    fn the_other_transport_of_a_port_is_invisible() {
        let mixed = r#"{"sequence": ["7000/udp", "8000/tcp", "9000/udp"], "tcp_flags": ["syn"]}"#;
        stages(mixed, "7000/udp 8000/udp 8000 9000 9000/udp", "1 . 2 . open");
    }

    #[test]
    fn a_late_step_is_taken_for_a_first_one() {
        check(
            r#"{"sequence": ["7000/tcp", "8000/tcp", "9000/tcp"], "tcp_flags": ["syn"], "within": "3s"}"#,
            "+0.0s tcp/7000
             +3.2s tcp/8000
             +3.3s tcp/7000
             +3.4s tcp/8000
             +3.5s tcp/9000",
            "+0.0s remember 1 until +3.0s
             +3.2s ignore
             +3.3s remember 1 until +6.3s
             +3.4s remember 2 until +6.3s
             +3.5s open",
        );
    }
}

//! From knocks to doors, with the rules that a person would use.

use std::fs;
use std::time::Duration;

use expect_test::{Expect, expect};
use postern_core::{Knock, Moment, Sighting};

use crate::world::{Outcome, POSTERN_TOML, World, knock};

const SEQUENCE: &str = "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nwithin = \"5s\"\ntcp_flags = [\"syn\", \"!ack\"]\nsequence = [\"1111/udp\", \"2222/udp\", \"3333/tcp\"]\n";

fn check(rules: &[(&str, &str)], script: &str, expected: Expect) {
    let files: Vec<_> = rules.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    let mut world = World::new(&files);
    world.play(script);
    expected.assert_eq(&world.out);
}

#[test]
fn the_right_knock_opens_and_time_closes() {
    check(
        &[("ssh.toml", SEQUENCE)],
        "+0 192.0.2.1 udp/1111
         +1 192.0.2.1 udp/2222
         +2 192.0.2.1 tcp/3333 S
         +20 end",
        expect![[r#"
            +0.0 ssh 192.0.2.1 stage 1
            +1.0 ssh 192.0.2.1 stage 2
            +2.0 open ssh 192.0.2.1 10s
            +12.0 close ssh 192.0.2.1 Expired
        "#]],
    );
}

#[test]
fn clients_do_not_mix_and_versions_of_ip_do_not_either() {
    check(
        &[("ssh.toml", SEQUENCE)],
        "+0 192.0.2.1 udp/1111
         +0 192.0.2.2 udp/1111
         +0 2001:db8::1 udp/1111
         +1 192.0.2.2 udp/2222
         +1 2001:db8::1 udp/2222
         +1 2001:db8::2 tcp/3333 S
         +2 2001:db8::1 tcp/3333 S
         +2 192.0.2.1 tcp/3333 S
         +2 192.0.2.2 tcp/3333 S",
        expect![[r#"
            +0.0 ssh 192.0.2.1 stage 1
            +0.0 ssh 192.0.2.2 stage 1
            +0.0 ssh 2001:db8::1 stage 1
            +1.0 ssh 192.0.2.2 stage 2
            +1.0 ssh 2001:db8::1 stage 2
            +2.0 open ssh 2001:db8::1 10s
            +2.0 ssh 192.0.2.1 forgot: step 2 should be 2222/udp, was 3333/tcp
            +2.0 open ssh 192.0.2.2 10s
        "#]],
    );
}

#[test]
fn a_link_local_address_on_two_links_is_two_clients() {
    check(
        &[("ssh.toml", SEQUENCE)],
        "+0 fe80::1%2 udp/1111
         +0.1 fe80::1%3 udp/2222
         +0.2 fe80::1%3 udp/1111
         +0.3 fe80::1%2 udp/2222
         +0.4 fe80::1%3 tcp/3333 S
         +0.5 fe80::1%2 tcp/3333 S",
        expect![[r#"
            +0.0 ssh fe80::1 stage 1
            +0.2 ssh fe80::1 stage 1
            +0.3 ssh fe80::1 stage 2
            +0.4 ssh fe80::1 forgot: step 2 should be 2222/udp, was 3333/tcp
            +0.5 open ssh fe80::1%2 10s
        "#]],
    );
}

#[test]
fn who_takes_too_long_and_never_comes_back_is_told_with_the_next_knock() {
    check(
        &[("ssh.toml", SEQUENCE)],
        "+0 192.0.2.1 udp/1111
         +1 192.0.2.2 udp/1111
         +5.5 192.0.2.3 udp/1111
         +9 192.0.2.3 udp/2222",
        expect![[r#"
            +0.0 ssh 192.0.2.1 stage 1
            +1.0 ssh 192.0.2.2 stage 1
            +5.5 ssh 192.0.2.1 timeout at stage 1
            +5.5 ssh 192.0.2.3 stage 1
            +9.0 ssh 192.0.2.2 timeout at stage 1
            +9.0 ssh 192.0.2.3 stage 2
        "#]],
    );
}

#[test]
fn an_open_sequence_and_its_reverse_live_in_one_group() {
    let open = "module = \"sequence\"\ndoor = \"ssh\"\ngroup = \"g\"\n[settings]\nsequence = [\"1/udp\", \"2/udp\"]\n";
    let close = "module = \"sequence\"\ndoor = \"ssh\"\ngroup = \"g\"\n[settings]\nsequence = [\"2/udp\", \"1/udp\"]\naction = \"close\"\n";
    check(
        &[("a-open.toml", open), ("b-close.toml", close)],
        "+0 192.0.2.1 udp/1
         +0 192.0.2.1 udp/2
         +1 192.0.2.1 udp/2
         +1 192.0.2.1 udp/1
         +2 192.0.2.1 udp/1
         +2 192.0.2.1 udp/2",
        expect![[r#"
            +0.0 a-open 192.0.2.1 stage 1
            +0.0 open ssh 192.0.2.1 10s
            +1.0 b-close 192.0.2.1 stage 1
            +1.0 close ssh 192.0.2.1 Asked
            +2.0 a-open 192.0.2.1 stage 1
            +2.0 open ssh 192.0.2.1 10s
        "#]],
    );
}

#[test]
fn a_client_that_waits_after_a_right_knock_keeps_its_group_from_nothing() {
    let rule = |settings: &str| {
        format!("module = \"sequence\"\ndoor = \"ssh\"\ngroup = \"g\"\n[settings]\n{settings}\n")
    };
    let open = rule("sequence = [\"1/udp\", \"2/udp\"]\ncooldown = \"5s\"");
    let close = rule("sequence = [\"2/udp\", \"1/udp\"]\naction = \"close\"");
    check(
        &[("close.toml", &close), ("open.toml", &open)],
        "+0 192.0.2.1 udp/1
         +0.1 192.0.2.1 udp/2
         +1 192.0.2.1 udp/2
         +1.1 192.0.2.1 udp/1
         +2 192.0.2.1 udp/1
         +2.1 192.0.2.2 udp/1
         +2.2 192.0.2.2 udp/2
         +4.9 192.0.2.1 udp/1
         +5.1 192.0.2.1 udp/1
         +5.2 192.0.2.1 udp/2
         +9 end",
        expect![[r#"
            +0.0 open 192.0.2.1 stage 1
            +0.1 open ssh 192.0.2.1 10s
            +1.0 close 192.0.2.1 stage 1
            +1.1 close ssh 192.0.2.1 Asked
            +2.1 open 192.0.2.2 stage 1
            +2.2 open ssh 192.0.2.2 10s
            +5.1 open 192.0.2.1 stage 1
            +5.2 open ssh 192.0.2.1 10s
        "#]],
    );
}

#[test]
fn who_has_come_further_stays_when_no_more_can_be_remembered() {
    let rule = format!("{SEQUENCE}[memory]\nentries = 2\n");
    check(
        &[("ssh.toml", &rule)],
        "+0 192.0.2.1 udp/1111
         +0.1 192.0.2.1 udp/2222
         +1 192.0.2.2 udp/1111
         +1.1 192.0.2.3 udp/1111
         +1.2 192.0.2.2 udp/2222
         +1.3 192.0.2.3 udp/2222
         +1.4 192.0.2.4 udp/1111
         +1.5 192.0.2.1 tcp/3333 S",
        expect![[r#"
            +0.0 ssh 192.0.2.1 stage 1
            +0.1 ssh 192.0.2.1 stage 2
            +1.0 ssh 192.0.2.2 stage 1
            +1.1 - dropped: evicted
            +1.1 ssh 192.0.2.3 stage 1
            +1.3 ssh 192.0.2.3 stage 2
            +1.4 - dropped: memory-full
            +1.5 open ssh 192.0.2.1 10s
        "#]],
    );
}

#[test]
fn a_lower_ceiling_holds_from_the_reload_on() {
    let mut world = World::new(&[("a.toml", SEQUENCE.as_bytes()), ("b.toml", SEQUENCE.as_bytes())]);
    for n in 1..=50 {
        world.play(&format!("+0 192.0.2.{n} udp/1111"));
    }
    assert_eq!(world.remembered(), 100);
    let lower = format!("{POSTERN_TOML}[memory]\nentries = 30\n");
    fs::write(world.dir.path().join("postern.toml"), lower).unwrap();
    world.reload(&[]).unwrap();
    assert_eq!(world.remembered(), 30);
    world.play("+1 192.0.2.99 udp/1111");
    assert_eq!(world.remembered(), 30);
}

#[test]
fn a_port_of_another_rule_of_the_group_is_a_wrong_step_and_starts_nothing() {
    let rule = |steps: &str| {
        format!(
            "module = \"sequence\"\ndoor = \"ssh\"\ngroup = \"g\"\n[settings]\nsequence = [{steps}]\ntcp_flags = [\"syn\"]\n"
        )
    };
    check(
        &[("a.toml", &rule("\"1/udp\", \"2/udp\"")), ("b.toml", &rule("\"5/udp\", \"6/tcp\", \"2/udp\""))],
        "+0 192.0.2.1 udp/1
         +0 192.0.2.1 udp/5
         +1 192.0.2.1 udp/2
         +2 192.0.2.2 udp/5
         +2 192.0.2.2 tcp/6 S
         +2 192.0.2.2 udp/1
         +3 192.0.2.3 udp/1
         +3 192.0.2.3 tcp/6 A
         +3 192.0.2.3 udp/2",
        expect![[r#"
            +0.0 a 192.0.2.1 stage 1
            +0.0 a 192.0.2.1 forgot: step 2 should be 2/udp, was 5/udp
            +2.0 b 192.0.2.2 stage 1
            +2.0 b 192.0.2.2 stage 2
            +2.0 b 192.0.2.2 forgot: step 3 should be 2/udp, was 1/udp
            +3.0 a 192.0.2.3 stage 1
            +3.0 open ssh 192.0.2.3 10s
        "#]],
    );
}

#[test]
fn a_prefix_around_the_client_is_opened_where_it_is_granted() {
    let rule = |width: &str| {
        format!(
            "module = \"sequence\"\ndoor = \"ssh\"\nprefixes = [\"ipv6/64\"]\n[settings]\nprefix = \"{width}\"\nsequence = [\"1/udp\"]\n"
        )
    };
    let script = "+0 2001:db8:1:2:3::7 udp/1
         +1 192.0.2.1 udp/1
         +30 end";
    check(
        &[("a.toml", &rule("ipv6/64"))],
        script,
        expect![[r#"
        +0.0 open ssh 2001:db8:1:2::/64 10s
        +1.0 open ssh 192.0.2.1 10s
        +10.0 close ssh 2001:db8:1:2::/64 Expired
        +11.0 close ssh 192.0.2.1 Expired
    "#]],
    );
    check(
        &[("a.toml", &rule("ipv6/48"))],
        script,
        expect![[r#"
            +0.0 a ssh 2001:db8:1:2:3::7 Refused { reason: ClientNotGranted, detail: "a prefix around the source that door and rule do not both allow; to allow it, name its width as prefixes of both" }
            +1.0 open ssh 192.0.2.1 10s
            +11.0 close ssh 192.0.2.1 Expired
        "#]],
    );
}

#[test]
fn rules_without_a_group_each_see_every_packet() {
    let rule =
        |steps: &str| format!("module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [{steps}]\n");
    check(
        &[("a.toml", &rule("\"1/udp\", \"2/udp\"")), ("b.toml", &rule("\"2/udp\", \"1/udp\""))],
        "+0 192.0.2.1 udp/1
         +0 192.0.2.1 udp/2
         +1 192.0.2.1 udp/1",
        expect![[r#"
            +0.0 a 192.0.2.1 stage 1
            +0.0 open ssh 192.0.2.1 10s
            +0.0 b 192.0.2.1 stage 1
            +1.0 a 192.0.2.1 stage 1
            +1.0 b ssh 192.0.2.1 Extended { lasts: 10s }
        "#]],
    );
}

#[test]
fn what_is_remembered_is_bounded() {
    let rule = SEQUENCE.replace("[settings]", "memory = { entries = 100 }\n[settings]");
    let mut world = World::new(&[("ssh.toml", rule.as_bytes())]);
    for n in 0..1000 {
        world.play(&format!("+1 10.0.{}.{} udp/1111", n / 250, n % 250));
    }
    assert_eq!(world.remembered(), 100);
}

#[test]
fn a_packet_on_two_interfaces_is_judged_once_by_each_rule() {
    let rule = |port: u16| {
        format!(
            "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [\"7000/udp\", \"{port}/udp\"]\nwithin = \"10s\"\n"
        )
    };
    let (one, other) = (rule(8000), rule(9000));
    let mut world = World::new(&[("a.toml", one.as_bytes()), ("b.toml", other.as_bytes())]);
    let seen = |interface, millis| {
        let sighting = Some(Sighting { fingerprint: 7, interface });
        Knock { sighting, ..knock(Moment(Duration::from_millis(millis)), "192.0.2.1", "udp/7000", "") }
    };
    let stage = |rule: &str| (rule.to_owned(), Outcome::Stage(1));
    assert_eq!(world.judge(&seen(2, 0)), [stage("a"), stage("b")]);
    assert_eq!(world.judge(&seen(3, 1)), [], "it is the same packet");
    // Another one with the same bytes is a wrong step.
    let forgot = |(_, outcome): &(String, Outcome)| matches!(outcome, Outcome::Forgot(_));
    assert!(world.judge(&seen(3, 2)).iter().all(forgot));
    assert_eq!(world.judge(&seen(2, 3)), [], "and its copy is none");
}

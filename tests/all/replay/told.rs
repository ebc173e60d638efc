//! What is told of packets, for people and for programs.

use std::path::Path;
use std::sync::LazyLock;

use expect_test::expect;
use postern_sdk_build::{build_rule, guests_dir};
use postern_tests::capture_file::{COOKED_V2, Ticks};
use postern_tests::frame::{ACK, SYN, cut, from_hex, tcp};
use serde_json::Value;

use super::*;

#[test]
fn a_knock_is_told_step_by_step_in_the_captures_time() {
    let replayed = Place::new(CONFIG, SSH).capture(knocks()).replay(&[]);
    expect![[r#"
        +0.000000 #1 192.0.2.7:40000 -> 198.51.100.1 7000/udp
          ssh: 192.0.2.7 is at stage 1
        +0.020000 #2 192.0.2.8:40000 -> 198.51.100.1 7000/udp
          ssh: 192.0.2.8 is at stage 1
        +0.100000 #3 192.0.2.7:40000 -> 198.51.100.1 7001/tcp syn
          ssh: 192.0.2.7 knocked right
          ssh is open for 192.0.2.7 for 10s
        +0.120000 #4 192.0.2.8:40000 -> 198.51.100.1 7000/udp
          ssh: 192.0.2.8 starts over: step 2 should be 7001/tcp, was 7000/udp
        +10.100000 ssh is closed for 192.0.2.7: its time is over
        +60.000000 #6 192.0.2.7:40000 -> 198.51.100.1 7000/udp
          ssh: 192.0.2.7 is at stage 1
        6 packets from 2026-11-18T11:06:40.000000Z on, in 60.0 s; rules asked for 5, and opened a door 1 time
        came to nothing: not-watched 1
    "#]]
    .assert_eq(&replayed.code(0).out());
    expect![[r#"
        note: every destination counts as this machine; --local ADDRESS says which do
    "#]]
    .assert_eq(&replayed.err());
}

#[test]
fn packets_that_nobody_asked_for_are_told_on_request() {
    let knock = udp_to(CLIENT, 7000);
    let capture = Pcap::ethernet()
        .frame(at(0), &knock)
        .part(at(1), &cut(&knock, 4), knock.len())
        .frame(at(2), &[0xff; 14])
        .frame(at(3), &syn_to(CLIENT, 80))
        .frame(at(4), &udp_to("224.0.0.1", 7000));
    let replayed = Place::new(CONFIG, SSH).capture(capture).replay(&["--all"]);
    expect![[r#"
        +0.000000 #1 192.0.2.7:40000 -> 198.51.100.1 7000/udp
          ssh: 192.0.2.7 is at stage 1
        +0.001000 #2 42 bytes: truncated
        +0.002000 #3 14 bytes: not-ip
        +0.003000 #4 192.0.2.7:40000 -> 198.51.100.1 80/tcp syn: not-watched
        +0.004000 #5 42 bytes: impossible-source
        5 packets from 2026-11-18T11:06:40.000000Z on, in 4 ms; rules asked for 1, and opened a door 0 times
        came to nothing: truncated 1, not-ip 1, impossible-source 1, not-watched 1
    "#]]
    .assert_eq(&replayed.code(0).out());
}

#[test]
fn with_stated_addresses_other_destinations_are_elsewhere() {
    let answer = tcp(end(SERVER, 7001), end(CLIENT, 40_000), SYN | ACK);
    let elsewhere = udp(end(CLIENT, 40_000), end("198.51.100.99", 7000), b"");
    let capture = Pcap::ethernet()
        .frame(at(0), &elsewhere)
        .frame(at(1), &udp_to(CLIENT, 7000))
        .frame(at(2), &answer)
        .frame(at(3), &udp_to(SERVER, 7000));
    let place = Place::new(CONFIG, SSH).capture(capture);
    let replayed = place.replay(&["--all", "--local", "198.51.100.1,2001:db8::1"]);
    expect![[r#"
        +0.000000 #1 192.0.2.7:40000 -> 198.51.100.99 7000/udp: not-watched
        +0.001000 #2 192.0.2.7:40000 -> 198.51.100.1 7000/udp
          ssh: 192.0.2.7 is at stage 1
        +0.002000 #3 198.51.100.1:7001 -> 192.0.2.7 40000/tcp syn,ack, leaving: not-watched
        +0.003000 #4 198.51.100.1:40000 -> 198.51.100.1 7000/udp: impossible-source
        4 packets from 2026-11-18T11:06:40.000000Z on, in 3 ms; rules asked for 1, and opened a door 0 times
        came to nothing: impossible-source 1, not-watched 2
    "#]]
    .assert_eq(&replayed.code(0).out());
    assert_eq!(replayed.err(), "", "nothing is assumed");
}

#[test]
fn rules_without_a_configuration_have_the_doors_that_they_name() {
    let replayed = Place::new("", SSH).capture(knocks()).run(&["--rules", "rules", "a.pcap"]);
    let out = replayed.code(0).out();
    assert!(out.contains("\n  ssh is open for 192.0.2.7 for 10m\n"), "{out}");
    assert!(out.ends_with("\nssh is still open for 192.0.2.7 when the capture ends, for 9m\n"), "{out}");
}

#[test]
fn commands_are_named_and_not_run() {
    let config = CONFIG.replace(
        "guard = \"tcp/22\"",
        "open = [\"/bin/touch\", \"ran-{ip}\"]\nclose = [\"/bin/rm\", \"ran-{ip}\", \"{rule}\"]",
    );
    let place = Place::new(&config, SSH).capture(knocks());
    let replayed = place.replay(&[]);
    let told: Vec<_> =
        replayed.code(0).out().lines().filter(|line| line.contains("run")).map(str::to_owned).collect();
    assert_eq!(
        told,
        ["  ssh: would run /bin/touch ran-192.0.2.7", "+10.100000 ssh: would run /bin/rm ran-192.0.2.7 ssh"]
    );
    assert!(!place.path("ran-192.0.2.7").exists());
}

/// The module of a rule with tokens, built once.
fn once() -> Vec<u8> {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let target = guests_dir(Path::new(env!("CARGO_TARGET_TMPDIR")));
        let built = build_rule(Path::new(env!("CARGO_MANIFEST_DIR")), "postern-rule-once", &target);
        fs::read(built.unwrap().module).unwrap()
    });
    MODULE.clone()
}

#[test]
fn what_is_used_once_is_used_up_for_the_rest_of_the_capture() {
    let said = |words: &str| udp(end(CLIENT, 40_000), end(SERVER, 7100), words.as_bytes());
    let capture = Pcap::ethernet()
        .frame(at(0), &said("token a"))
        .frame(at(20_000), &said("token a"))
        .frame(at(20_001), &said("token b"))
        .frame(at(20_002), &said("nothing"));
    let rule = "module = \"./once.wasm\"\ndoor = \"ssh\"\n";
    let place = Place::new(CONFIG, rule).write("rules/once.wasm", &once()).capture(capture);
    expect![[r#"
        +0.000000 #1 192.0.2.7:40000 -> 198.51.100.1 7100/udp
          ssh: 192.0.2.7 knocked right
          ssh is open for 192.0.2.7 for 10s
        +10.000000 ssh is closed for 192.0.2.7: its time is over
        +20.000000 #2 192.0.2.7:40000 -> 198.51.100.1 7100/udp
          ssh: 192.0.2.7 knocked right
          ssh is not opened for 192.0.2.7: already-used
        +20.001000 #3 192.0.2.7:40000 -> 198.51.100.1 7100/udp
          ssh: 192.0.2.7 knocked right
          ssh is open for 192.0.2.7 for 10s
        +20.002000 #4 192.0.2.7:40000 -> 198.51.100.1 7100/udp
          ssh: ignored
        4 packets from 2026-11-18T11:06:40.000000Z on, in 20.0 s; rules asked for 4, and opened a door 2 times
        came to nothing: already-used 1
        ssh is still open for 192.0.2.7 when the capture ends, for 10.0 s
    "#]]
    .assert_eq(&place.replay(&[]).code(0).out());
}

#[test]
fn one_packet_on_two_interfaces_counts_once_where_the_capture_says_so() {
    let packet = &udp_to(CLIENT, 7000)[14..];
    let on = |interface: &str| {
        let header = ["0800 0000", interface, "0001 00 06 0200000000010000"].concat();
        [&from_hex(&header), packet].concat()
    };
    let capture =
        Pcap::new(COOKED_V2, Ticks::Nanos).frame(at(0), &on("00000002")).frame(at(0), &on("00000003"));
    let out = Place::new(CONFIG, SSH).capture(capture).replay(&["--all"]).code(0).out();
    assert!(out.contains("\n+0.000000 #2 192.0.2.7:40000 -> 198.51.100.1 7000/udp: same-packet\n"), "{out}");
}

#[test]
fn rules_see_packets_of_the_interface_that_was_said() {
    let config = CONFIG.replace("[\"eth0\"]", "[\"eth0\", \"wg0\"]");
    let rule = SSH.replace("door =", "interfaces = [\"wg0\"]\ndoor =");
    let place = Place::new(&config, &rule).capture(knocks());
    let on_first = place.replay(&[]);
    assert!(on_first.code(0).out().contains("rules asked for 0,"), "{}", on_first.out());
    let note = "note: every packet counts as captured on eth0; --interface NAME says where it was\n";
    assert!(on_first.err().ends_with(note), "{}", on_first.err());
    let on_other = place.replay(&["--interface", "wg0"]);
    assert!(on_other.code(0).out().contains("rules asked for 5,"), "{}", on_other.out());
    assert!(!on_other.err().contains("counts as captured"), "{}", on_other.err());
}

#[test]
fn programs_get_the_lines_of_the_log_with_their_packets() {
    let replayed = Place::new(CONFIG, SSH).capture(knocks()).replay(&["--json", "--local", SERVER]);
    let lines: Vec<Value> =
        replayed.code(0).out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let mut opened = of("open")[0].clone();
    let module = opened.as_object_mut().unwrap().remove("module").unwrap();
    assert_eq!(module.as_str().map(str::len), Some(64));
    expect![[r#"
        {"timestamp":"2026-11-18T11:06:40.100000Z","event":"packet","at_s":0.1,"packet":3,"length":54,"src":"192.0.2.7","dst":"198.51.100.1","transport":"tcp","src_port":40000,"dst_port":7001,"flags":["syn"]}
        {"timestamp":"2026-11-18T11:06:40.100000Z","level":"INFO","message":"ssh is open for 192.0.2.7 for 10s","event":"open","tenant":"host","rule":"ssh","door":"ssh","src":"192.0.2.7","lasts_s":10.0,"packet":3,"at_s":0.1}
        {"timestamp":"2026-11-18T11:06:50.100000Z","level":"INFO","message":"ssh is closed for 192.0.2.7: its time is over","event":"close","tenant":"host","rule":"ssh","door":"ssh","src":"192.0.2.7","reason":"expired","at_s":10.1}
        {"event":"end","at_s":60.0,"packets":6,"judged":5,"opened":1,"dropped":{"not-watched":1},"open":[]}"#]]
    .assert_eq(&format!("{}\n{opened}\n{}\n{}", of("packet")[2], of("close")[0], lines.last().unwrap()));
}

#[test]
fn two_runs_tell_the_same() {
    let place = Place::new(CONFIG, SSH).capture(knocks());
    for options in [&["--all"][..], &["--json", "--all"], &["--html", "a.html"]] {
        let told = || {
            let replayed = place.replay(options);
            (replayed.code(0).out(), fs::read(place.path("a.html")).ok())
        };
        assert_eq!(told(), told(), "{options:?}");
    }
}

#[test]
fn mistakes_are_said_and_nothing_is_replayed() {
    let place = Place::new(CONFIG, &SSH.replace("7000/udp", "7000/dup")).capture(knocks());
    let replayed = place.replay(&[]);
    assert_eq!(replayed.code(1).out(), "");
    let err = replayed.err();
    assert!(err.contains("ssh.toml:4: "), "{err}");
    assert!(err.ends_with("posternd: 1 mistake; nothing was replayed\n"), "{err}");
}

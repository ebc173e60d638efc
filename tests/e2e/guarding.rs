//! The guard when something else is wrong, missing, half written or another daemon's: what is closed stays closed.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use postern_tests::{CLIENT4, CLIENT6, Daemon, Lab, STRANGER4, STRANGER6, Signal, eventually};

use crate::strangers::while_strangers_try;
use crate::{A_WHILE, KNOCK, SOON, SSH_2S, STEPS, STORY, greeted, is_alive, posternd};

fn reset(daemon_dir: &std::path::Path, lab: &Lab) -> std::process::Output {
    let config = daemon_dir.join("postern.toml");
    lab.server_exec(&[crate::PROGRAM, "reset", "--config", config.to_str().expect("UTF-8")])
}

fn is_closed(lab: &Lab) -> bool {
    lab.tcp(STRANGER4, 22, A_WHILE).is_silence() && lab.tcp(STRANGER6, 22, A_WHILE).is_silence()
}

#[test]
fn whatever_else_is_wrong_at_the_first_start_a_guarded_port_is_closed() {
    let wrong = [
        "[doors.web]\nset = \"inet filter web_allowed\"\n",
        "[doors.lamp]\nopen = [\"/bin/true\"]\ntimeuot = \"3s\"\n",
        "[doors.other]\nguard = \"tcp/70000\"\n",
        "[doors.twice]\nguard = \"tcp/22\"\n",
        "[limits]\nopenings = 0\n",
        "[doors.ssh]\nguard = \"tcp/23\"\n",
        "and this is not TOML\n",
        "[doors.many]\nguard = [MANY]\n",
        "[doors.shell\n",
    ];
    for more in wrong {
        let many = (0..65).map(|port| format!("\"tcp/{}\"", 1000 + 2 * port)).collect::<Vec<_>>().join(", ");
        let more = more.replace("MANY", &many);
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        assert!(lab.tcp_connects(STRANGER4, 22, SOON));
        let setup = posternd(&lab).config(&format!("{SSH_2S}\n{more}")).rule("knock", KNOCK);
        let mut daemon = setup.launch();
        assert_eq!(daemon.wait_for_end().code(), Some(1), "{more}");
        assert!(is_closed(&lab), "{more}");
        // Made right, it lets in whom it should.
        daemon.write("postern.toml", SSH_2S);
        let done = reset(daemon.dir(), &lab);
        assert!(done.status.success(), "{done:?}");
        assert!(lab.tcp_connects(STRANGER4, 22, SOON));
    }
}

#[test]
fn a_port_is_closed_though_its_file_is_no_text_and_before_the_rules_are_read() {
    for bytes in [&b"# caf\xe9\n"[..], b"\xef\xbb\xbf", b"\0\n"] {
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        let config = [bytes, SSH_2S.as_bytes()].concat();
        let nonsense = "= nonsense\n".repeat(90_000);
        let setup =
            posternd(&lab).file("postern.toml", config).rule("knock", KNOCK).rule("nonsense", &nonsense);
        let mut daemon = setup.launch();
        eventually("the guard is up", || is_closed(&lab).then_some(()));
        assert_eq!(daemon.wait_for_end().code(), Some(1));
        assert!(is_closed(&lab));
    }
}

#[test]
fn a_table_of_our_name_that_is_not_ours_does_not_keep_the_guard_down() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    lab.firewall("table inet postern {\nset open4 {\ntype ipv4_addr;\n}\nchain input {\n}\n}\n");
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    assert!(is_closed(&lab));
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    daemon.stop();
}

#[test]
fn a_second_daemon_without_guard_doors_opens_nothing_of_one_that_is_away() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let (away, _) = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start().kill();
    let lamp = "interfaces = [\"eth0\"]\n[doors.lamp]\nopen = [\"/bin/true\"]\n";
    let rule = KNOCK.replace("ssh", "lamp").replace("000/", "001/");
    let other = posternd(&lab).config(lamp).rule("lamp", &rule).start();
    while_strangers_try(&lab, || {
        other.change_rule("lamp", &format!("for = \"1s\"\n{rule}"));
        other.signal(Signal::HUP);
        let back = away.start();
        lab.knock(CLIENT4, STEPS);
        back.expect_story(CLIENT4, &STORY);
        assert!(lab.tcp_connects(CLIENT4, 22, SOON));
        other.stop();
        back.stop();
    });
}

#[test]
fn a_daemon_whose_guard_another_has_waits_until_it_is_given_up() {
    let Some(lab) = Lab::if_possible() else { return };
    let (_ssh, _web) = (lab.tcp_service(22), lab.tcp_service(80));
    let first = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    let web = SSH_2S.replace("tcp/22", "tcp/80");
    let second = posternd(&lab).config(&web).rule("knock", &KNOCK.replace("000/", "001/")).launch();
    let told = second.wait_for("table-taken", |_| true);
    let config = first.dir().join("postern.toml");
    assert!(told.text("detail").contains(config.to_str().unwrap()), "{told}");
    // Whatever becomes of the first, its port is its own.
    let (first, _) = first.kill();
    assert!(is_closed(&lab));
    let refused = reset(second.dir(), &lab);
    assert!(!refused.status.success());
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("posternd reset --config") && words.contains(config.to_str().unwrap()), "{words}");
    let done = reset(first.dir(), &lab);
    assert!(done.status.success(), "{done:?}");
    second.wait_for("ready", |_| true);
    assert!(lab.tcp(STRANGER4, 80, A_WHILE).is_silence());
    assert!(lab.tcp_connects(STRANGER4, 22, SOON));
    second.stop();
}

/// What is written in two steps: first without the door, then as it was.
#[test]
fn half_a_file_lets_go_of_nothing() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let lamp = "[doors.lamp]\nopen = [\"/bin/true\"]\n";
    let (half, whole) = (format!("interfaces = [\"eth0\"]\n{lamp}"), format!("{SSH_2S}\n{lamp}"));
    let (lamp_rule, ssh_rule) = (KNOCK.replace("ssh", "lamp"), KNOCK);
    let daemon = posternd(&lab).config(&whole).rule("knock", &lamp_rule).start();
    let in_force = |daemon: &Daemon<'_>, text: &str| {
        let mark = daemon.log().mark();
        daemon.write("postern.toml", text);
        daemon.wait_since(mark, "reload", |entry| entry.number("generation").is_some());
    };
    while_strangers_try(&lab, || {
        for _ in 0..3 {
            in_force(&daemon, &half);
            in_force(&daemon, &whole);
        }
    });
    // A file that has not changed for a while is complete; SIGHUP asks for it at once.
    in_force(&daemon, &half);
    assert!(lab.tcp_connects(STRANGER4, 22, SOON));
    in_force(&daemon, &whole);
    assert!(is_closed(&lab));
    daemon.write("postern.toml", &half);
    daemon.signal(Signal::HUP);
    assert!(lab.tcp_connects(STRANGER4, 22, SOON));
    // And back, with a rule that opens it.
    in_force(&daemon, &whole);
    daemon.change_rule("knock", ssh_rule);
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}

/// Half of it, and the rest by and by, without closing the file.
#[test]
fn a_file_that_is_being_written_lets_go_of_nothing() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let lamp = "[doors.lamp]\nopen = [\"/bin/true\"]\n";
    let half = format!("interfaces = [\"eth0\"]\n{lamp}");
    let daemon = posternd(&lab)
        .config(&format!("{SSH_2S}\n{lamp}"))
        .rule("lamp", &KNOCK.replace("ssh", "lamp"))
        .start();
    while_strangers_try(&lab, || {
        let mark = daemon.log().mark();
        daemon.write("postern.toml", &half);
        daemon.wait_since(mark, "reload", |entry| entry.number("generation").is_some());
        let path = daemon.dir().join("postern.toml");
        let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("it is ours");
        file.write_all(b"# a slow writer\n").expect("there is room");
        // Another file changes meanwhile, and more time passes than the daemon waits before it releases ports.
        daemon.change_rule("lamp", &format!("for = \"1m\"\n{}", KNOCK.replace("ssh", "lamp")));
        thread::sleep(Duration::from_secs(5));
        file.write_all(b"[doors.ssh]\nguard = \"tcp/22\"\n").expect("there is room");
        let mark = daemon.log().mark();
        drop(file);
        daemon.wait_since(mark, "reload", |entry| entry.number("generation").is_some());
    });
    assert!(is_closed(&lab));
    daemon.stop();
}

#[test]
fn a_session_that_was_there_before_lives_on_though_it_was_idle() {
    let Some(lab) = Lab::if_possible() else { return };
    let (_ssh, _web) = (lab.tcp_service(22), lab.tcp_service(80));
    let mut sessions = [(CLIENT4, 22), (CLIENT6, 22), (CLIENT4, 80)]
        .map(|(client, port)| greeted(lab.tcp(client, port, SOON).connected()));
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    assert!(is_closed(&lab));
    let mark = daemon.log().mark();
    daemon.write("postern.toml", SSH_2S.replace("\"tcp/22\"", "[\"tcp/22\", \"tcp/80\"]"));
    daemon.wait_since(mark, "reload", |entry| entry.number("generation").is_some());
    assert!(lab.tcp(STRANGER4, 80, A_WHILE).is_silence());
    for session in &mut sessions {
        assert!(is_alive(session));
    }
    daemon.stop();
}

#[test]
fn who_comes_from_a_trusted_network_or_interface_needs_no_knock() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let always = |list: &str| format!("{SSH_2S}\nalways = {list}\n");
    let daemon = posternd(&lab)
        .config(&always(&format!("[\"{CLIENT4}\", \"2001:db8:ffff::/48\"]")))
        .rule("knock", KNOCK)
        .start();
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    assert!(is_closed(&lab) && lab.tcp(CLIENT6, 22, A_WHILE).is_silence());
    let mark = daemon.log().mark();
    daemon.write("postern.toml", always("\"eth0\""));
    daemon.wait_since(mark, "reload", |entry| entry.number("generation").is_some());
    assert!(lab.tcp_connects(STRANGER4, 22, SOON) && lab.tcp_connects(STRANGER6, 22, SOON));
    daemon.stop();
}

#[test]
fn a_door_opens_for_the_prefix_of_the_client_if_door_and_rule_allow_it() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let door = format!("{SSH_2S}\nprefixes = [\"ipv6/64\", \"ipv4/28\"]\n").replace("2s", "1m");
    let rule = format!("prefixes = [\"ipv6/64\"]\n{KNOCK}\nprefix = \"ipv6/64\"\n");
    let daemon = posternd(&lab).config(&door).rule("knock", &rule).start();
    let IpAddr::V6(client) = CLIENT6 else { unreachable!() };
    let network = Ipv6Addr::from_bits(client.to_bits() >> 64 << 64);
    lab.knock(CLIENT6, STEPS);
    let open = daemon.wait_for("open", |_| true);
    assert_eq!(open.text("src"), format!("{network}/64"));
    assert!(
        lab.tcp_connects(CLIENT6, 22, SOON) && lab.tcp_connects(STRANGER6, 22, SOON),
        "its neighbour too"
    );
    lab.knock(CLIENT4, STEPS);
    eventually("the client of the other family is let in alone", || {
        lab.tcp_connects(CLIENT4, 22, Duration::from_millis(100)).then_some(())
    });
    assert!(lab.tcp(STRANGER4, 22, A_WHILE).is_silence());
    daemon.stop();
}

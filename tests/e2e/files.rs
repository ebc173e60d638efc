//! Files that others can write decide nothing, and what a first configuration gets wrong is reported before it locks a client out.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use postern_tests::{CLIENT4, CLIENT6, Daemon, Lab, STRANGER4};

use crate::{A_WHILE, KNOCK, SSH_2S, STEPS, STORY, posternd};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the file is ours");
}

#[test]
fn a_file_that_others_can_write_is_refused_and_what_runs_stays() {
    let Some(lab) = Lab::if_possible() else { return };
    let module = wat::parse_str(include_str!("../guests/sequence.wat")).expect("a rule");
    let daemon = posternd(&lab)
        .config(SSH_2S)
        .rule("knock", KNOCK)
        .rule("own", "module = \"../own.wasm\"\ndoor = \"ssh\"\n")
        .file("own.wasm", module)
        .start();
    for (name, open, closed) in
        [("own.wasm", 0o666, 0o644), ("rules/knock.toml", 0o646, 0o644), ("rules", 0o777, 0o755)]
    {
        let path = daemon.dir().join(name);
        let mark = daemon.log().mark();
        set_mode(&path, open);
        let refusal = daemon.wait_for_refusal(mark);
        let words = format!("{}: everybody may write it", path.display());
        assert!(refusal.text("detail").starts_with(&words), "{refusal}");
        assert_eq!(refusal.text("detail").lines().count(), 1, "{refusal}");
        let mark = daemon.log().mark();
        set_mode(&path, closed);
        daemon.wait_since(mark, "reload", |_| true);
    }
    // What was written while everybody could write it is not in force.
    set_mode(&daemon.dir().join("postern.toml"), 0o666);
    let mark = daemon.log().mark();
    daemon.write("rules/knock.toml", KNOCK.replace("7000", "7001"));
    daemon.wait_for_refusal(mark);
    lab.knock(CLIENT4, &STEPS.replace("7000", "7001"));
    lab.knock(CLIENT6, STEPS);
    daemon.expect_story(CLIENT6, &STORY);
    assert!(daemon.story(CLIENT4).is_empty());
    daemon.stop();
}

#[test]
fn a_start_with_a_file_of_everybodys_leaves_the_guard_as_it_is() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let (setup, _) = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start().stop();
    let setup = setup.config(&SSH_2S.replace("tcp/22", "tcp/23"));
    let file = setup.dir().join("postern.toml");
    set_mode(&file, 0o666);
    let mut daemon = setup.launch();
    assert_eq!(daemon.wait_for_end().code(), Some(1));
    daemon.wait_for("mistake", |entry| entry.text("detail").contains("chmod go-w"));
    assert!(lab.tcp(STRANGER4, 22, A_WHILE).is_silence());
}

#[test]
fn strict_modes_can_be_waived_and_that_is_said() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon =
        posternd(&lab).config(&format!("strict_modes = false\n{SSH_2S}")).rule("knock", KNOCK).start();
    daemon.wait_for("advice", |entry| entry.text("detail").starts_with("strict_modes = false"));
    let mark = daemon.log().mark();
    set_mode(&daemon.dir().join("rules/knock.toml"), 0o666);
    daemon.wait_since(mark, "reload", |_| true);
    // But not by the file itself: everybody could have written that into it.
    let mark = daemon.log().mark();
    set_mode(&daemon.dir().join("postern.toml"), 0o666);
    daemon.wait_for_refusal(mark);
    let (setup, _) = daemon.stop();
    let check = setup.check();
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    let config = setup.dir().join("postern.toml");
    let waived = lab.server_exec(&[
        env!("CARGO_BIN_EXE_posternd"),
        "check",
        "--no-strict-modes",
        "--config",
        config.to_str().expect("text"),
    ]);
    assert!(waived.status.success(), "{waived:?}");
    assert!(String::from_utf8_lossy(&waived.stderr).contains("warning: --no-strict-modes"), "{waived:?}");
}

/// At the start, and at the reload that brings it; of each program once until something else is to be said of it.
#[test]
fn a_program_that_others_may_write_is_told_when_it_is_there_or_changes_and_else_not() {
    for one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let setup = posternd(&lab).file("tell", "#!/bin/sh\n").file("lamp", "#!/bin/sh\n");
        let (tell, lamp) = (setup.dir().join("tell"), setup.dir().join("lamp"));
        set_mode(&tell, 0o757);
        set_mode(&lamp, 0o755);
        let config = |doors: &str| {
            let hook = format!("[[hooks]]\non = \"open\"\nrun = [{tell:?}]\n");
            SSH_2S.to_owned() + doors + &hook
        };
        let door = format!("[doors.lamp]\nopen = [{lamp:?}, \"on\"]\nclose = [{lamp:?}, \"off\"]\n");
        let setup = setup.config(&config("")).rule("knock", KNOCK);
        let daemon = if one_process { setup.one_process().start() } else { setup.start() };
        let said = |daemon: &Daemon| {
            let entries = daemon.log().entries();
            let said = entries.iter().filter(|entry| entry.event() == "advice");
            let said = said.map(|entry| entry.text("detail").to_owned());
            said.filter(|said| said.contains("have something else run")).collect::<Vec<_>>()
        };
        let of_tell = format!(
            "hooks[0].run: {}: everybody may write it, and could have something else run; chmod go-w {0}",
            tell.display()
        );
        assert_eq!(said(&daemon), [of_tell.as_str()]);
        let reload = |text: &str| {
            let mark = daemon.log().mark();
            daemon.write("postern.toml", text);
            daemon.wait_since(mark, "reload", |_| true);
        };
        // One that nobody can exchange, and one that is no better than it was.
        reload(&config(&door));
        daemon.change_rule("knock", &format!("for = \"3s\"\n{KNOCK}"));
        assert_eq!(said(&daemon).len(), 1);
        // It can be now, and is in two places.
        set_mode(&lamp, 0o777);
        reload(&format!("{}# again\n", config(&door)));
        let of_lamp = format!(
            "doors.lamp.open and 1 more: {}: everybody may write it, and could have something else run; chmod go-w {0}",
            lamp.display()
        );
        daemon.wait_for("advice", |entry| entry.text("detail") == of_lamp);
        reload(&config(&door));
        assert_eq!(said(&daemon).len(), 2);
        // Away and back.
        reload(&config(""));
        assert_eq!(said(&daemon).len(), 2);
        let mark = daemon.log().mark();
        reload(&config(&door));
        daemon.wait_since(mark, "advice", |entry| entry.text("detail") == of_lamp);
        let (_, log) = daemon.stop();
        let entries = log.entries();
        let advice =
            entries.iter().filter(|entry| entry.event() == "advice" && entry.text("detail") == of_lamp);
        assert_eq!(advice.count(), 2);
    }
}

#[test]
fn an_interface_that_is_not_there_is_told_with_those_that_are() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let setup = posternd(&lab).config(&SSH_2S.replace("eth0", "ens9")).rule("knock", KNOCK);
    let check = setup.check();
    let (out, err) = (String::from_utf8_lossy(&check.stdout), String::from_utf8_lossy(&check.stderr));
    assert!(check.status.success() && out.contains("no mistakes"), "{check:?}");
    assert!(err.starts_with("warning: not there now: ens9;"), "{err}");
    assert!(err.contains("eth0") && err.contains("lo"), "{err}");
    let daemon = setup.launch();
    let advice = daemon.wait_for("advice", |_| true);
    assert!(advice.text("detail").contains("ens9") && advice.text("detail").contains("eth0"), "{advice}");
    assert!(advice.text("level").eq_ignore_ascii_case("warn"), "{advice}");
    assert!(lab.tcp(STRANGER4, 22, A_WHILE).is_silence(), "the guard is up all the same");
    daemon.stop();

    let check = posternd(&lab).config(&SSH_2S.replace("eth0", "eth*")).rule("knock", KNOCK).check();
    let err = String::from_utf8_lossy(&check.stderr);
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    assert!(err.contains(" interfaces[0]: `eth*` is a pattern"), "{err}");
    assert!(err.contains("there are") && err.contains("eth0"), "{err}");
}

/// Port 80 of a container is not port 80 of this machine, and the daemon says so if the wrong one is guarded.
#[test]
fn a_way_past_a_guarded_port_is_told() {
    let Some(lab) = Lab::if_possible() else { return };
    lab.firewall(
        "table ip containers { chain before { type nat hook prerouting priority dstnat; tcp dport 8080 dnat to 172.17.0.2:80; }; }",
    );
    let setup = posternd(&lab).config(&SSH_2S.replace("tcp/22", "tcp/80")).rule("knock", KNOCK);
    let check = setup.check();
    let words = "tcp/8080 leads to port 80 of 172.17.0.2 (ip containers before)";
    assert!(check.status.success() && String::from_utf8_lossy(&check.stderr).contains(words), "{check:?}");
    let daemon = setup.start();
    daemon.wait_for("advice", |entry| entry.text("detail").starts_with(words));
    let (setup, _) = daemon.stop();
    let check = setup.config(&SSH_2S.replace("tcp/22", "tcp/8080")).check();
    assert!(check.status.success() && check.stderr.is_empty(), "{check:?}");
}

//! What must be closed by commands after a crash, and what becomes of doors whose commands cannot be remembered or do not end.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use postern_tests::{
    CLIENT4, CLIENT6, Lab, SERVER4, STRANGER4, STRANGER6, Signal, eventually, frame, skip, sleep_until,
};

use crate::disk::Disk;
use crate::{A_WHILE, KNOCK, LATENESS, SOON, SSH_2S, STEPS, posternd};

/// Writes its arguments to a file in its folder.
const SCRIPT: &str = r#"echo "$2 $3" >> "$1/ran""#;

/// A command door; `more` is about it.
fn door(dir: &Path, name: &str, more: &str) -> String {
    let command =
        |verb| format!(r#"["/bin/sh", "{0}/door.sh", "{0}", "{name}-{verb}", "{{ip}}"]"#, dir.display());
    format!("[doors.{name}]\nopen = {}\nclose = {}\n{more}\n", command("on"), command("off"))
}

fn rule(door: &str, sequence: &str) -> String {
    format!("module = \"sequence\"\ndoor = \"{door}\"\n[settings]\nsequence = {sequence}\n")
}

/// One step to the lamp.
const LAMP_9: &str = "module = \"sequence\"\ndoor = \"lamp\"\n[settings]\nsequence = [\"7009/udp\"]\n";

fn lamp_rule() -> String {
    KNOCK.replace("\"ssh\"", "\"lamp\"")
}

fn ran(dir: &Path) -> String {
    fs::read_to_string(dir.join("ran")).unwrap_or_default()
}

#[test]
fn on_a_full_disk_nothing_is_opened_nor_closed_and_with_room_again_it_goes_on() {
    let Some(lab) = Lab::if_possible() else { return };
    let disk = Disk::new();
    let setup = posternd(&lab);
    symlink(disk.state(), setup.dir().join("state")).expect("the folder is ours");
    fs::create_dir(disk.state()).expect("the disk is ours");
    let config = format!("interfaces = [\"eth0\"]\n{}", door(setup.dir(), "lamp", "for = \"2s\""));
    let daemon = setup.file("door.sh", SCRIPT).config(&config).rule("knock", &lamp_rule()).start();
    lab.knock(CLIENT6, STEPS);
    daemon.expect_story(CLIENT6, &["stage 1", "stage 2", "open lamp"]);
    disk.fill();
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &["stage 1", "stage 2", "refuse lamp not-recorded"]);
    let refusal = daemon.wait_for("refuse", |_| true);
    assert!(refusal.text("detail").contains("No space left on device"), "{refusal}");
    // What was open before is closed on time all the same, and by then the other would have been.
    daemon.expect_story(CLIENT6, &["stage 1", "stage 2", "open lamp", "close lamp expired"]);
    sleep_until(Instant::now() + Duration::from_secs(1));
    assert_eq!(ran(daemon.dir()), format!("lamp-on {CLIENT6}\nlamp-off {CLIENT6}\n"));

    disk.free();
    let mark = daemon.log().mark();
    eventually("the door opens again", || {
        lab.knock(CLIENT4, STEPS);
        let told = |entry: &postern_tests::Entry| ["open", "refuse"].contains(&entry.event());
        let entry = eventually("an answer", || daemon.log().entries().into_iter().skip(mark).rfind(told));
        (entry.event() == "open").then_some(())
    });
    let expected = format!("lamp-on {CLIENT6}\nlamp-off {CLIENT6}\nlamp-on {CLIENT4}\n");
    assert_eq!(ran(daemon.dir()), expected);
    // It is on the disk, and what was closed while that was full is not.
    let (setup, _) = daemon.kill();
    let daemon = setup.start();
    daemon.wait_for("close", |entry| entry.text("src") == CLIENT4.to_string());
    assert_eq!(ran(daemon.dir()), format!("{expected}lamp-off {CLIENT4}\n"));
    daemon.stop();
}

#[test]
fn a_daemon_that_starts_on_a_full_disk_goes_on_when_there_is_room() {
    let Some(lab) = Lab::if_possible() else { return };
    let disk = Disk::new();
    let setup = posternd(&lab);
    symlink(disk.state(), setup.dir().join("state")).expect("the folder is ours");
    fs::create_dir(disk.state()).expect("the disk is ours");
    disk.fill();
    let config = format!("interfaces = [\"eth0\"]\n{}", door(setup.dir(), "lamp", "for = \"1h\""));
    let daemon = setup.file("door.sh", SCRIPT).config(&config).rule("knock", &lamp_rule()).start();
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &["stage 1", "stage 2", "refuse lamp not-recorded"]);
    disk.free();
    daemon.wait_for("journal-writable", |_| true);
    lab.knock(CLIENT6, STEPS);
    daemon.expect_story(CLIENT6, &["stage 1", "stage 2", "open lamp"]);
    assert_eq!(ran(daemon.dir()), format!("lamp-on {CLIENT6}\n"));
    let (setup, _) = daemon.kill();
    let daemon = setup.start();
    let (setup, _) = daemon.stop();
    assert_eq!(
        ran(setup.dir()),
        format!("lamp-on {CLIENT6}\nlamp-off {CLIENT6}\n"),
        "taken over, and closed at the stop"
    );
}

#[test]
fn on_a_full_disk_runners_that_are_killed_close_what_was_opened_once() {
    let Some(lab) = Lab::if_possible() else { return };
    let disk = Disk::new();
    let setup = posternd(&lab);
    symlink(disk.state(), setup.dir().join("state")).expect("the folder is ours");
    fs::create_dir(disk.state()).expect("the disk is ours");
    let config = format!("interfaces = [\"eth0\"]\n{}", door(setup.dir(), "lamp", "for = \"2s\""));
    let daemon = setup.file("door.sh", SCRIPT).config(&config).rule("lamp", LAMP_9).start();
    lab.knock(CLIENT4, "7009/udp");
    daemon.wait_for("open", |_| true);
    disk.fill();
    let kill = || {
        let killed = daemon.signal_role("runner", Signal::KILL);
        daemon.wait_for_next("runner", killed);
    };
    kill();
    daemon.wait_for("close", |entry| entry.text("src") == CLIENT4.to_string());
    // Its record cannot be erased so far.
    kill();
    lab.knock(CLIENT6, "7009/udp");
    daemon.wait_for("refuse", |entry| entry.text("drop") == "not-recorded");
    disk.free();
    eventually("the door opens again", || {
        lab.knock(CLIENT6, "7009/udp");
        ran(daemon.dir()).contains(&format!("lamp-on {CLIENT6}")).then_some(())
    });
    let (setup, _) = daemon.stop();
    let expected = [CLIENT4, CLIENT6].map(|client| format!("lamp-on {client}\nlamp-off {client}\n"));
    assert_eq!(ran(setup.dir()), expected.concat());
}

#[test]
fn on_a_disk_that_cannot_be_written_nothing_starts_and_the_guard_stays_up() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let disk = Disk::new();
    let setup = posternd(&lab);
    symlink(disk.state(), setup.dir().join("state")).expect("the folder is ours");
    fs::create_dir(disk.state()).expect("the disk is ours");
    disk.make_read_only();
    let lamp = door(setup.dir(), "lamp", "for = \"1h\"");
    let config = format!("{SSH_2S}\n{lamp}");
    let setup = setup.file("door.sh", SCRIPT).config(&config).rule("knock", KNOCK).rule("lamp", LAMP_9);
    let mut daemon = setup.launch();
    assert_eq!(daemon.wait_for_end().code(), Some(1));
    let mistakes: Vec<_> = daemon.log().entries().into_iter().filter(|it| it.event() == "mistake").collect();
    let [mistake] = &mistakes[..] else { panic!("one line says it: {mistakes:?}") };
    let words = mistake.text("detail");
    assert!(words.contains("doors.lamp") && words.contains("Read-only file system"), "{words}");
    for stranger in [STRANGER4, STRANGER6] {
        assert!(lab.tcp(stranger, 22, A_WHILE).is_silence(), "the guard is up");
    }
    disk.make_writable();
    let daemon = daemon.ended().start();
    lab.knock(CLIENT4, "7009/udp");
    daemon.wait_for("open", |entry| entry.text("door") == "lamp");
    let (setup, _) = daemon.kill();
    // What is open is known, and cannot be struck out: it is not closed now, nor forgotten.
    disk.make_read_only();
    let mut daemon = setup.launch();
    daemon.wait_for_end();
    disk.make_writable();
    let daemon = daemon.ended().start();
    let (setup, _) = daemon.stop();
    assert_eq!(ran(setup.dir()), format!("lamp-on {CLIENT4}\nlamp-off {CLIENT4}\n"));
}

#[test]
fn a_damaged_journal_is_kept_aside_with_a_line_and_doors_go_on() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab);
    let config = format!("interfaces = [\"eth0\"]\n{}", door(setup.dir(), "lamp", "for = \"1h\""));
    let mut setup = setup.file("door.sh", SCRIPT).config(&config).rule("lamp", LAMP_9);
    let journal = setup.dir().join("state/postern.redb");
    for (client, kept) in [(CLIENT4, "damaged"), (CLIENT6, "damaged-2")] {
        let daemon = setup.start();
        lab.knock(client, "7009/udp");
        daemon.wait_for("open", |_| true);
        setup = daemon.kill().0;
        let mut bytes = fs::read(&journal).expect("it is there");
        bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(&journal, &bytes).expect("it is ours");
        let daemon = setup.start();
        let aside = journal.with_extension(kept);
        let said = daemon.log().entries().into_iter().filter(|it| it.event() == "journal-damaged");
        let said: Vec<_> = said.map(|entry| entry.to_string()).collect();
        let [line] = &said[..] else { panic!("one line says it: {said:?}") };
        assert!(line.contains(aside.to_str().expect("UTF-8")) && line.contains("by hand"), "{line}");
        assert_eq!(fs::read(&aside).expect("it is kept"), bytes);
        // Another one is in its place.
        lab.knock(client, "7009/udp");
        daemon.wait_for("open", |_| true);
        setup = daemon.stop().0;
        assert!(
            ran(setup.dir()).ends_with(&format!("lamp-on {client}\nlamp-on {client}\nlamp-off {client}\n"))
        );
    }
}

#[test]
fn another_user_can_neither_read_nor_lock_what_a_crash_leaves_open() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab);
    let state = setup.dir().join("state");
    let open_to_all = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    fs::create_dir(&state).expect("the folder is ours");
    open_to_all(setup.dir(), 0o755);
    open_to_all(&state, 0o755);
    let config = format!("interfaces = [\"eth0\"]\n{}", door(setup.dir(), "lamp", "for = \"2s\""));
    let daemon = setup.file("door.sh", SCRIPT).config(&config).rule("knock", &lamp_rule()).start();
    let journal = state.join("postern.redb");
    let as_nobody = |program: &str| {
        let mut command = Command::new(program);
        command.uid(65534).gid(65534).current_dir("/");
        command
    };
    if let Err(error) = as_nobody("true").status() {
        return skip(&format!("there is no other user here: {error}"));
    }
    let may = |program: &str| as_nobody(program).arg(&journal).output().expect("it runs").status.success();
    lab.knock(CLIENT4, STEPS);
    daemon.wait_for("open", |_| true);
    assert!(!may("cat") && !may("md5sum"));
    let (setup, _) = daemon.kill();
    assert!(!may("cat"));

    // As a version before left it, and with a lock on it.
    open_to_all(&state, 0o755);
    open_to_all(&journal, 0o644);
    let mut stranger = as_nobody("flock")
        .arg("-x")
        .arg(&journal)
        .args(["sh", "-c", "echo locked; sleep 30"])
        .stdout(std::process::Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("there is a flock");
    let mut said = [0; 6];
    std::io::Read::read_exact(&mut stranger.stdout.take().expect("it is piped"), &mut said)
        .expect("it is locked");
    let daemon = setup.start();
    daemon.wait_for("close", |entry| entry.text("reason") == "expired");
    assert_eq!(ran(daemon.dir()), format!("lamp-on {CLIENT4}\nlamp-off {CLIENT4}\n"));
    assert!(!may("cat"));
    let group = rustix::process::Pid::from_child(&stranger);
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    let _ = stranger.wait();
    daemon.stop();
}

#[test]
fn two_daemons_beside_each_other_have_a_journal_each_and_the_next_start_closes_for_both() {
    let Some(lab) = Lab::if_possible() else { return };
    let first = posternd(&lab);
    let second = posternd(&lab);
    let state = first.dir().join("state");
    symlink(&state, second.dir().join("state")).expect("the folder is ours");
    fs::create_dir(&state).expect("the folder is ours");
    let config =
        |dir: &Path, name: &str| format!("interfaces = [\"eth0\"]\n{}", door(dir, name, "for = \"4s\""));
    let (of_first, of_second) = (config(first.dir(), "lamp"), config(first.dir(), "bell"));
    let first =
        first.file("door.sh", SCRIPT).config(&of_first).rule("a", &rule("lamp", "[\"7000/udp\"]")).start();
    let second = second.config(&of_second).rule("a", &rule("bell", "[\"7001/udp\"]")).start();
    lab.knock(CLIENT4, "7000/udp 7001/udp");
    first.wait_for("open", |entry| entry.text("door") == "lamp");
    second.wait_for("open", |entry| entry.text("door") == "bell");
    let opened = Instant::now();
    let ((first, _), (second, _)) = (first.kill(), second.kill());
    let daemon = first.config(SSH_2S).rule("a", KNOCK).start();
    for name in ["lamp", "bell"] {
        let close = daemon.wait_for("close", |entry| entry.text("door") == name);
        assert!(close.since(opened) < Duration::from_secs(4) + LATENESS, "{close}");
    }
    let ran = ran(daemon.dir());
    let mut lines: Vec<_> = ran.lines().collect();
    lines.sort_unstable();
    let expected = ["bell-off", "bell-on", "lamp-off", "lamp-on"].map(|line| format!("{line} {CLIENT4}"));
    assert_eq!(lines, expected);
    daemon.stop();
    drop(second);
}

#[test]
fn commands_that_hang_keep_no_door_from_opening_nor_from_closing_on_time() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab);
    // Opens for one client, and hangs for all others.
    let script = format!(
        r#"case "$2 $3" in "bell-on {CLIENT4}"|lamp*|*-off*) ;; *) echo hung >> "$1/hung"; sleep 60;; esac
        {SCRIPT}"#
    );
    let limit = "for = \"2s\"\ntimeout = \"30s\"";
    let doors = door(setup.dir(), "bell", limit) + &door(setup.dir(), "lamp", limit);
    let daemon = setup
        .file("door.sh", script)
        .config(&format!("interfaces = [\"eth0\"]\n{doors}"))
        .rule("bell", &rule("bell", "[\"7000/udp\"]"))
        .rule("lamp", &rule("lamp", "[\"7001/udp\"]"))
        .start();
    lab.knock(CLIENT4, "7000/udp");
    let opened = daemon.wait_for("open", |entry| entry.text("door") == "bell").read_at;
    let mut wire = lab.injector();
    for n in 1..=100 {
        let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, n)), 4000);
        wire.send(&frame::udp(source, SocketAddr::new(SERVER4, 7000), b""));
    }
    let hung = || fs::read_to_string(daemon.dir().join("hung")).unwrap_or_default().lines().count();
    eventually("as many hang as may run", || (hung() >= 32).then_some(()));
    let asked = Instant::now();
    lab.knock(CLIENT6, "7001/udp");
    let lamp = daemon.wait_for("open", |entry| entry.text("door") == "lamp");
    assert!(lamp.since(asked) < SOON, "{lamp}");
    for (door, opened) in [("bell", opened), ("lamp", lamp.read_at)] {
        let close = daemon.wait_for("close", |entry| entry.text("door") == door);
        let lasted = close.since(opened);
        assert!(lasted < Duration::from_secs(2) + LATENESS, "{door}: {lasted:?}");
    }
    assert_eq!(hung(), 32, "the bound of one door");
    daemon.kill();
}

#[test]
fn a_stop_does_not_wait_for_a_door_that_cannot_be_closed_and_the_next_start_tries_again() {
    let Some(lab) = Lab::if_possible() else { return };
    let config = "interfaces = [\"eth0\"]\n[doors.lamp]\nopen = [\"/bin/true\"]\nclose = [\"/bin/false\"]\nfor = \"1h\"\n";
    let mut daemon = posternd(&lab).config(config).rule("knock", &lamp_rule()).start();
    lab.knock(CLIENT4, STEPS);
    daemon.wait_for("open", |_| true);
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    let status = daemon.wait_for_end();
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    assert_eq!(status.code(), Some(4));
    let stuck = daemon.wait_for("stuck", |_| true);
    assert_eq!(stuck.number("again_s"), None, "nobody tries again: {stuck}");
    let daemon = daemon.ended().config(SSH_2S).rule("knock", KNOCK).start();
    // Its time comes after an hour, or with the next stop.
    daemon.signal(Signal::TERM);
    let stuck = daemon.wait_for("stuck", |_| true);
    assert_eq!((stuck.text("door"), stuck.text("src")), ("lamp", CLIENT4.to_string().as_str()));
}

#[test]
fn without_a_journal_command_doors_are_refused_and_with_one_again_they_are_not() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).file("state", "").file("door.sh", SCRIPT);
    let lamp = door(setup.dir(), "lamp", "for = \"2s\"");
    let config = format!("{SSH_2S}\n{lamp}");
    let mut daemon = setup.config(&config).rule("knock", &lamp_rule()).launch();
    let status = daemon.wait_for_end();
    assert_eq!(status.code(), Some(1));
    let mistake = daemon.wait_for("mistake", |_| true);
    let words = mistake.text("detail");
    assert!(words.contains("doors.lamp") && words.contains("/state cannot be made"), "{words}");

    let setup = daemon.ended();
    let daemon = setup.config(SSH_2S).rule("knock", KNOCK).start();
    let mark = daemon.log().mark();
    daemon.write("rules/lamp.toml", rule("lamp", "[\"7009/udp\"]"));
    daemon.write("postern.toml", &config);
    daemon.wait_since(mark, "mistake", |entry| entry.text("detail").contains("nobody would close it"));
    daemon.wait_for_refusal(mark);
    // There is room for one now, and it is made by the reload that needs it.
    daemon.remove("state");
    let mark = daemon.log().mark();
    daemon.write("postern.toml", &config);
    daemon.wait_since(mark, "reload", |_| true);
    lab.knock(CLIENT4, "7009/udp");
    daemon.wait_for("open", |entry| entry.text("door") == "lamp");
    let (setup, _) = daemon.kill();
    let daemon = setup.start();
    daemon.wait_for("close", |entry| entry.text("door") == "lamp");
    daemon.stop();
}

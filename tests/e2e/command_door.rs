//! A pair of commands.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use postern_tests::{CLIENT4, CLIENT6, Lab, PATIENCE, eventually_within, sleep_until};

use crate::{KNOCK, STEPS, posternd};

/// Writes its arguments and its whole environment to a journal, a line a run.
const SCRIPT: &str = r#"
    journal=$1; shift
    echo "$*; $(tr '\0' '\n' < /proc/$$/environ | sort | tr '\n' ' ')" >> "$journal"
"#;

fn config(dir: &Path, open: &str, close: &str, more: &str) -> String {
    let dir = dir.display();
    let argv = |args: &str| {
        let quoted: Vec<_> = args.split(' ').map(|arg| format!("{arg:?}")).collect();
        format!(r#"["/bin/sh", "{dir}/door.sh", "{dir}/journal", {}]"#, quoted.join(", "))
    };
    format!("interfaces = [\"eth0\"]\n[doors.lamp]\nopen = {}\nclose = {}\n{more}\n", argv(open), argv(close))
}

fn rule() -> String {
    KNOCK.replace("\"ssh\"", "\"lamp\"")
}

#[track_caller]
fn expect_journal(dir: &Path, expected: &str) {
    let read = || fs::read_to_string(dir.join("journal")).unwrap_or_default();
    let as_long = expected.lines().count();
    eventually_within(PATIENCE, &format!("a journal of {as_long} lines"), || {
        (read().lines().count() >= as_long).then_some(())
    });
    assert_eq!(without_path(&read()), expected);
}

/// What `PATH` is, is the daemon's affair.
fn without_path(journal: &str) -> String {
    let hide = |line: &str| match line.split_once("PATH=") {
        Some((before, after)) => format!("{before}PATH=...{}\n", &after[after.find(' ').unwrap_or(0)..]),
        None => format!("{line}\n"),
    };
    journal.lines().map(hide).collect()
}

#[test]
fn commands_get_their_values_as_arguments_and_environment_and_nothing_else() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab);
    let config = config(setup.dir(), "on {ip} {door} {rule} {seconds}", "off {ip} a{ip}b", "for = \"1s\"");
    let daemon = setup.file("door.sh", SCRIPT).config(&config).rule("knock", &rule()).start();
    for client in [CLIENT4, CLIENT6] {
        lab.knock(client, STEPS);
        daemon.expect_story(client, &["stage 1", "stage 2", "open lamp", "close lamp expired"]);
    }
    let mut expected = String::new();
    for ip in [CLIENT4, CLIENT6] {
        let environment =
            format!("PATH=... POSTERN_DOOR=lamp POSTERN_IP={ip} POSTERN_RULE=knock POSTERN_SECONDS=");
        expected += &format!("on {ip} lamp knock 1; {environment}1 \noff {ip} a{ip}b; {environment}0 \n");
    }
    expect_journal(daemon.dir(), &expected);
    daemon.stop();
}

#[test]
fn a_close_waits_for_a_slow_open() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab);
    let script = r#"echo "$2 begins" >> "$1"; [ "$2" = off ] || sleep 1.5; echo "$2 ends" >> "$1""#;
    let config = config(setup.dir(), "on", "off", "for = \"1s\"");
    let daemon = setup.file("door.sh", script).config(&config).rule("knock", &rule()).start();
    lab.knock(CLIENT4, STEPS);
    expect_journal(daemon.dir(), "on begins\non ends\noff begins\noff ends\n");
    daemon.stop();
}

#[test]
fn opening_again_runs_no_second_command() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab);
    let script = r#"echo "$2" >> "$1""#;
    let config = config(setup.dir(), "on", "off", "for = \"1s\"");
    let daemon = setup.file("door.sh", script).config(&config).rule("knock", &rule()).start();
    lab.knock(CLIENT4, STEPS);
    lab.knock(CLIENT4, STEPS);
    daemon.wait_for("close", |_| true);
    expect_journal(daemon.dir(), "on\noff\n");
    daemon.expect_none("refuse", |_| true);
    daemon.stop();
}

#[test]
fn a_command_that_hangs_is_killed_and_what_it_did_is_undone() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab);
    // The shell stays, so that killing only the first process is not enough.
    let script = r#"[ "$2" = on ] || exec touch "$1.undone"; sleep 61 & echo "$$ $!" > "$1"; wait"#;
    let config = config(setup.dir(), "on", "off", "for = \"1m\"\ntimeout = \"300ms\"");
    let daemon = setup.file("door.sh", script).config(&config).rule("knock", &rule()).start();
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &["stage 1", "stage 2", "refuse lamp door-failed", "close lamp failed"]);
    assert!(daemon.dir().join("journal.undone").exists());
    let pids = fs::read_to_string(daemon.dir().join("journal")).expect("the command ran");
    for pid in pids.split_whitespace() {
        eventually_within(PATIENCE, &format!("the end of process {pid}"), || {
            // A zombie has ended too; the process that adopted it may be slow to notice.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
    }
    daemon.expect_none("open", |_| true);
    daemon.stop();
}

#[test]
fn what_a_failed_command_did_is_undone_and_its_words_are_told() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab);
    let script = r#"echo "$2" >> "$1"; [ "$2" = off ] || { echo "no bulb" >&2; exit 3; }"#;
    let config = config(setup.dir(), "on", "off", "for = \"1m\"");
    let daemon = setup.file("door.sh", script).config(&config).rule("knock", &rule()).start();
    lab.knock(CLIENT4, STEPS);
    expect_journal(daemon.dir(), "on\noff\n");
    let refusal = daemon.wait_for("refuse", |_| true);
    assert!(refusal.text("detail").ends_with("(exit status: 3): no bulb"), "{refusal}");
    daemon.stop();
}

#[test]
fn what_a_killed_daemon_left_open_is_closed_by_the_next_on_time_and_once() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab);
    let script = r#"echo "$2 $3 $(date +%s%N)" >> "$1""#;
    let config = config(setup.dir(), "on {ip}", "off {ip}", "for = \"3s\"");
    let daemon = setup.file("door.sh", script).config(&config).rule("knock", &rule()).start();
    let journal = |dir: &Path| fs::read_to_string(dir.join("journal")).unwrap_or_default();
    lab.knock(CLIENT4, STEPS);
    daemon.wait_for("open", |_| true);
    let (setup, _) = daemon.kill();
    // The door is not there any more; how to close it is in the journal.
    let daemon = setup.config("interfaces = [\"eth0\"]\n[doors.lamp]\nopen = [\"/bin/true\"]\n").start();
    let close = daemon.wait_for("close", |_| true);
    assert_eq!(
        (close.text("door"), close.text("src"), close.text("reason")),
        ("lamp", "10.77.0.2", "expired")
    );
    let lines: Vec<_> = journal(daemon.dir()).lines().map(str::to_owned).collect();
    let time = |line: &str| line.rsplit(' ').next().and_then(|time| time.parse::<u64>().ok());
    let [on, off] = &lines[..] else { panic!("{lines:?}") };
    assert!(on.starts_with("on 10.77.0.2 ") && off.starts_with("off 10.77.0.2 "), "{lines:?}");
    let open_for = (time(off).zip(time(on))).map(|(off, on)| (off - on) / 1_000_000);
    assert!(open_for.is_some_and(|millis| (2_500..4_500).contains(&millis)), "{open_for:?} ms");
    // Nothing is closed twice.
    let (setup, _) = daemon.stop();
    let (setup, _) = setup.start().stop();
    assert_eq!(journal(setup.dir()).lines().count(), 2);
}

#[test]
fn a_killed_daemon_loses_no_extension() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab);
    let script = r#"echo "$2" >> "$1""#;
    let config = config(setup.dir(), "on", "off", "for = \"2s\"");
    let longer = format!("for = \"1h\"\n{}", rule().replace("000/", "001/"));
    let daemon = setup.file("door.sh", script).config(&config).rule("knock", &rule());
    let daemon = daemon.rule("longer", &longer).start();
    lab.knock(CLIENT4, STEPS);
    daemon.wait_for("open", |_| true);
    lab.knock(CLIENT4, "7001/udp 8001/tcp 9001/udp");
    daemon.wait_for("extend", |_| true);
    // It need not be on the disk at once.
    eventually_within(PATIENCE, "the extension in the journal", || {
        let journal = fs::read(daemon.dir().join("state/postern.redb")).unwrap_or_default();
        journal.windows(16).any(|bytes| bytes == b"\"lasts\":3600000,").then_some(())
    });
    let (setup, _) = daemon.kill();
    let daemon = setup.start();
    sleep_until(Instant::now() + Duration::from_secs(3));
    daemon.expect_none("close", |_| true);
    expect_journal(daemon.dir(), "on\n");
    daemon.stop();
}

#[test]
fn a_command_that_fails_or_is_gone_opens_nothing() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab);
    let ghost = setup.dir().join("ghost");
    fs::copy("/bin/true", &ghost).expect("the folder is ours");
    let config = format!(
        r#"
        interfaces = ["eth0"]
        [doors.lamp]
        open = ["/bin/false"]
        for = "1m"
        [doors.ghost]
        open = [{ghost:?}]
        for = "1m"
        "#
    );
    let other = rule().replace("lamp", "ghost").replace("000/", "001/");
    let daemon = setup.config(&config).rule("knock", &rule()).rule("other", &other).start();
    daemon.remove("ghost");
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &["stage 1", "stage 2", "refuse lamp door-failed", "close lamp failed"]);
    lab.knock(CLIENT6, "7001/udp 8001/tcp 9001/udp");
    daemon.expect_story(CLIENT6, &["stage 1", "stage 2", "refuse ghost door-failed", "close ghost failed"]);
    daemon.expect_none("open", |_| true);
    daemon.stop();
}

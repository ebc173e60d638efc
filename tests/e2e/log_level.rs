//! `posternd run --log-level`: a level is that of Postern's own lines.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use postern_tests::guest::guest;
use postern_tests::{CLIENT4, Entry, Lab, Setup, Signal, eventually};
use rustix::process::{Pid, kill_process};

use crate::{KNOCK, PROGRAM, SSH_2S, posternd};

#[test]
fn debug_is_short_and_tells_why_a_client_starts_over() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = Setup::new(&lab, PROGRAM).config(SSH_2S).rule("ssh", KNOCK);
    let log = setup.dir().join("log");
    let read = || fs::read_to_string(&log).unwrap_or_default();
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--log-level", "debug", "--config"]).arg(setup.dir().join("postern.toml"));
    command.env("STATE_DIRECTORY", setup.dir().join("state"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).expect("a file"));
    let mut daemon = lab.server().spawn(&mut command).expect("it is there");
    eventually("it listens", || read().contains("listening on all interfaces").then_some(()));
    let lines = read().lines().count();
    assert!(lines < 100, "{lines} lines: {}", read());
    lab.knock(CLIENT4, "7000/udp 7000/udp");
    let said = format!("ssh: {CLIENT4} starts over: step 2 should be 8000/tcp, was 7000/udp");
    eventually("why", || read().contains(&said).then_some(()));
    kill_process(Pid::from_child(&daemon), Signal::TERM).expect("it runs");
    assert!(daemon.wait().expect("it ends").success(), "{}", read());
}

#[test]
fn what_is_neither_a_level_nor_a_filter_is_refused() {
    let done = Command::new(PROGRAM).args(["run", "--log-level", "dbug"]).output().expect("it runs");
    assert_eq!(done.status.code(), Some(3), "{done:?}");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("`dbug` is not a log level; use error, warn, info, debug or trace"), "{said}");
}

/// As an operator who looks into one rule, and wants no other's details.
#[test]
fn one_rule_tells_why_a_client_starts_over() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab)
        .config(SSH_2S)
        .rule("loud", &format!("log = \"debug\"\n{KNOCK}"))
        .rule("plain", &KNOCK.replace("7000", "7010"))
        .start();
    lab.knock(CLIENT4, "7010/udp 7010/udp 7000/udp 7000/udp");
    daemon.wait_for("forget", |entry| entry.text("rule") == "loud");
    daemon.expect_none("forget", |entry| entry.text("rule") != "loud");
    daemon.stop();
}

/// Logs a line in detail and one in short with each knock, at levels debug and info.
fn talker() -> Vec<u8> {
    let log = "(import \"postern:rule/host@0.2.0\" \"log\" (func $log (param i32 i32 i32)))
        (data (i32.const 512) \"in detailin short\")";
    let judge = "(call $log (i32.const 3) (i32.const 512) (i32.const 9))
        (call $log (i32.const 2) (i32.const 521) (i32.const 8)) (i32.const 96)";
    guest(log, "(i32.const 48)", judge)
}

/// The daemon is at `info`.
#[test]
fn a_rule_is_heard_at_the_level_that_its_file_says() {
    let Some(lab) = Lab::if_possible() else { return };
    let rule = |level: &str| format!("module = \"talker.wasm\"\ndoor = \"ssh\"\n{level}");
    let daemon = posternd(&lab)
        .config(SSH_2S)
        .file("rules/talker.wasm", talker())
        .rule("loud", &rule("log = \"debug\"\n"))
        .rule("plain", &rule(""))
        .rule("quiet", &rule("log = \"error\"\n"))
        .start();
    lab.knock(CLIENT4, "7/udp");
    let says = |rule: &'static str, words: &'static str| {
        move |entry: &Entry| entry.text("rule") == rule && entry.text("message").ends_with(words)
    };
    for (rule, words) in [("loud", "in detail"), ("loud", "in short"), ("plain", "in short")] {
        daemon.wait_for("says", says(rule, words));
    }
    // Of a rule that was judged after the others, and of one whose level is changed while it runs.
    let mark = daemon.log().mark();
    daemon.change_rule("quiet", &rule("log = \"info\"\n"));
    lab.knock(CLIENT4, "7/udp");
    daemon.wait_since(mark, "says", says("quiet", "in short"));
    daemon.expect_none("says", |entry| {
        entry.text("message").ends_with("in detail") && entry.text("rule") != "loud"
    });
    let (_, log) = daemon.stop();
    let quiet = log.entries().iter().filter(|entry| says("quiet", "in short")(entry)).count();
    assert_eq!(quiet, 1, "the first knock was judged by a quiet rule");
}

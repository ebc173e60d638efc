//! `posternd run --log-level`: a level is that of Postern's own lines.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use postern_tests::{CLIENT4, Lab, Setup, Signal, eventually};
use rustix::process::{Pid, kill_process};

use crate::{KNOCK, PROGRAM, SSH_2S};

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

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::*;
use crate::conf::SequenceError;

fn source(host: Option<&str>) -> NamedSource {
    NamedSource { address: "10.9.0.2".parse().expect("an address"), host: host.map(str::to_owned) }
}

fn channels() -> Channels {
    Channels::new(Terminal::own().ok(), false, false)
}

/// 2026-03-07 09:05:03, an hour east.
fn saturday() -> Zoned {
    let utc: Timestamp = "2026-03-07T08:05:03Z".parse().expect("a time");
    utc.to_zoned(TimeZone::fixed(Offset::constant(1)))
}

// 11.2: every row. L, V, E, D; `-` for a channel that it is not meant for.
#[test]
fn words_and_channels() {
    let (door, path) = (String::from("ssh"), PathBuf::from("/k"));
    let (who, named) = (source(None), source(Some("h.example")));
    let why = String::from("Permission denied");
    let cases = [
        (
            KnockdMessage::Started { interface: "d0".into() },
            ["starting up, listening on d0", "listening on d0...", "-", "-"],
        ),
        (
            KnockdMessage::Stage { source: who.clone(), door: door.clone(), stage: 2 },
            ["10.9.0.2: ssh: Stage 2", "10.9.0.2: ssh: Stage 2", "-", "-"],
        ),
        (
            KnockdMessage::Stage { source: named.clone(), door: door.clone(), stage: 1 },
            ["10.9.0.2 (h.example): ssh: Stage 1", "10.9.0.2 (h.example): ssh: Stage 1", "-", "-"],
        ),
        (
            KnockdMessage::OpenSesame { source: who.clone(), door: door.clone() },
            ["10.9.0.2: ssh: OPEN SESAME", "10.9.0.2: ssh: OPEN SESAME", "-", "-"],
        ),
        (
            KnockdMessage::SequenceTimeout { source: who.clone(), door: door.clone(), stage: 1 },
            [
                "10.9.0.2: ssh: sequence timeout (stage 1)\n",
                "10.9.0.2: ssh: sequence timeout (stage 1)",
                "-",
                "-",
            ],
        ),
        (
            KnockdMessage::RunningCommand { door: door.clone(), command: "true # x".into() },
            ["ssh: running command: true # x\n", "ssh: running command: true # x", "-", "-"],
        ),
        (
            KnockdMessage::RunningCommand { door: door.clone(), command: OsString::new() },
            ["ssh: running command: \n", "ssh: running command: ", "-", "-"],
        ),
        (
            KnockdMessage::CommandTimeout { source: who, door: door.clone() },
            ["10.9.0.2: ssh: command timeout", "10.9.0.2: ssh: command timeout", "-", "-"],
        ),
        (
            KnockdMessage::CommandFailed { door: door.clone(), status: 127 },
            [
                "ssh: command returned non-zero status code (127)",
                "-",
                "ssh: command returned non-zero status code (127)",
                "-",
            ],
        ),
        (KnockdMessage::ForkFailed, ["error: command fork failed!", "-", "error: command fork failed!", "-"]),
        (
            KnockdMessage::StartTooLong,
            [
                "error: parsed start command has been truncated! --> won't execute it",
                "-",
                "error: parsed start command has been truncated! --> won't execute it",
                "-",
            ],
        ),
        (
            KnockdMessage::StopTooLong,
            [
                "error: parsed stop command has been truncated! --> won't execute start command",
                "-",
                "error: parsed stop command has been truncated! --> won't execute start command",
                "-",
            ],
        ),
        (
            KnockdMessage::BadSequence { door: door.clone(), error: SequenceError::TooMany },
            [
                "error: section ssh: too many ports in knock sequence\n",
                "-",
                "config: section ssh: too many ports in knock sequence",
                "-",
            ],
        ),
        (
            KnockdMessage::OneTimeEmpty { door: door.clone() },
            [
                "no more sequences left in the one time sequences file for door ssh --> disabling the door\n",
                "-",
                "no more sequences left in the one time sequences file for door ssh --> disabling the door",
                "-",
            ],
        ),
        (
            KnockdMessage::OneTimeWriteFailed { door: door.clone(), why: why.clone() },
            [
                "error while disabling used one time sequence for door ssh --> disabling the door: Permission denied\n",
                "-",
                "error while disabling used one time sequence for door ssh --> disabling the door: Permission denied",
                "-",
            ],
        ),
        (
            KnockdMessage::NoPidFile { path: path.clone(), why: why.clone() },
            [
                "could not create pid file /k: Permission denied",
                "-",
                "could not create pid file /k: Permission denied",
                "-",
            ],
        ),
        (
            KnockdMessage::NoLogFile { path: path.clone(), why: why.clone() },
            [
                "-",
                "-",
                "warning: cannot open logfile: Permission denied (/k); it is tried again at SIGHUP",
                "-",
            ],
        ),
        (
            KnockdMessage::StartsOver { source: named, door, why },
            ["-", "-", "-", "10.9.0.2 (h.example): ssh: starts over: Permission denied"],
        ),
        (
            KnockdMessage::Rereading { path: path.clone() },
            ["Re-reading config file: /k\n", "Re-reading config file: /k", "-", "-"],
        ),
        (
            KnockdMessage::ClosingLogFile { path: path.clone() },
            ["Closing log file: /k\n", "Closing log file: /k", "-", "-"],
        ),
        (
            KnockdMessage::ReopeningLogFile { path: path.clone() },
            ["Re-opening log file: /k\n", "Re-opening log file: /k", "-", "-"],
        ),
        (
            KnockdMessage::ReloadRefused { path, mistakes: 1 },
            [
                "config: 1 mistake in /k; the running configuration is unchanged",
                "-",
                "config: 1 mistake in /k; the running configuration is unchanged",
                "-",
            ],
        ),
        (KnockdMessage::Ours { text: "a".to_owned() }, ["a", "-", "knockd: a", "-"]),
        (
            KnockdMessage::WaitingForChildren,
            ["waiting for child processes...", "waiting for child processes...", "-", "-"],
        ),
        (KnockdMessage::ShuttingDown, ["shutting down", "closing...", "-", "-"]),
    ];
    for (message, expected) in cases {
        let log = message.log().map(|(text, feed)| text + feed);
        let said = [log, message.verbose(), message.stderr(), message.debug()];
        assert_eq!(said.map(|text| text.unwrap_or_else(|| "-".to_owned())), expected);
    }
}

#[test]
fn a_stranger_cannot_write_log_lines() {
    let hostile = source(Some("a\n[2026-01-01 00:00] x\u{1b}[2Jé"));
    assert_eq!(hostile.to_string(), "10.9.0.2 (a??2026-01-01?00?00??x??2J?)");
}

#[test]
fn names_and_commands_make_no_lines_and_move_no_cursor() {
    let (dir, hostile) = (tempfile::tempdir().expect("a folder"), "a\n[2026-01-01 00:00] x\u{1b}[2J\u{202e}");
    let path = dir.path().join("log");
    let mut channels = channels();
    channels.reopen(&path);
    channels.say(&KnockdMessage::Rereading { path: hostile.into() });
    channels.say(&KnockdMessage::CommandTimeout { source: source(None), door: hostile.to_owned() });
    channels.say(&KnockdMessage::RunningCommand {
        door: "a".to_owned(),
        command: OsString::from_vec(b"\x1b\xff".to_vec()),
    });
    channels.say(&KnockdMessage::Ours { text: hostile.to_owned() });
    let written = fs::read_to_string(&path).expect("read");
    let shown = r"a\n[2026-01-01 00:00] x\u{1b}[2J\u{202e}";
    let lines: Vec<_> = written.split('\n').map(|line| line.get(19..).unwrap_or_default()).collect();
    let expected = [
        &*format!("Re-reading config file: {shown}"),
        "",
        &*format!("10.9.0.2: {shown}: command timeout"),
        "a: running command: \\u{1b}\u{fffd}",
        "",
        shown,
        "",
    ];
    assert_eq!(lines, expected);
    let (mut reader, writer) = io::pipe().expect("a pipe");
    Console::new(writer).line(hostile);
    let mut bytes = String::new();
    reader.read_to_string(&mut bytes).expect("read");
    assert_eq!(bytes, format!("{shown}\n"));
}

// 11.1: the forms, the cut, and the extra line feed that a cut message loses.
#[test]
fn forms() {
    let now = saturday();
    assert_eq!(logfile_line(b"hello", &now), b"[2026-03-07 09:05] hello\n");
    assert_eq!(logfile_line(b"hello\n", &now), b"[2026-03-07 09:05] hello\n\n");
    assert_eq!(syslog::datagram(b"hello", &now), b"<13>Mar  7 09:05:03 knockd: hello");
    let command: OsString = "x".repeat(2000).into();
    let mut channels = channels();
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("log");
    channels.reopen(&path);
    channels.say(&KnockdMessage::RunningCommand { door: "a".into(), command });
    channels.say(&KnockdMessage::RunningCommand { door: "a".into(), command: "y".into() });
    let text = fs::read_to_string(&path).expect("read");
    let lines: Vec<&str> = text.split('\n').collect();
    let stamp = "[2026-03-07 09:05] ".len();
    assert_eq!((lines.len(), lines[0].len()), (4, stamp + LONGEST_MESSAGE), "{text}");
    assert_eq!((&lines[1][stamp..], lines[2], lines[3]), ("a: running command: y", "", ""));
    assert_eq!(channels.lost, 0);
}

// 1 and 11.1: the daemon goes on without its logfile.
#[test]
fn a_logfile_that_cannot_be_opened() {
    let dir = tempfile::tempdir().expect("a folder");
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    let mut channels = channels();
    for path in [dir.path().join("none/log"), pipe, PathBuf::new()] {
        channels.reopen(&path);
        assert!(channels.logfile.is_none(), "{}", path.display());
        channels.say(&KnockdMessage::ShuttingDown);
    }
    assert_eq!(channels.lost, 0);
}

// 11.1 and bug 19: a syslog daemon that does not read blocks no caller, and one that is restarted is found again.
#[test]
fn syslog_that_is_slow_or_restarted() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("log");
    let mut syslog = Syslog::new(&path);
    assert!(!syslog.send(b"nobody", &saturday()));
    let listen = || UnixDatagram::bind(&path).expect("bound");
    let receive = |daemon: &UnixDatagram| {
        let mut bytes = [0; 100];
        let len = daemon.recv(&mut bytes).expect("received");
        String::from_utf8(bytes[..len].to_vec()).expect("UTF-8")
    };
    let daemon = listen();
    assert!(syslog.send(b"one", &saturday()));
    assert_eq!(receive(&daemon), "<13>Mar  7 09:05:03 knockd: one");
    drop(daemon);
    fs::remove_file(&path).expect("removed");
    assert!(!syslog.send(b"two", &saturday()));
    let daemon = listen();
    assert!(syslog.send(b"three", &saturday()));
    assert_eq!(receive(&daemon), "<13>Mar  7 09:05:03 knockd: three");
    let start = Instant::now();
    let taken = (0..10_000).filter(|_| syslog.send(b"flood", &saturday())).count();
    assert!(taken < 10_000, "{taken} taken");
    assert!(start.elapsed().as_secs() < 5);
    // A second client of a daemon whose queue is full must not wait either.
    assert!(!Syslog::new(&path).send(b"late", &saturday()));
    assert_eq!(receive(&daemon), "<13>Mar  7 09:05:03 knockd: flood");
}

#[test]
fn a_reader_that_stalls_or_leaves() {
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let mut console = Console::new(writer);
    console.line("first");
    let start = Instant::now();
    for _ in 0..1000 {
        console.line(&"x".repeat(6000));
    }
    assert!(console.is_stalled && console.is_cut);
    assert!(start.elapsed().as_secs() < 5);
    let mut bytes = vec![0; 6];
    reader.read_exact(&mut bytes).expect("read");
    assert_eq!(bytes, b"first\n");
    // Once there is room, lines come again, and not behind the half of a dropped one.
    bytes.resize(16 * PIPE_PIECE, 0);
    let drained = reader.read(&mut bytes).expect("read");
    assert!(drained > PIPE_PIECE, "{drained}");
    console.line("again");
    assert!(!console.is_stalled);
    bytes.clear();
    drop(console);
    reader.read_to_end(&mut bytes).expect("read");
    assert!(bytes.ends_with(b"\nagain\n"));
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let mut console = Console::new(writer);
    console.line("nobody");
    assert!(console.is_stalled);
}

//! The runner's process and the engine's end of its link. The engine is this process; the runner is this binary once more, and may be killed.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod deaths;
mod hostile;
mod process;
mod test_engine;
mod trees;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use postern_config::DoorKind;
use postern_core::{
    Act, Client, CommandDoor, DoorId, DropReason, OpeningKey, OrderError, Policy, RecordError, RuleId,
    ShellDoor, TenantId,
};
use postern_link::{CommandsTable, TabledCommands, TabledDoor};
use posternd::command_doors::CommandDoors;
use posternd::plan::Plan;
use process::Process;
use test_engine::TestEngine;

/// Much longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);
/// How long a runner waits for an engine before it closes by itself.
const ALONE: Duration = Duration::from_secs(2);
/// So many may always be closed at once.
const CLOSING: usize = 512;
/// Long enough to see that nothing is answered.
const A_WHILE: Duration = Duration::from_millis(200);

fn client() -> Client {
    Client::alone([192, 0, 2, 1].into())
}

fn key(door: u32) -> OpeningKey {
    OpeningKey { door: DoorId(door), client: client(), occurrence: 0 }
}

fn rule() -> RuleId {
    RuleId { tenant: TenantId::host(), name: "knock".into() }
}

/// Door 1 writes what it is told into a file, and takes its time if there is one called `slow`; door 2 is one of a knockd.conf.
fn doors(folder: &Path) -> Vec<(DoorId, DoorKind)> {
    let folder = folder.display();
    let argv = |verb| {
        let line = format!(
            "while [ -e {folder}/slow ]; do touch {folder}/runs; sleep 0.01; done; echo {verb} $0 $1 $2 >> {folder}/ran"
        );
        ["/bin/sh", "-c", &line, "{ip}", "{door}", "{rule}"].map(str::to_owned).to_vec()
    };
    let command = CommandDoor { open: argv("on"), close: argv("off"), timeout: MINUTE, user: None };
    let line = |verb| Some(format!("echo {verb} %IP% >> {folder}/ran").into());
    let shell = ShellDoor { start: line("start"), stop: line("stop"), ..ShellDoor::default() };
    vec![(DoorId(1), DoorKind::Command(command)), (DoorId(2), DoorKind::Shell(shell))]
}

fn plan(number: u32, folder: &Path) -> Plan {
    let policy = Policy { longest: MINUTE, max_openings: 10, ..Policy::default() };
    Plan { table: number, rules: [(rule(), 7)].into(), doors: doors(folder), policy: Arc::new(policy) }
}

fn table(number: u32, folder: &Path) -> CommandsTable {
    let door = |(id, kind)| {
        let (name, commands) = match kind {
            DoorKind::Command(door) => ("lamp", TabledCommands::Argv(door)),
            DoorKind::Shell(door) => ("bell", TabledCommands::Shell(door)),
            DoorKind::Net(_) => panic!("it has no commands"),
        };
        (id, TabledDoor { name: name.into(), commands })
    };
    CommandsTable {
        number,
        doors: doors(folder).into_iter().map(door).collect(),
        rules: [(7, rule())].into(),
        longest: MINUTE,
        most_openings: 10,
    }
}

fn ran(folder: &Path) -> String {
    fs::read_to_string(folder.join("ran")).unwrap_or_default()
}

fn reason(outcome: Result<(), OrderError>) -> DropReason {
    outcome.unwrap_err().reason()
}

/// Waits until there is something to see.
#[track_caller]
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

const ON_OFF: &str = "on 192.0.2.1 lamp knock\noff 192.0.2.1 lamp knock\n";

/// A runner with a journal, an engine, and an opening that is recorded.
fn with_recorded(folder: &Path) -> (Process, TestEngine) {
    let mut first = Process::start(folder, None, None);
    first.give(table(1, folder));
    first.open_journal();
    let engine = TestEngine::start(first.link(11), &plan(1, folder));
    assert_eq!(engine.recorded(1, 1), Ok(()));
    (first, engine)
}

/// Has a command begin that does not end before the file `slow` is gone.
fn begin_slowly(folder: &Path, engine: &TestEngine, serial: u64, act: Act) {
    fs::write(folder.join("slow"), "").unwrap();
    engine.order(serial, 1, act);
    eventually("it runs", || folder.join("runs").exists());
    fs::remove_file(folder.join("runs")).unwrap();
}

#[test]
fn what_is_recorded_is_opened_with_names_of_the_table_and_nothing_beyond_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), None, None);
    process.give(table(1, folder.path()));
    let engine = TestEngine::start(process.link(11), &plan(1, folder.path()));
    assert_eq!(engine.recorded(1, 1), Err(RecordError::NoJournal));
    assert_eq!(reason(engine.ordered(2, 1, Act::Open(MINUTE))), DropReason::NotRecorded);
    assert_eq!(process.open_journal(), (true, None));
    assert_eq!(reason(engine.ordered(3, 1, Act::Open(MINUTE))), DropReason::NotRecorded);
    assert_eq!(engine.recorded(4, 1), Ok(()));
    let long = MINUTE + Duration::from_secs(1);
    assert_eq!(reason(engine.ordered(5, 1, Act::Open(long))), DropReason::BeyondTable);
    assert_eq!(reason(engine.ordered(6, 9, Act::Open(MINUTE))), DropReason::BeyondTable);
    assert_eq!(ran(folder.path()), "");
    for (serial, door, act) in [(7, 1, Act::Open(MINUTE)), (8, 1, Act::Close), (9, 1, Act::Close)] {
        assert_eq!(engine.ordered(serial, door, act), Ok(()));
    }
    assert_eq!(ran(folder.path()), ON_OFF, "closed once");
    assert_eq!(engine.recorded(10, 2), Ok(()));
    assert_eq!(engine.ordered(11, 2, Act::Open(MINUTE)), Ok(()));
    // A reload whose table the runner does not have.
    let mut engine = engine;
    engine.doors.follow(&plan(2, folder.path()));
    assert_eq!(reason(engine.ordered(12, 1, Act::Open(MINUTE))), DropReason::BeyondTable);
    assert_eq!(engine.ordered(13, 2, Act::Close), Ok(()), "what is open is closed all the same");
    process.give(table(2, folder.path()));
    assert_eq!(engine.recorded(14, 1), Ok(()));
    engine.doors.follow(&plan(1, folder.path()));
    assert!(engine.recorded(15, 1).is_err(), "the older table");
    assert!(ran(folder.path()).ends_with("start 192.0.2.1\nstop 192.0.2.1\n"));
    process.end();
}

#[test]
fn without_a_runner_requests_are_refused_by_name_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let (process, engine) = with_recorded(folder.path());
    process.end();
    let begun = Instant::now();
    assert_eq!(reason(engine.ordered(2, 1, Act::Close)), DropReason::Restarting);
    assert!((Duration::from_secs(1)..LONG).contains(&begun.elapsed()));
    let begun = Instant::now();
    assert!(engine.recorded(3, 1).is_err());
    assert!(begun.elapsed() < Duration::from_secs(1), "by now nothing waits");
}

#[test]
fn without_a_fit_folder_there_is_no_journal_and_the_reason_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::write(&state, "").unwrap();
    let mut process = Process::start(&state, None, None);
    let (is_there, error) = process.open_journal();
    let error = error.unwrap();
    assert!(!is_there && error.contains("the state folder"), "{error}");
    // Later it may be.
    fs::remove_file(&state).unwrap();
    assert_eq!(process.open_journal(), (true, None));
    process.end();
}

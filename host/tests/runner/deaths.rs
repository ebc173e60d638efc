//! What is left to do when a runner or an engine is killed, and who does it.

use std::fs;
use std::time::{Duration, Instant};

use postern_core::{Act, DoorId, DropReason, OpeningNote, Order};
use postern_link::{FromRunner, TabledCommands, ToRunner};
use posternd::command_doors::CommandDoors;
use posternd::remote_runner::RemoteRunnerEvent;

use crate::process::Process;
use crate::test_engine::TestEngine;
use crate::{
    A_WHILE, ALONE, MINUTE, ON_OFF, begin_slowly, client, eventually, key, plan, ran, reason, table,
    with_recorded,
};

#[test]
fn a_runner_that_is_killed_within_an_open_leaves_it_to_the_next_to_wait_for_it_and_close_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let (first, engine) = with_recorded(folder.path());
    begin_slowly(folder.path(), &engine, 2, Act::Open(MINUTE));
    let memory = first.kill();
    assert_eq!(reason(engine.receipt(2)), DropReason::Restarting);
    // While there is none, what is asked waits.
    engine.order(3, 1, Act::Close);
    let second = Process::next(folder.path(), 11, &memory);
    engine.doors.reconnector().reconnect(second.link(11).into());
    assert!(engine.events.recv_timeout(A_WHILE).is_err(), "it is still being opened");
    fs::remove_file(folder.path().join("slow")).unwrap();
    assert_eq!(engine.receipt(3), Ok(()));
    // Its receipt was lost, say.
    assert_eq!(engine.ordered(4, 1, Act::Close), Ok(()));
    assert_eq!(ran(folder.path()), ON_OFF);
    assert!(engine.events.try_recv().is_err(), "nothing was handed over that the engine knows");
    second.end();
}

#[test]
fn what_was_recorded_and_had_not_begun_when_the_runner_was_killed_is_not_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (first, engine) = with_recorded(folder.path());
    let memory = first.kill();
    // It was ordered, and the order was lost.
    engine.order(2, 1, Act::Close);
    let second = Process::next(folder.path(), 11, &memory);
    engine.doors.reconnector().reconnect(second.link(11).into());
    assert_eq!(engine.receipt(2), Ok(()));
    assert_eq!(engine.recorded(3, 1), Ok(()));
    let memory = second.kill();
    // The order comes only now.
    engine.order(4, 1, Act::Open(MINUTE));
    let third = Process::next(folder.path(), 11, &memory);
    engine.doors.reconnector().reconnect(third.link(11).into());
    assert_eq!(engine.receipt(4), Ok(()));
    assert_eq!(engine.ordered(5, 1, Act::Close), Ok(()));
    assert_eq!(ran(folder.path()), ON_OFF);
    assert_eq!(engine.recorded(6, 1), Ok(()));
    let memory = third.kill();
    // The engine ends as well: the next one is handed nothing.
    drop(engine);
    let fourth = Process::next(folder.path(), 12, &memory);
    let engine = TestEngine::start(fourth.link(12), &plan(1, folder.path()));
    assert_eq!(engine.recorded(1, 1), Ok(()));
    assert!(engine.events.recv_timeout(A_WHILE).is_err());
    fourth.end();
    assert_eq!(ran(folder.path()), ON_OFF);
}

#[test]
fn a_close_that_outlives_its_runner_is_not_run_again() {
    for is_over_before in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (first, engine) = with_recorded(folder.path());
        assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
        begin_slowly(folder.path(), &engine, 3, Act::Close);
        let memory = first.kill();
        assert_eq!(reason(engine.receipt(3)), DropReason::Restarting);
        engine.order(4, 1, Act::Close);
        let end = || {
            fs::remove_file(folder.path().join("slow")).unwrap();
            eventually("it has ended", || ran(folder.path()) == ON_OFF);
        };
        if is_over_before {
            end();
        }
        let second = Process::next(folder.path(), 11, &memory);
        engine.doors.reconnector().reconnect(second.link(11).into());
        if !is_over_before {
            assert!(engine.events.recv_timeout(A_WHILE).is_err(), "it is still being closed");
            end();
        }
        assert_eq!(engine.receipt(4), Ok(()));
        assert_eq!(ran(folder.path()), ON_OFF);
        second.end();
    }
}

#[test]
fn a_close_that_fails_when_its_runner_is_gone_is_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let (first, engine) = with_recorded(folder.path());
    assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    let ran_before = ran(folder.path());
    begin_slowly(folder.path(), &engine, 3, Act::Close);
    let memory = first.kill();
    assert_eq!(reason(engine.receipt(3)), DropReason::Restarting);
    // It cannot write there, and says so.
    fs::remove_file(folder.path().join("ran")).unwrap();
    fs::create_dir(folder.path().join("ran")).unwrap();
    fs::remove_file(folder.path().join("slow")).unwrap();
    engine.order(4, 1, Act::Close);
    let second = Process::next(folder.path(), 11, &memory);
    engine.doors.reconnector().reconnect(second.link(11).into());
    let failed = engine.receipt(4).unwrap_err().to_string();
    assert!(failed.contains("/bin/sh failed") && failed.contains("directory"), "{failed}");
    fs::remove_dir(folder.path().join("ran")).unwrap();
    fs::write(folder.path().join("ran"), ran_before).unwrap();
    assert_eq!(engine.ordered(5, 1, Act::Close), Ok(()));
    assert_eq!(ran(folder.path()), ON_OFF);
    second.end();
}

#[test]
fn a_command_that_cannot_be_started_is_named_and_one_whose_shim_is_killed_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, engine) = with_recorded(folder.path());
    assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    begin_slowly(folder.path(), &engine, 3, Act::Close);
    let (shim, command) = shim_of(process.child.id());
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    let failed = engine.receipt(3).unwrap_err().to_string();
    assert!(failed.starts_with("/bin/sh was killed with the process that watches it"), "{failed}");
    eventually("it goes with its shim", || !is_alive(command));
    fs::remove_file(folder.path().join("slow")).unwrap();
    assert_eq!(engine.ordered(4, 1, Act::Close), Ok(()));
    let mut missing = table(2, folder.path());
    let TabledCommands::Argv(door) = &mut missing.doors[0].1.commands else { panic!("a command door") };
    door.open = vec!["/missing/lamp".to_owned()];
    missing.doors[0].0 = DoorId(7);
    process.give(missing);
    let mut plan = plan(2, folder.path());
    plan.doors[0].0 = DoorId(7);
    let mut engine = engine;
    engine.doors.follow(&plan);
    assert_eq!(engine.recorded(5, 7), Ok(()));
    let failed = engine.ordered(6, 7, Act::Open(MINUTE)).unwrap_err().to_string();
    assert_eq!(failed, "/missing/lamp cannot be started: No such file or directory (os error 2)");
    process.end();
}

#[test]
fn a_runner_that_ends_because_the_supervisor_has_takes_what_it_runs_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (process, engine) = with_recorded(folder.path());
    begin_slowly(folder.path(), &engine, 2, Act::Open(MINUTE));
    let (shim, command) = shim_of(process.child.id());
    process.end();
    eventually("they end", || !is_alive(shim) && !is_alive(command));
    assert_eq!(ran(folder.path()), "");
}

/// The shim that a runner has started, and its command.
fn shim_of(runner: u32) -> (rustix::process::Pid, rustix::process::Pid) {
    let only = |of: rustix::process::Pid| {
        let children = children(of);
        assert_eq!(children.len(), 1, "{children:?}");
        children[0]
    };
    let shim = only(rustix::process::Pid::from_raw(runner.try_into().unwrap()).unwrap());
    (shim, only(shim))
}

fn stat_of(pid: &str) -> Option<(String, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

fn children(of: rustix::process::Pid) -> Vec<rustix::process::Pid> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let is_child = |pid: &String| stat_of(pid).is_some_and(|(_, parent)| parent == of.as_raw_nonzero().get());
    let pids = processes.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_child);
    pids.filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)).collect()
}

fn is_alive(process: rustix::process::Pid) -> bool {
    stat_of(&process.as_raw_nonzero().to_string()).is_some_and(|(state, _)| state != "Z")
}

#[test]
fn what_is_asked_while_the_journal_is_being_opened_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (first, engine) = with_recorded(folder.path());
    let reconnector = engine.doors.reconnector();
    assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    let memory = first.kill();
    // Another daemon is starting there.
    let file = fs::File::open(folder.path().join("lock")).unwrap();
    file.lock().unwrap();
    let mut second = Process::start(folder.path(), Some(11), Some(&memory));
    second.give(table(1, folder.path()));
    for ticket in [3, 4] {
        second.supervisor.send(&ToRunner::OpenJournal { ticket, is_needed: true }, &[]).unwrap();
    }
    reconnector.reconnect(second.link(11).into());
    engine.order(3, 1, Act::Close);
    assert!(engine.events.recv_timeout(Duration::from_millis(200)).is_err(), "it is not known to be closed");
    drop(file);
    assert_eq!(engine.receipt(3), Ok(()));
    for ticket in [3, 4] {
        let answer = second.answers.receive::<FromRunner>(1000).unwrap().unwrap().0;
        assert_eq!(answer, FromRunner::Journal { ticket, is_there: true, error: None });
    }
    assert_eq!(ran(folder.path()), ON_OFF);
    second.end();
}

#[test]
fn the_next_engine_is_handed_what_the_one_before_opened_and_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    let (process, first) = with_recorded(folder.path());
    assert_eq!(first.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    // For as long as before, and another's as well.
    let note = OpeningNote::from_bytes(&[1, 2, 3]).unwrap();
    first.doors.note(key(1), MINUTE, note.clone());
    // No such door. When that is answered the note was taken.
    assert_eq!(reason(first.ordered(3, 9, Act::Open(MINUTE))), DropReason::BeyondTable);
    drop(first);
    let second = TestEngine::start(process.link(12), &plan(1, folder.path()));
    let RemoteRunnerEvent::HandedOver { key, remaining, name, note: handed } = second.next() else {
        panic!("an opening")
    };
    assert_eq!((key.client, name.as_str(), &handed), (client(), "lamp", &note));
    assert!(second.doors.has(key.door) && remaining > MINUTE / 2);
    second.doors.abandon(key);
    let order = Order { serial: 1, door: key.door, client: client(), occurrence: 0, act: Act::Close };
    assert_eq!(second.doors.abandoned(), 1);
    // Given up, so it is for the operator and for the next start.
    second.doors.carry_out(order, None, "lamp");
    assert_eq!(second.receipt(1), Ok(()));
    assert_eq!(ran(folder.path()), "on 192.0.2.1 lamp knock\n");
    process.end();
    let mut next = Process::start(folder.path(), None, None);
    assert_eq!(next.open_journal(), (true, None));
    let third = TestEngine::start(next.link(13), &plan(1, folder.path()));
    let RemoteRunnerEvent::HandedOver { key, note: handed, .. } = third.next() else { panic!("an opening") };
    assert_eq!(handed, note, "it is in the journal");
    third.doors.carry_out(Order { door: key.door, ..order }, None, "lamp");
    assert_eq!(third.receipt(1), Ok(()));
    assert_eq!(ran(folder.path()), ON_OFF);
    next.end();
}

#[test]
fn without_an_engine_what_is_due_is_closed_by_the_runner_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (process, engine) = with_recorded(folder.path());
    assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    engine.doors.note(key(1), Duration::from_millis(50), OpeningNote::default());
    drop(engine);
    let begun = Instant::now();
    eventually("nobody closes it", || ran(folder.path()).lines().count() == 2);
    assert!(begun.elapsed() >= ALONE);
    process.end();
    assert_eq!(ran(folder.path()), ON_OFF);
}

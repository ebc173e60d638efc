use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{Client, CommandDoor, OpeningNote, Receipt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::journal::Journal;
use crate::journal::tests::open;
use crate::{Call, Commands, RunnerEvent};

const MINUTE: Duration = Duration::from_secs(60);

/// A runner that serves an engine and takes over what is in `folder`.
fn runner(folder: &Path, engine: u64) -> (Runner, UnboundedReceiver<RunnerEvent>) {
    let (sender, events) = unbounded_channel();
    let runner = Runner::new(move |event| sender.send(event).is_ok(), Arc::new(()));
    runner.serve(engine);
    let (journal, rows) = match folder.join("postern.redb").exists() {
        true => open(folder, "postern"),
        false => Journal::open(folder, "postern", Arc::new(())).unwrap(),
    };
    runner.use_journal(journal);
    runner.take_over(rows);
    (runner, events)
}

/// As a killed process leaves it.
fn kill(runner: Runner) {
    runner.flush();
    drop(runner);
}

/// A door that writes a letter for each time that it is closed.
fn lamp(folder: &Path) -> Commands {
    let close = format!("printf c >> {}/closed", folder.display());
    let close = ["/bin/sh", "-c", &close].map(str::to_owned).to_vec();
    let open = vec!["true".to_owned()];
    Commands::Argv(Arc::new(CommandDoor { open, close, timeout: MINUTE, user: None }))
}

fn closed(folder: &Path) -> String {
    fs::read_to_string(folder.join("closed")).unwrap_or_default()
}

fn key(occurrence: u64) -> OpeningKey {
    OpeningKey { door: DoorId(5), client: Client::alone([192, 0, 2, 1].into()), occurrence }
}

async fn opened(
    folder: &Path,
    runner: &Runner,
    events: &mut UnboundedReceiver<RunnerEvent>,
    key: OpeningKey,
    lasts: Duration,
) {
    runner.record(
        &lamp(folder),
        1,
        lasts,
        OpeningNote::default(),
        &Call { key, rule: None, door: "lamp", client: &key.client },
    );
    let event = events.recv().await;
    assert!(matches!(event, Some(RunnerEvent::Recorded { result: Ok(()), .. })), "{event:?}");
}

async fn answered(events: &mut UnboundedReceiver<RunnerEvent>, expected: u64) {
    match events.recv().await {
        Some(RunnerEvent::Answered(Receipt { serial, outcome: Ok(()) })) => assert_eq!(serial, expected),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_next_runner_closes_for_the_same_engine_under_its_own_keys_and_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let (first, mut events) = runner(folder.path(), 7);
    for occurrence in 0..2 {
        opened(folder.path(), &first, &mut events, key(occurrence), MINUTE).await;
    }
    kill(first);
    let (second, mut events) = runner(folder.path(), 7);
    assert_eq!(second.hand_over(), (vec![], true), "the engine knows them");
    second.close_recorded(3, key(1));
    answered(&mut events, 3).await;
    assert_eq!(closed(folder.path()), "c");
    kill(second);
    // The receipt was lost, and the engine asks once more.
    let (third, mut events) = runner(folder.path(), 7);
    third.close_recorded(4, key(1));
    answered(&mut events, 4).await;
    assert_eq!(closed(folder.path()), "c");
    third.close_recorded(5, key(0));
    third.close_recorded(6, key(0));
    answered(&mut events, 5).await;
    answered(&mut events, 6).await;
    assert_eq!(closed(folder.path()), "cc");
}

#[tokio::test]
async fn the_next_engine_is_handed_what_is_open_once_under_keys_that_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (runner_of_both, mut events) = runner(folder.path(), 7);
    opened(folder.path(), &runner_of_both, &mut events, key(0), MINUTE).await;
    runner_of_both.serve(8);
    let (handed, is_complete) = runner_of_both.hand_over();
    assert!(is_complete);
    let [(handed_key, record)] = &handed[..] else { panic!("{handed:?}") };
    assert!(is_handed_over(handed_key.door) && record.remaining() > MINUTE / 2);
    assert_eq!(runner_of_both.hand_over(), (vec![], true));
    // What the new engine calls by the same key is something else.
    opened(folder.path(), &runner_of_both, &mut events, key(0), MINUTE).await;
    assert_eq!(runner_of_both.hand_over(), (vec![], true));
    kill(runner_of_both);
    let (next, mut events) = runner(folder.path(), 8);
    let again: Vec<_> = next.hand_over().0.into_iter().map(|(key, _)| key).collect();
    assert_eq!(again, [*handed_key], "the same key, so that the engine knows it");
    for (serial, key) in [(1, *handed_key), (2, key(0))] {
        next.close_recorded(serial, key);
        answered(&mut events, serial).await;
    }
    assert_eq!(closed(folder.path()), "cc");
    kill(next);
    assert_eq!(open(folder.path(), "postern").1.len(), 0);
}

#[tokio::test]
async fn without_an_engine_what_is_due_is_closed_once_and_not_handed_over_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (runner, mut events) = runner(folder.path(), 7);
    opened(folder.path(), &runner, &mut events, key(0), Duration::from_millis(1)).await;
    opened(folder.path(), &runner, &mut events, key(1), MINUTE).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    runner.close_due(9);
    runner.close_due(9);
    runner.serve(8);
    let (handed, is_complete) = runner.hand_over();
    let handed: Vec<_> = handed.into_iter().map(|(_, record)| record.remaining()).collect();
    assert_eq!((handed.len(), is_complete), (1, false), "{handed:?}");
    assert!(handed[0] > Duration::from_secs(1));
    answered(&mut events, 9).await;
    assert_eq!((closed(folder.path()), runner.hand_over()), ("c".to_owned(), (vec![], true)));
}

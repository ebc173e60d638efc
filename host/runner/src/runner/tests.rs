use std::path::Path;

use postern_core::{Client, DoorId, OpeningNote};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::journal::tests::open;

const MINUTE: Duration = Duration::from_secs(60);

/// A runner whose journal is in `folder`, and what it says.
fn runner(folder: &Path) -> (Runner, UnboundedReceiver<RunnerEvent>) {
    let (sender, events) = unbounded_channel();
    let runner = Runner::new(move |event| sender.send(event).is_ok(), Arc::new(()));
    runner.use_journal(Journal::open(folder, "postern", Arc::new(())).unwrap().0);
    (runner, events)
}

/// A door whose commands do nothing.
fn lamp() -> Commands {
    let command = || vec!["true".to_owned()];
    Commands::Argv(Arc::new(CommandDoor { open: command(), close: command(), timeout: MINUTE, user: None }))
}

fn key() -> OpeningKey {
    OpeningKey { door: DoorId(1), client: Client::alone([192, 0, 2, 1].into()), occurrence: 0 }
}

fn call() -> Call<'static> {
    Call { key: key(), rule: None, door: "lamp", client: &"192.0.2.1" }
}

/// What a crash would leave.
fn left(folder: &Path, runner: Runner) -> usize {
    runner.flush();
    drop(runner);
    // The journal's thread holds the file until it has heard of the end.
    open(folder, "postern").1.len()
}

#[tokio::test]
async fn what_was_recorded_is_on_the_disk_before_it_is_ordered_until_it_is_struck_out() {
    for is_struck_out in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (runner, mut events) = runner(folder.path());
        runner.record(&lamp(), 7, MINUTE, OpeningNote::default(), &call());
        let event = events.recv().await;
        assert!(matches!(event, Some(RunnerEvent::Recorded { serial: 7, result: Ok(()) })), "{event:?}");
        if is_struck_out {
            runner.strike_out(key());
        }
        assert_eq!(left(folder.path(), runner), usize::from(!is_struck_out));
    }
}

#[tokio::test]
async fn a_record_waits_for_the_commands_before_it_and_is_not_struck_out_with_what_they_close() {
    let folder = tempfile::tempdir().unwrap();
    let (runner, mut events) = runner(folder.path());
    let mut serials = Vec::new();
    runner.record(&lamp(), 1, MINUTE, OpeningNote::default(), &call());
    runner.run(&lamp(), 2, Act::Open(MINUTE), &call());
    runner.run(&lamp(), 3, Act::Close, &call());
    runner.record(&lamp(), 4, MINUTE, OpeningNote::default(), &call());
    for _ in 0..4 {
        match events.recv().await {
            Some(RunnerEvent::Recorded { serial, result: Ok(()) }) => serials.push(serial),
            Some(RunnerEvent::Answered(Receipt { serial, outcome: Ok(()) })) => serials.push(serial),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(serials, [1, 2, 3, 4]);
    assert_eq!(left(folder.path(), runner), 1);
}

#[tokio::test]
async fn without_a_journal_nothing_is_recorded_and_what_nothing_closes_needs_no_record() {
    let (sender, mut events) = unbounded_channel();
    let runner = Runner::new(move |event| sender.send(event).is_ok(), Arc::new(()));
    runner.record(&lamp(), 1, MINUTE, OpeningNote::default(), &call());
    let event = events.recv().await;
    let no_journal = Err(RecordError::NoJournal);
    assert!(
        matches!(&event, Some(RunnerEvent::Recorded { result, .. }) if *result == no_journal),
        "{event:?}"
    );
    let bell = CommandDoor { open: vec!["true".to_owned()], close: Vec::new(), timeout: MINUTE, user: None };
    runner.record(&Commands::Argv(Arc::new(bell)), 2, MINUTE, OpeningNote::default(), &call());
    let event = events.recv().await;
    assert!(matches!(event, Some(RunnerEvent::Recorded { serial: 2, result: Ok(()) })), "{event:?}");
}

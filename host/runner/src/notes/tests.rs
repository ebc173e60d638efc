use super::*;
use crate::left_running::tests::sleeper;

const LONG: Duration = Duration::from_secs(60);

/// The shim that a note asks for.
fn shim(note: &Note) -> ShimNote {
    let (slot, ticket) = note.place();
    ShimNote::new(note.memory().unwrap(), slot, ticket)
}

/// What the next process finds when this one is killed: the record and how far it is.
fn killed(notes: &Arc<Notes>, left: Vec<Note>) -> (Arc<Notes>, Vec<(u64, Note)>) {
    left.into_iter().for_each(std::mem::forget);
    let (next, inherited) = Notes::inherit(notes.descriptor().unwrap()).unwrap();
    (next, inherited.into_recorded().collect())
}

#[test]
fn the_next_process_knows_how_far_each_record_was_and_what_had_not_begun_never_does() {
    let first = Notes::new().unwrap();
    assert_eq!(first.journal(), None);
    first.note_journal(3);
    let (child, running) = sleeper("60", LONG);
    let mut notes: Vec<_> = (0..6).map(|_| first.recorded().unwrap()).collect();
    let records: Vec<_> = notes.iter().map(Note::record).collect();
    assert!(records.windows(2).all(|pair| pair[0] < pair[1]), "{records:?}");
    let [.., opening, opened] = &notes[..] else { panic!("six") };
    assert!(shim(opening).begin(running) && shim(opened).begin(running));
    assert!(shim(opened).end(NotedPhase::Ended(0)));
    assert!(!opened.is_closed() && opening.running() == Some(running));
    let closing = first.asked(Some(7), NotedAct::Close).unwrap();
    let closed = first.asked(Some(8), NotedAct::Close).unwrap();
    let failed = first.asked(Some(9), NotedAct::Close).unwrap();
    let missing = first.asked(Some(10), NotedAct::Close).unwrap();
    for note in [&closing, &closed, &failed, &missing] {
        assert!(shim(note).begin(running));
    }
    assert!(shim(&closed).end(NotedPhase::Ended(0)));
    assert!(shim(&failed).end(NotedPhase::Ended(256)));
    assert!(shim(&missing).end(NotedPhase::NotStarted(2)));
    // One that is about to begin when the process is killed, and one that is free again.
    let (late, late_shim) = (notes.remove(0), shim(&notes[0]));
    let late_too = shim(&late);
    let free = notes.remove(1);
    let free_shim = shim(&free);
    drop(free);
    let all = notes.into_iter().chain([late, closing, closed, failed, missing]).collect();
    let (next, mut inherited) = killed(&first, all);
    for shim in [late_shim, late_too, free_shim] {
        assert!(!shim.begin(running), "the runner that asked for it has ended");
    }
    inherited.sort_by_key(|(record, _)| *record);
    let phases: Vec<_> = inherited.iter().map(|(record, note)| (*record, note.phase())).collect();
    let expected = [
        (7, NotedPhase::Running(running)),
        (8, NotedPhase::Ended(0)),
        (9, NotedPhase::Ended(256)),
        (10, NotedPhase::NotStarted(2)),
        (records[0], NotedPhase::Recorded),
        (records[1], NotedPhase::Recorded),
        (records[3], NotedPhase::Recorded),
        (records[4], NotedPhase::Running(running)),
        (records[5], NotedPhase::Ended(0)),
    ];
    assert_eq!(phases, expected);
    let closed: Vec<_> =
        inherited.iter().filter(|(_, note)| note.is_closed()).map(|(record, _)| *record).collect();
    assert_eq!(closed, [8]);
    assert!(next.recorded().unwrap().record() > records[5], "numbers are not used again");
    assert_eq!((first.journal(), next.journal()), (Some(3), Some(3)));
    // What was used before is free, and what is inherited is not.
    drop(inherited);
    let (_, inherited) = killed(&next, Vec::new());
    assert_eq!(inherited.len(), 0);
    end(child);
}

#[test]
fn what_runs_for_no_record_is_ended_and_nothing_else() {
    let first = Notes::new().unwrap();
    let ((mut unrecorded, one), (mut recorded, other)) = (sleeper("60", LONG), sleeper("60", LONG));
    let notes = [(None, one), (Some(7), other)].map(|(record, running)| {
        let note = first.asked(record, NotedAct::Open).unwrap();
        assert!(shim(&note).begin(running));
        note
    });
    notes.into_iter().for_each(std::mem::forget);
    let (_next, mut inherited) = Notes::inherit(first.descriptor().unwrap()).unwrap();
    assert_eq!((inherited.end_unrecorded(), inherited.end_unrecorded()), (1, 0));
    assert!(unrecorded.wait().unwrap().code().is_none(), "it was killed");
    assert!(recorded.try_wait().unwrap().is_none());
    assert_eq!(inherited.into_recorded().map(|(record, _)| record).collect::<Vec<_>>(), [7]);
    end(recorded);
}

#[test]
fn hooks_are_left_to_run_and_are_no_records() {
    let first = Notes::new().unwrap();
    let (mut child, running) = sleeper("60", LONG);
    let notes = [Some(7), None].map(|hook| {
        let note = hook.map_or_else(|| first.recorded(), |hook| first.hook(hook)).unwrap();
        assert!(shim(&note).begin(running));
        note
    });
    let ended = first.hook(8).unwrap();
    assert!(shim(&ended).begin(running) && shim(&ended).end(NotedPhase::Ended(0)));
    notes.into_iter().chain([ended, first.hook(9).unwrap()]).for_each(std::mem::forget);
    let (_next, mut inherited) = Notes::inherit(first.descriptor().unwrap()).unwrap();
    assert_eq!(inherited.end_unrecorded(), 0);
    let hooks = inherited.take_hooks();
    assert_eq!(
        hooks.iter().map(|(hook, note)| (*hook, note.running())).collect::<Vec<_>>(),
        [(7, Some(running))]
    );
    assert_eq!(inherited.into_recorded().count(), 1);
    assert!(child.try_wait().unwrap().is_none());
    end(child);
}

#[test]
fn what_ends_when_its_time_is_over_has_not_ended_by_itself_and_what_ended_before_has() {
    let notes = Notes::new().unwrap();
    let shim_of = ProcessIdentity { number: 7, started: 7 };
    let running = LeftRunning { shim: shim_of, command: None, until: 1 << 40 };
    let [late, early, asked] = [(); 3].map(|()| notes.asked(None, NotedAct::Open).unwrap());
    assert!(shim(&late).begin(running) && shim(&early).begin(running));
    let command = Some(ProcessIdentity { number: 8, started: 7 });
    assert!(shim(&late).started(ProcessIdentity { number: 8, started: 7 }));
    assert_eq!(late.running(), Some(LeftRunning { command, ..running }));
    assert!(late.expire() && !shim(&late).end(NotedPhase::Ended(0)));
    assert_eq!(late.running(), Some(LeftRunning { until: 0, command, ..running }));
    assert!(shim(&early).end(NotedPhase::Ended(0)) && !early.expire());
    assert_eq!(early.phase(), NotedPhase::Ended(0));
    let late_shim = shim(&asked);
    assert!(asked.expire() && !late_shim.begin(running));
}

#[test]
fn a_lock_of_a_process_that_was_killed_holds_nobody_up_and_one_of_a_stopped_shim_not_for_long() {
    let first = Notes::new().unwrap();
    let left = first.recorded().unwrap();
    let stopped = left.memory().unwrap();
    let held = first.descriptor().unwrap();
    let again = held.try_clone().unwrap();
    first.memory.lock().unwrap();
    // Here a process that ends drops its notes as well, and with them the last that has its description open.
    drop((left, first));
    let begun = Instant::now();
    let (next, _) = Notes::inherit(held).unwrap();
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    std::mem::forget(next.recorded().unwrap());
    stopped.lock().unwrap();
    let begun = Instant::now();
    let (_, inherited) = Notes::inherit(again).unwrap();
    assert!((PATIENCE..2 * PATIENCE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(inherited.0.len(), 1);
    stopped.unlock().unwrap();
}

#[test]
fn slots_are_bounded_and_used_again() {
    let notes = Notes::new().unwrap();
    let all: Vec<_> = (0..).map_while(|_| notes.recorded()).collect();
    assert_eq!(all.len(), SLOTS as usize - 1);
    assert!(notes.asked(None, NotedAct::Close).is_none());
    let mut places: Vec<_> = all.iter().map(|note| note.place().0).collect();
    places.sort_unstable();
    assert!(places.iter().copied().eq(1..SLOTS));
    drop(all);
    let again = notes.asked(None, NotedAct::Close).unwrap();
    assert_eq!(again.place(), (1, 2), "another ticket");
}

#[test]
fn a_slot_says_what_was_noted() {
    let shim = ProcessIdentity { number: 7, started: u64::MAX };
    let running = LeftRunning { shim, command: None, until: 1 << 40 };
    let started = LeftRunning { command: Some(ProcessIdentity { number: 9, started: 1 << 50 }), ..running };
    for act in [NotedAct::Open, NotedAct::Close, NotedAct::Hook] {
        for phase in [
            NotedPhase::Recorded,
            NotedPhase::Asked,
            NotedPhase::Running(running),
            NotedPhase::Running(started),
            NotedPhase::Ended(-1),
            NotedPhase::Ended(256),
            NotedPhase::NotStarted(2),
        ] {
            let slot = NoteSlot { ticket: 9, used: Some(UsedSlot { record: 1 << 50, act, phase }) };
            assert_eq!(NoteSlot::decode(&slot.encode()), slot);
        }
    }
    let free = NoteSlot { ticket: 9, used: None };
    assert_eq!(NoteSlot::decode(&free.encode()), free);
}

fn end(mut child: std::process::Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

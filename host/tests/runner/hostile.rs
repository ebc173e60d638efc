//! What an engine that was taken over can do by its link.

use std::thread;
use std::time::{Duration, Instant};

use postern_core::{Act, DoorId, DropReason, Order, Receipt, ShellDoor};
use postern_link::{
    Hello, LARGEST_ANSWER, OrderLink, Received, RunnerAnswer, RunnerRequest, Sent, TabledCommands,
};
use posternd::remote_runner::RemoteRunnerEvent;

use crate::process::Process;
use crate::test_engine::TestEngine;
use crate::{CLOSING, LONG, MINUTE, client, key, plan, reason, table};

/// An engine that was taken over, with nothing but its link.
struct HostileEngine(OrderLink);

impl HostileEngine {
    /// Sends a message; waits while the link is full.
    fn say(&self, message: &[u8]) {
        let until = Instant::now() + LONG;
        while self.0.send(message) == Sent::Full {
            assert!(Instant::now() < until, "the runner takes nothing any more");
            thread::yield_now();
        }
    }

    fn ask(&self, request: &RunnerRequest) {
        self.say(&request.encode());
    }

    /// The next answer; none once the runner has ended the link.
    fn heard(&self) -> Option<RunnerAnswer> {
        let mut inbox = [0; LARGEST_ANSWER];
        let until = Instant::now() + LONG;
        loop {
            match self.0.receive(&mut inbox) {
                Received::Message(length) => return Some(RunnerAnswer::decode(&inbox[..length]).unwrap()),
                Received::Ended => return None,
                Received::Nothing => assert!(Instant::now() < until, "the runner is silent"),
            }
            thread::yield_now();
        }
    }

    fn greeted(link: OrderLink) -> Self {
        let hostile = Self(link);
        hostile.ask(&RunnerRequest::Hello(Hello::of_this_process().unwrap()));
        assert!(matches!(hostile.heard(), Some(RunnerAnswer::Hello(_))));
        hostile
    }
}

#[test]
fn an_engine_cannot_have_what_is_open_forgotten_or_kept_for_longer_than_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), None, None);
    process.give(table(1, folder.path()));
    process.open_journal();
    let hostile = HostileEngine::greeted(process.link(11));
    let years = Duration::from_millis(postern_link::LONGEST_MS);
    for door in [1, 2] {
        hostile.ask(&RunnerRequest::Record {
            table: 1,
            rule: Some(7),
            serial: 1,
            key: key(door),
            lasts: MINUTE,
        });
        assert_eq!(hostile.heard(), Some(RunnerAnswer::Recorded { serial: 1, result: Ok(()) }));
        let act = Act::Open(MINUTE);
        let order = Order { serial: 2, door: DoorId(door), client: client(), occurrence: 0, act };
        hostile.ask(&RunnerRequest::Run { table: 1, rule: Some(7), order });
        assert_eq!(hostile.heard(), Some(RunnerAnswer::Receipt(Receipt { serial: 2, outcome: Ok(()) })));
        hostile.ask(&RunnerRequest::Note { key: key(door), lasts: years });
        hostile.ask(&RunnerRequest::StrikeOut(key(door)));
    }
    drop(hostile);
    let next = TestEngine::start(process.link(12), &plan(1, folder.path()));
    let mut handed: Vec<_> = (0..2)
        .map(|_| match next.next() {
            RemoteRunnerEvent::HandedOver { remaining, name, .. } => {
                assert!(remaining <= MINUTE, "{name} is kept open for {remaining:?}");
                name
            }
            other => panic!("{other:?}"),
        })
        .collect();
    handed.sort();
    assert_eq!(handed, ["bell", "lamp"]);
    process.end();
}

#[test]
fn a_flood_of_closes_is_refused_by_name_and_what_is_under_way_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), None, None);
    let mut slow = table(1, folder.path());
    let slow_stop =
        ShellDoor { start: Some("true".into()), stop: Some("sleep 60".into()), ..ShellDoor::default() };
    slow.doors[1].1.commands = TabledCommands::Shell(slow_stop);
    process.give(slow);
    let hostile = HostileEngine::greeted(process.link(11));
    let most = 2 * CLOSING;
    for n in 0..4 * most as u64 {
        // All of one client: one runs, and the others wait for it.
        let order = Order { serial: n, door: DoorId(2), client: client(), occurrence: 0, act: Act::Close };
        hostile.ask(&RunnerRequest::Run { table: 1, rule: None, order });
        if n >= most as u64 {
            let Some(RunnerAnswer::Receipt(Receipt { serial, outcome })) = hostile.heard() else {
                panic!("an answer")
            };
            assert_eq!((serial, reason(outcome)), (n, DropReason::BeyondTable));
        }
    }
    process.end();
}

#[test]
fn garbage_ends_the_link_of_the_engine_that_sent_it_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), None, None);
    process.give(table(1, folder.path()));
    process.open_journal();
    let hello = RunnerRequest::Hello(Hello::of_this_process().unwrap()).encode();
    let garbage: [&[&[u8]]; 6] = [
        &[b"garbage"],
        &[&[0xff; postern_link::REQUEST_SIZE]],
        &[&[7; LARGEST_ANSWER + 1]],
        &[&hello, &hello],
        &[&hello, &[0; postern_link::REQUEST_SIZE]],
        &[&RunnerRequest::Abandon(key(1)).encode()],
    ];
    for (number, messages) in (11..).zip(garbage) {
        let hostile = HostileEngine(process.link(number));
        messages.iter().for_each(|message| hostile.say(message));
        while hostile.heard().is_some() {}
    }
    // One that takes no answer is asked for nothing more.
    let silent = HostileEngine::greeted(process.link(90));
    let asked = (0..1_000_000).take_while(|_| {
        silent.0.send(&RunnerRequest::Abandon(key(1)).encode()) == Sent::Sent || {
            thread::sleep(Duration::from_millis(20));
            silent.0.send(&RunnerRequest::Abandon(key(1)).encode()) == Sent::Sent
        }
    });
    let asked = asked.count();
    assert!(asked < 100_000, "the runner keeps answers without end: {asked}");
    let engine = TestEngine::start(process.link(99), &plan(1, folder.path()));
    assert_eq!(engine.recorded(1, 1), Ok(()));
    assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    assert_eq!(engine.ordered(3, 1, Act::Close), Ok(()));
    process.end();
}

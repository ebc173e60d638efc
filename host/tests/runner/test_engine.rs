//! An engine's end of the link, with its doors.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use postern_core::{Act, DoorId, OpeningNote, Order, OrderError, Receipt, RecordError};
use postern_link::{Hello, OrderLink};
use postern_runner::RunnerEvent;
use posternd::command_doors::{CommandDoors, RecordedOpening};
use posternd::plan::Plan;
use posternd::remote_runner::{RemoteRunner, RemoteRunnerEvent};

use crate::{LONG, MINUTE, client, key, rule};

/// An engine with its doors.
pub(super) struct TestEngine {
    pub(super) doors: RemoteRunner,
    pub(super) events: Receiver<RemoteRunnerEvent>,
}

impl TestEngine {
    pub(super) fn start(link: OrderLink, plan: &Plan) -> Self {
        let (sender, events) = channel();
        let listener = move |event| sender.send(event).is_ok();
        let mut doors =
            RemoteRunner::start(link, listener, Arc::new(()), Hello::of_this_process().unwrap()).unwrap();
        doors.follow(plan);
        Self { doors, events }
    }

    pub(super) fn next(&self) -> RemoteRunnerEvent {
        self.events.recv_timeout(LONG).unwrap()
    }

    pub(super) fn order(&self, serial: u64, door: u32, act: Act) {
        let order = Order { serial, door: DoorId(door), client: client(), occurrence: 0, act };
        self.doors.carry_out(order, Some(&rule()), "not for the runner");
    }

    /// Carries an order out; why not, if so.
    pub(super) fn ordered(&self, serial: u64, door: u32, act: Act) -> Result<(), OrderError> {
        self.order(serial, door, act);
        self.receipt(serial)
    }

    pub(super) fn receipt(&self, expected: u64) -> Result<(), OrderError> {
        match self.next() {
            RemoteRunnerEvent::Runner(RunnerEvent::Answered(Receipt { serial, outcome })) => {
                assert_eq!(serial, expected);
                outcome
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn recorded(&self, serial: u64, door: u32) -> Result<(), RecordError> {
        let opening = RecordedOpening { serial, key: key(door), lasts: MINUTE, note: OpeningNote::default() };
        self.doors.record(opening, &rule(), "not for the runner");
        match self.next() {
            RemoteRunnerEvent::Runner(RunnerEvent::Recorded { serial: number, result }) => {
                assert_eq!(number, serial);
                result
            }
            other => panic!("{other:?}"),
        }
    }
}

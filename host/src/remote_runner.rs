//! RemoteRunner: the engine's side of the link to the runner's process. It runs no command, keeps no journal, and sends no text: a rule is
//! a number of the table that both have.

mod requests;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use postern_config::DoorKind;
use postern_core::{
    DoorId, DropReason, ListedOpening, Observer, OpeningKey, OpeningNote, Order, OrderError, Receipt,
    RecordError, Report, RuleId, What,
};
use postern_link::{Hello, LARGEST_ANSWER, OrderLink, Received, RunnerAnswer, RunnerRequest, Sent};
use postern_runner::{Journal, JournalRecord, RunnerEvent, is_handed_over};
use postern_text::panic::PastPanic;
use rustix::fd::OwnedFd;

use crate::command_doors::{CommandDoors, RecordedOpening};
use crate::peer_link::{ENOUGH, PeerLink};
use crate::plan::Plan;
use requests::{NotedRequest, Requests, Unanswered};

const RESTARTING: &str = "the runner is being restarted";
const ENDED: &str = "the runner ended before it answered";
const FULL: &str = "the runner does not keep up";

/// What comes from the runner's process.
#[derive(Clone, Debug)]
pub enum RemoteRunnerEvent {
    /// An order was carried out or not, or an opening recorded or not.
    Runner(RunnerEvent),
    /// Something is open that this engine did not order. Comes once for each.
    HandedOver {
        /// What the door is called by from now on.
        key: OpeningKey,
        /// For how long from now.
        remaining: Duration,
        /// The door's name.
        name: String,
        /// Whose it is.
        note: OpeningNote,
    },
}

/// The link to the runner's process, over as many runners as there are.
pub struct RemoteRunner {
    shared: Arc<Shared>,
    table: u32,
    doors: HashSet<DoorId>,
    rules: HashMap<RuleId, u32>,
}

/// Takes an event and returns at once; false if the receiver of events is gone. It is called with the lock held, so that answers keep their
/// order.
type EventListener = Box<dyn Fn(RemoteRunnerEvent) -> bool + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    hello: Hello,
    listener: EventListener,
    observer: Arc<dyn Observer>,
}

struct State {
    link: PeerLink,
    requests: Requests,
    /// Openings that were handed over, so that the next runner hands none over once more.
    handed_over: HashSet<DoorId>,
    /// How many openings were given up, as the runner said last.
    abandoned: usize,
    /// How many more were given up since.
    being_abandoned: usize,
    is_over: bool,
}

/// Hands another link to a [`RemoteRunner`], from any thread.
#[derive(Clone)]
pub struct RunnerReconnector(Arc<Shared>);

impl RemoteRunner {
    /// Greets the runner at the other end. `listener` is called for every event that the daemon must act on; it must not block, and returns
    /// false when the receiver of events is gone. A link that breaks is reported to `observer`. `hello` is
    /// this process's own, found out while it could open files.
    ///
    /// # Errors
    /// If the system has no thread or no eventfd for it, or there is no `/proc`.
    pub fn start(
        link: OrderLink,
        listener: impl Fn(RemoteRunnerEvent) -> bool + Send + Sync + 'static,
        observer: Arc<dyn Observer>,
        hello: Hello,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::greet(link, Box::new(listener), observer, hello)?);
        let reader = Arc::clone(&shared);
        thread::Builder::new().name("runner-link".to_owned()).spawn(move || reader.read())?;
        Ok(Self { shared, table: 0, doors: HashSet::new(), rules: HashMap::new() })
    }

    /// What hands it the link to the next runner.
    #[must_use]
    pub fn reconnector(&self) -> RunnerReconnector {
        RunnerReconnector(Arc::clone(&self.shared))
    }

    fn rule(&self, rule: Option<&RuleId>) -> Option<u32> {
        rule.and_then(|rule| self.rules.get(rule).copied())
    }

    fn ask(&self, request: RunnerRequest) {
        self.ask_noted(request, OpeningNote::default());
    }

    fn ask_noted(&self, request: RunnerRequest, note: OpeningNote) {
        let shared = &*self.shared;
        let mut state = shared.lock();
        shared.ask(&mut state, NotedRequest { request, note });
    }
}

impl RunnerReconnector {
    /// Goes on with the runner at the other end of this link: in the place of the one that has ended, whether that was noticed already or
    /// not. What that said last is read first; what it did not answer is answered with an error by name, since nobody knows how far it
    /// got. What waited is sent to the next.
    pub fn reconnect(&self, link: OwnedFd) {
        self.0.lock().link.follow_with(OrderLink::from(link));
    }
}

impl CommandDoors for RemoteRunner {
    fn follow(&mut self, plan: &Plan) {
        self.table = plan.table;
        self.rules.clone_from(&plan.rules);
        // Numbers never mean another door, so those of earlier plans may stay.
        let is_command = |kind: &DoorKind| !matches!(kind, DoorKind::Net(_));
        self.doors.extend(plan.doors.iter().filter(|(_, kind)| is_command(kind)).map(|(id, _)| *id));
    }

    fn has(&self, door: DoorId) -> bool {
        is_handed_over(door) || self.doors.contains(&door)
    }

    fn carry_out(&self, order: Order, rule: Option<&RuleId>, _door: &str) {
        self.ask(RunnerRequest::Run { table: self.table, rule: self.rule(rule), order });
    }

    fn record(&self, opening: RecordedOpening, rule: &RuleId, _door: &str) {
        let RecordedOpening { serial, key, lasts, note } = opening;
        let rule = self.rule(Some(rule));
        self.ask_noted(RunnerRequest::Record { table: self.table, rule, serial, key, lasts }, note);
    }

    fn strike_out(&self, key: OpeningKey) {
        self.ask(RunnerRequest::StrikeOut(key));
    }

    fn note(&self, key: OpeningKey, lasts: Duration, note: OpeningNote) {
        self.ask_noted(RunnerRequest::Note { key, lasts }, note);
    }

    fn abandon(&self, key: OpeningKey) {
        self.shared.lock().being_abandoned += 1;
        self.ask(RunnerRequest::Abandon(key));
    }

    fn abandoned(&self) -> usize {
        let state = self.shared.lock();
        state.abandoned + state.being_abandoned
    }

    /// The runner outlives this process, and writes what it was asked to.
    fn flush(&self) {}

    fn use_journal(&self, _journal: Journal) {}

    fn inherit(&mut self, _key: OpeningKey, _row: u64, _record: JournalRecord) {}
}

impl Drop for RemoteRunner {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_over = true;
        state.link.wake();
    }
}

impl State {
    fn greet(&self, hello: Hello) {
        // A new link has room for a message.
        let _ = self.link.current().map(|link| link.send(&RunnerRequest::Hello(hello).encode()));
    }
}

impl Shared {
    fn greet(
        link: OrderLink,
        listener: EventListener,
        observer: Arc<dyn Observer>,
        hello: Hello,
    ) -> io::Result<Self> {
        let state = State {
            link: PeerLink::new(link)?,
            requests: Requests::default(),
            handed_over: HashSet::new(),
            abandoned: 0,
            being_abandoned: 0,
            is_over: false,
        };
        state.greet(hello);
        Ok(Self { state: Mutex::new(state), hello, listener, observer })
    }

    /// Sends a request now or when there is room, or refuses it.
    fn ask(&self, state: &mut State, request: NotedRequest) {
        if state.link.is_given_up() {
            return self.refuse(state, &request.request, DropReason::Restarting, RESTARTING);
        }
        match state.requests.push(request) {
            // The reader sends the rest, and keeps the time of what waits for a runner.
            Ok(()) if !Self::flush(state) => state.link.wake(),
            Ok(()) => {}
            Err(request) => self.refuse(state, &request.request, DropReason::LinkFull, FULL),
        }
    }

    /// Sends what waits, as far as there is room; whether nothing waits any more. The end of a link is left to the reader, which has yet to
    /// read what came before it.
    fn flush(state: &mut State) -> bool {
        while let Some(NotedRequest { request, note }) = state.requests.next() {
            let message = request.encode_noted(note);
            if state.link.current().map(|link| link.send(&message)) != Some(Sent::Sent) {
                return false;
            }
            state.requests.sent();
        }
        true
    }

    /// The runner is gone, and everything that it said was read: what it was sent and has not answered it never will. If there is another
    /// one, it is greeted.
    fn lose(&self, state: &mut State) {
        state.link.lose();
        for unanswered in state.requests.lose() {
            match unanswered {
                Unanswered::Order(serial) => self.answer(serial, DropReason::Restarting, ENDED),
                Unanswered::Record(serial) => self.record_failed(serial, ENDED),
            }
        }
        self.go_on(state);
    }

    fn go_on(&self, state: &mut State) {
        if state.link.go_on() {
            state.greet(self.hello);
        }
    }

    fn refuse(&self, state: &mut State, request: &RunnerRequest, reason: DropReason, words: &str) {
        match request {
            RunnerRequest::Run { order, .. } => self.answer(order.serial, reason, words),
            RunnerRequest::Record { serial, .. } => self.record_failed(*serial, words),
            // It stays in the journal, and the next start tries once more; so it is one that is open.
            RunnerRequest::Abandon(_) => {
                state.being_abandoned = state.being_abandoned.saturating_sub(1);
                state.abandoned += 1;
            }
            // What stays in the journal is closed once more than needed.
            _ => {}
        }
    }

    fn answer(&self, serial: u64, reason: DropReason, words: &str) {
        let outcome = Err(OrderError::new(reason, words));
        self.tell(RemoteRunnerEvent::Runner(RunnerEvent::Answered(Receipt { serial, outcome })));
    }

    fn record_failed(&self, serial: u64, words: &str) {
        let result = Err(RecordError::Failed(words.to_owned()));
        self.tell(RemoteRunnerEvent::Runner(RunnerEvent::Recorded { serial, result }));
    }

    fn tell(&self, event: RemoteRunnerEvent) {
        // If nobody receives events any more this process is ending.
        let _ = (self.listener)(event);
    }

    /// Reads answers until the end.
    fn read(&self) {
        let mut inbox = Box::new([0; LARGEST_ANSWER]);
        loop {
            let wait = {
                let state = self.lock();
                if state.is_over {
                    return;
                }
                // What is only noted waits for a runner for as long as it takes.
                state.link.wait_for(!state.requests.is_empty(), state.requests.is_any_asked())
            };
            wait.wait();
            self.serve(&mut self.lock(), &mut inbox);
        }
    }

    /// Takes what has come, notices the end of the link, and sends what waits, or refuses it.
    fn serve(&self, state: &mut State, inbox: &mut [u8; LARGEST_ANSWER]) {
        self.receive(state, inbox);
        Self::flush(state);
        if state.link.is_given_up() {
            for request in state.requests.take_waiting() {
                self.refuse(state, &request.request, DropReason::Restarting, RESTARTING);
            }
        }
    }

    fn receive(&self, state: &mut State, inbox: &mut [u8; LARGEST_ANSWER]) {
        for _ in 0..ENOUGH {
            let Some(link) = state.link.current() else { return self.go_on(state) };
            let answer = match link.receive(inbox) {
                Received::Message(length) => RunnerAnswer::decode(inbox.get(..length).unwrap_or(&inbox[..])),
                Received::Nothing if !state.link.has_next() => return,
                // There is no more to come from one whose successor is here, whoever has its end.
                Received::Nothing | Received::Ended => return self.lose(state),
            };
            let broken = match answer {
                Ok(answer) => self.take(state, answer).err(),
                Err(odd) => Some(format!("runner to engine: {odd}")),
            };
            if let Some(detail) = broken {
                self.observer.report(&Report::new(What::LinkBroken { detail: detail.into() }));
                return self.lose(state);
            }
        }
    }

    /// Acts on an answer.
    ///
    /// # Errors
    /// If the runner should not have sent it.
    fn take(&self, state: &mut State, answer: RunnerAnswer) -> Result<(), String> {
        match answer {
            RunnerAnswer::Hello(hello) if hello == self.hello => {}
            RunnerAnswer::Hello(_) => return Err("engine and runner are not the same program".to_owned()),
            RunnerAnswer::Receipt(receipt) => {
                // What was given up on is answered already.
                if state.requests.answered(receipt.serial) {
                    self.tell(RemoteRunnerEvent::Runner(RunnerEvent::Answered(receipt)));
                }
            }
            RunnerAnswer::Recorded { serial, result } => {
                if state.requests.answered(serial) {
                    self.tell(RemoteRunnerEvent::Runner(RunnerEvent::Recorded { serial, result }));
                }
            }
            RunnerAnswer::Abandoned { count } => {
                state.abandoned = usize::try_from(count).unwrap_or(usize::MAX);
                state.being_abandoned = state.being_abandoned.saturating_sub(1);
            }
            RunnerAnswer::HandedOver { opening, name } => {
                if !is_handed_over(opening.door) {
                    return Err(format!("runner to engine: door {} is not for it to give", opening.door.0));
                }
                if state.handed_over.insert(opening.door) {
                    let key = OpeningKey { door: opening.door, client: opening.client, occurrence: 0 };
                    let ListedOpening { remaining, note, .. } = opening;
                    self.tell(RemoteRunnerEvent::HandedOver { key, remaining, name, note });
                }
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().past_panic()
    }
}

#[cfg(test)]
mod tests {
    use postern_core::{Act, Client};

    use super::*;

    fn key() -> OpeningKey {
        OpeningKey { door: DoorId(1), client: Client::alone([192, 0, 2, 1].into()), occurrence: 1 }
    }

    /// One whose reader is not started, and the runner's end of its link.
    fn shared(listener: impl Fn(RemoteRunnerEvent) -> bool + Send + Sync + 'static) -> (Shared, OrderLink) {
        let (link, other) = OrderLink::pair().unwrap();
        let hello = Hello::of_this_process().unwrap();
        (Shared::greet(link, Box::new(listener), Arc::new(()), hello).unwrap(), other)
    }

    fn order(serial: u64) -> RunnerRequest {
        let OpeningKey { door, client, occurrence } = key();
        let order = Order { serial, door, client, occurrence, act: Act::Close };
        RunnerRequest::Run { table: 1, rule: None, order }
    }

    #[test]
    fn a_runner_that_reads_nothing_wakes_the_reader_with_each_request_and_not_by_itself() {
        let (shared, _runner) = shared(|_| true);
        let mut state = shared.lock();
        while !state.link.is_woken() {
            shared.ask(&mut state, RunnerRequest::Abandon(key()).into());
        }
        assert!(!Shared::flush(&mut state), "it is full");
        assert!(!state.link.is_woken());
    }

    #[test]
    fn notes_wait_for_a_runner_without_an_end_and_orders_do_not() {
        let (shared, runner) = shared(|_| true);
        let mut state = shared.lock();
        drop(runner);
        shared.ask(&mut state, RunnerRequest::StrikeOut(key()).into());
        assert!(state.link.is_woken(), "the reader is to notice the end");
        shared.serve(&mut state, &mut [0; LARGEST_ANSWER]);
        assert!(state.link.current().is_none());
        assert!(!state.requests.is_any_asked());
        shared.ask(&mut state, order(1).into());
        assert!(state.requests.is_any_asked());
        state.requests.take_waiting();
        assert!(!state.requests.is_any_asked());
        assert!(!state.requests.is_empty(), "the note is for the next runner");
    }

    #[test]
    fn what_a_dying_runner_said_last_counts_whoever_notices_its_end_first() {
        let receipt = |serial| Receipt { serial, outcome: Ok(()) };
        let (sender, events) = std::sync::mpsc::channel();
        let (shared, runner) = shared(move |event| sender.send(event).is_ok());
        let mut state = shared.lock();
        for serial in 1..=3 {
            shared.ask(&mut state, order(serial).into());
        }
        for serial in 1..=2 {
            assert_eq!(runner.send(&RunnerAnswer::Receipt(receipt(serial)).encode()), Sent::Sent);
        }
        drop(runner);
        // It cannot be sent any more, and the next runner is there before anything was read.
        shared.ask(&mut state, order(4).into());
        let (link, next) = OrderLink::pair().unwrap();
        state.link.follow_with(link);
        shared.serve(&mut state, &mut [0; LARGEST_ANSWER]);
        let answered: Vec<_> = events
            .try_iter()
            .map(|event| match event {
                RemoteRunnerEvent::Runner(RunnerEvent::Answered(receipt)) => {
                    (receipt.serial, receipt.outcome.map_err(|error| error.reason()))
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(answered, [(1, Ok(())), (2, Ok(())), (3, Err(DropReason::Restarting))]);
        let mut inbox = [0; LARGEST_ANSWER];
        let mut heard = || match next.receive(&mut inbox) {
            Received::Message(length) => RunnerRequest::decode(&inbox[..length]).unwrap(),
            other => panic!("{other:?}"),
        };
        assert!(matches!(heard(), RunnerRequest::Hello(_)));
        assert_eq!(heard(), order(4));
    }
}

//! RemoteDoorman: the engine's side of the link to the doorman's process. The thread that judges sends its order itself, and wakes no other
//! thread of this process; a thread of its own turns answers into events. It touches no packet filter.

mod answers;
mod queue;

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use postern_core::{
    Client, DoorId, DoorsTable, DropReason, Listing, Observer, OrderError, Posture, Receipt, Release, Report,
    What,
};
use postern_doorman::{DoormanEvent, NotedOrder};
use postern_link::{Hello, LARGEST_ANSWER, LinkAnswer, NotInPlace, OrderLink, Received};
use postern_text::panic::PastPanic;
use rustix::fd::OwnedFd;

use crate::net_doors::{DoorsReply, NetDoors};
use crate::peer_link::{ENOUGH, PeerLink};
use answers::{DoormanAnswer, DoormanAnswers};
use queue::{DoormanQueue, Flushed, QueuedMessage};

/// For how long a stop waits for the answers to everything that was asked before.
const LAST_ANSWER: Duration = Duration::from_secs(1);

const RESTARTING: &str = "the doorman is being restarted";
const ENDED: &str = "the doorman ended before it answered";

/// The link to the doorman's process, over as many doormen as there are.
pub struct RemoteDoorman {
    shared: Arc<Shared>,
    /// None once it was stopped.
    reader: Option<JoinHandle<()>>,
}

/// Takes an event and returns at once; false if the receiver of events is gone. It is called with the lock held, so that answers keep their
/// order.
type EventListener = Box<dyn Fn(DoormanEvent) -> bool + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    hello: Hello,
    listener: EventListener,
    observer: Arc<dyn Observer>,
}

struct State {
    link: PeerLink,
    queue: DoormanQueue,
    requests: HashMap<u64, AwaitedReply>,
    last_ticket: u64,
    is_stopped: bool,
}

/// A request that has no answer yet.
enum AwaitedReply {
    PutInPlace(u32, DoorsReply<Result<Posture, NotInPlace>>),
    List(DoorsReply<Result<Listing, String>>),
    /// After a doorman's end: what its successor found open is for the engine.
    FindOpen,
    Probe(DoorsReply<Result<(), String>>),
    Packets(DoorsReply<Option<u64>>),
}

impl RemoteDoorman {
    /// Greets the doorman at the other end. `listener` is called for every event that the daemon must act on; it must not block, and returns
    /// false when the receiver of events is gone. A link that breaks is reported to `observer`. `hello` is
    /// this process's own, found out while it could open files.
    ///
    /// # Errors
    /// If the system has no thread or no eventfd for it.
    pub fn start(
        link: OrderLink,
        listener: impl Fn(DoormanEvent) -> bool + Send + Sync + 'static,
        observer: Arc<dyn Observer>,
        hello: Hello,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::greet(link, Box::new(listener), observer, hello)?);
        let reader = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("doorman-link".to_owned()).spawn(move || shared.read())?
        };
        Ok(Self { shared, reader: Some(reader) })
    }

    /// Goes on with another doorman, in the place of the one that has ended. What waited is sent to it, and what it found open comes as an
    /// event.
    pub fn reconnector(&self) -> Reconnector {
        Reconnector(Arc::clone(&self.shared))
    }
}

/// Hands another link to a [`RemoteDoorman`], from any thread.
#[derive(Clone)]
pub struct Reconnector(Arc<Shared>);

impl Reconnector {
    /// Goes on with the doorman at the other end of this link: in the place of the one that has ended, whether that was noticed already or
    /// not. What that said last is read first. Then what waited is sent to the next, and what it found open comes as an event.
    pub fn reconnect(&self, link: OwnedFd) {
        self.0.lock().link.follow_with(OrderLink::from(link));
    }
}

impl NetDoors for RemoteDoorman {
    fn carry_out(&self, order: NotedOrder) {
        let shared = &*self.shared;
        let mut state = shared.lock();
        if state.link.is_given_up() || state.is_stopped {
            return shared.refuse(order.order.serial, DropReason::Restarting, RESTARTING);
        }
        let serial = order.order.serial;
        if !state.queue.push(QueuedMessage::Order(order)) {
            let words = "too many orders wait for the doorman";
            return shared.refuse(serial, DropReason::LinkFull, words);
        }
        Shared::flush_or_wake(&mut state);
    }

    fn put_in_place(
        &self,
        table: &DoorsTable,
        release: Release,
        reply: DoorsReply<Result<Posture, NotInPlace>>,
    ) {
        let number = table.number;
        let waiting = |ticket| QueuedMessage::PutInPlace { ticket, table: number, release };
        self.shared.request(AwaitedReply::PutInPlace(number, reply), waiting);
    }

    fn list(&self, reply: DoorsReply<Result<Listing, String>>) {
        self.shared.request(AwaitedReply::List(reply), QueuedMessage::List);
    }

    fn packets(&self, door: DoorId, client: Client, reply: DoorsReply<Option<u64>>) {
        let waiting = |ticket| QueuedMessage::Packets { ticket, door, client };
        self.shared.request(AwaitedReply::Packets(reply), waiting);
    }

    fn probe(&self, reply: DoorsReply<Result<(), String>>) {
        self.shared.request(AwaitedReply::Probe(reply), QueuedMessage::Probe);
    }

    fn stop(&mut self) {
        let Some(reader) = self.reader.take() else { return };
        let (sender, answered) = sync_channel(1);
        self.probe(Box::new(move |_| {
            let _ = sender.try_send(());
        }));
        let _ = answered.recv_timeout(LAST_ANSWER);
        self.shared.end();
        drop(reader.join());
    }
}

impl Drop for RemoteDoorman {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl State {
    fn ask(&mut self, request: AwaitedReply) -> u64 {
        self.last_ticket += 1;
        self.requests.insert(self.last_ticket, request);
        self.last_ticket
    }
}

impl Shared {
    fn greet(
        link: OrderLink,
        listener: EventListener,
        observer: Arc<dyn Observer>,
        hello: Hello,
    ) -> io::Result<Self> {
        let mut queue = DoormanQueue::default();
        queue.begin(hello);
        let state = State {
            link: PeerLink::new(link)?,
            queue,
            requests: HashMap::new(),
            last_ticket: 0,
            is_stopped: false,
        };
        Ok(Self { state: Mutex::new(state), hello, listener, observer })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().past_panic()
    }

    fn end(&self) {
        let mut state = self.lock();
        state.is_stopped = true;
        state.link.wake();
    }

    fn refuse(&self, serial: u64, reason: DropReason, words: &str) {
        let outcome = Err(OrderError::new(reason, words));
        (self.listener)(DoormanEvent::Answered(Receipt { serial, outcome }));
    }

    fn request(&self, request: AwaitedReply, waiting: impl FnOnce(u64) -> QueuedMessage) {
        let mut state = self.lock();
        let ticket = state.ask(request);
        let refusal = if state.link.is_given_up() || state.is_stopped {
            Some(RESTARTING)
        } else if !state.queue.push(waiting(ticket)) {
            Some("too much waits for the doorman")
        } else {
            None
        };
        match refusal {
            Some(words) => {
                let request = state.requests.remove(&ticket);
                drop(state);
                request.into_iter().for_each(|request| request.fail(words));
            }
            None => Self::flush_or_wake(&mut state),
        }
    }

    /// Sends what waits, and has the reader send the rest.
    fn flush_or_wake(state: &mut State) {
        if !Self::flush(state) {
            state.link.wake();
        }
    }

    /// Sends what waits; whether nothing waits any more. The end of a link is left to the reader, which has yet to read what came before it.
    fn flush(state: &mut State) -> bool {
        let State { link, queue, .. } = state;
        link.current().is_some_and(|link| queue.flush(link) == Flushed::All)
    }

    /// The reader's thread: until it is stopped.
    fn read(&self) {
        let mut inbox = Box::new([0; LARGEST_ANSWER]);
        let mut answers = DoormanAnswers::new(self.hello);
        loop {
            let wait = {
                let mut state = self.lock();
                if state.is_stopped {
                    return self.stop(&mut state);
                }
                let is_waiting = !state.queue.is_empty();
                state.link.wait_for(is_waiting, is_waiting)
            };
            wait.wait();
            self.serve(&mut answers, &mut inbox);
        }
    }

    /// Takes what has come, notices the end of the link, and sends what waits, or refuses it.
    fn serve(&self, answers: &mut DoormanAnswers, inbox: &mut [u8; LARGEST_ANSWER]) {
        if let Err(detail) = self.receive(answers, inbox) {
            // Pieces of a listing that another doorman began are of no use.
            *answers = DoormanAnswers::new(self.hello);
            self.lose(&mut self.lock());
            if let Some(detail) = detail {
                self.observer.report(&Report::new(What::LinkBroken { detail: detail.into() }));
            }
        }
        let mut state = self.lock();
        if state.link.current().is_none() {
            self.go_on(&mut state);
        }
        Self::flush(&mut state);
        if state.link.is_given_up() {
            self.refuse_waiting(&mut state);
        }
    }

    /// Takes answers.
    ///
    /// # Errors
    /// If the link has ended, and why if the doorman itself has not.
    fn receive(
        &self,
        answers: &mut DoormanAnswers,
        inbox: &mut [u8; LARGEST_ANSWER],
    ) -> Result<(), Option<String>> {
        for _ in 0..ENOUGH {
            let (received, has_next) = {
                let state = self.lock();
                let Some(link) = state.link.current() else { return Ok(()) };
                (link.receive(inbox), state.link.has_next())
            };
            let length = match received {
                Received::Message(length) => length,
                Received::Nothing if !has_next => break,
                // There is no more to come from one whose successor is here, whoever has its end.
                Received::Nothing | Received::Ended => return Err(None),
            };
            let odd = |what: String| Some(format!("doorman to engine: {what}"));
            let message = inbox.get(..length).unwrap_or(&inbox[..]);
            let answer = LinkAnswer::decode(message).map_err(|error| odd(error.to_string()))?;
            let answered = answers.take(answer).map_err(|what| odd(what.to_owned()))?;
            if let Some(answered) = answered {
                self.answered(answered);
            }
        }
        Ok(())
    }

    fn answered(&self, answered: DoormanAnswer) {
        let mut state = self.lock();
        match answered {
            DoormanAnswer::Receipt(receipt) => {
                if state.queue.answered(receipt.serial) {
                    (self.listener)(DoormanEvent::Answered(receipt));
                }
            }
            DoormanAnswer::Changed(listing) => drop((self.listener)(DoormanEvent::RulesetChanged(listing))),
            DoormanAnswer::CameIn(door, client) => {
                (self.listener)(DoormanEvent::CameIn(door, client));
            }
            DoormanAnswer::PutInPlace(ticket, outcome) => {
                if let Some(AwaitedReply::PutInPlace(table, reply)) = state.requests.remove(&ticket) {
                    state.queue.put_in_place(table, outcome.is_ok());
                    drop(state);
                    reply(outcome);
                }
            }
            DoormanAnswer::Listed(ticket, outcome) => match (state.requests.remove(&ticket), outcome) {
                (Some(AwaitedReply::FindOpen), Ok(listing)) => {
                    (self.listener)(DoormanEvent::RulesetChanged(listing));
                }
                (Some(AwaitedReply::FindOpen), Err(detail)) => {
                    drop(state);
                    self.observer.report(&Report::new(What::OpeningsUnread { detail: detail.into() }));
                }
                (Some(AwaitedReply::List(reply)), outcome) => {
                    drop(state);
                    reply(outcome);
                }
                _ => {}
            },
            DoormanAnswer::Probed(ticket, outcome) => {
                if let Some(AwaitedReply::Probe(reply)) = state.requests.remove(&ticket) {
                    drop(state);
                    reply(outcome);
                }
            }
            DoormanAnswer::Counted(ticket, packets) => {
                if let Some(AwaitedReply::Packets(reply)) = state.requests.remove(&ticket) {
                    drop(state);
                    reply(packets);
                }
            }
        }
    }

    /// The doorman is gone, and everything that it said was read: what it was asked gets no other answer. What was not sent to it waits for
    /// the next.
    fn lose(&self, state: &mut State) {
        state.link.lose();
        for serial in state.queue.lose() {
            self.refuse(serial, DropReason::Restarting, ENDED);
        }
        let waits: Vec<_> = state.queue.tickets().collect();
        let requests = std::mem::take(&mut state.requests);
        let (waiting, sent): (HashMap<_, _>, HashMap<_, _>) =
            requests.into_iter().partition(|(ticket, _)| waits.contains(ticket));
        state.requests = waiting;
        sent.into_values().for_each(|request| request.fail(ENDED));
    }

    /// Greets the next doorman, if there is one, and asks it what it found open.
    fn go_on(&self, state: &mut State) {
        if !state.link.go_on() {
            return;
        }
        state.queue.begin(self.hello);
        let ticket = state.ask(AwaitedReply::FindOpen);
        // Before all that waits: it is about the time before.
        state.queue.push_first(QueuedMessage::List(ticket));
    }

    /// Refuses what waits for a doorman.
    fn refuse_waiting(&self, state: &mut State) {
        for waiting in state.queue.give_up() {
            match waiting {
                QueuedMessage::Order(NotedOrder { order, .. }) => {
                    self.refuse(order.serial, DropReason::Restarting, RESTARTING);
                }
                other => {
                    let request = other.ticket().and_then(|ticket| state.requests.remove(&ticket));
                    request.into_iter().for_each(|request| request.fail(RESTARTING));
                }
            }
        }
    }

    fn stop(&self, state: &mut State) {
        self.lose(state);
        self.refuse_waiting(state);
    }
}

impl AwaitedReply {
    /// Replies that nothing comes of it. A reply must not come back here: the lock is held.
    fn fail(self, words: &str) {
        match self {
            Self::PutInPlace(_, reply) => reply(Err(NotInPlace::failed(words))),
            Self::List(reply) => reply(Err(words.to_owned())),
            Self::Probe(reply) => reply(Err(words.to_owned())),
            Self::Packets(reply) => reply(None),
            Self::FindOpen => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use postern_core::{Act, DoorId, Order};
    use postern_link::{LinkRequest, Sent};

    use super::*;

    #[test]
    fn what_a_dying_doorman_said_last_counts_whoever_notices_its_end_first() {
        let (sender, events) = channel();
        let (link, doorman) = OrderLink::pair().unwrap();
        let hello = Hello::of_this_process().unwrap();
        let listener = move |event| sender.send(event).is_ok();
        let shared = Shared::greet(link, Box::new(listener), Arc::new(()), hello).unwrap();
        // The reader is not started.
        let remote = RemoteDoorman { shared: Arc::new(shared), reader: None };
        let order = |serial| {
            let client = "192.0.2.7".parse().unwrap();
            NotedOrder::from(Order { serial, door: DoorId(1), client, occurrence: 0, act: Act::Close })
        };
        let mut answers = DoormanAnswers::new(hello);
        for serial in 1..=3 {
            remote.carry_out(order(serial));
        }
        let receipt = |serial| LinkAnswer::Receipt(Receipt { serial, outcome: Ok(()) });
        for answer in [LinkAnswer::Hello(hello), receipt(1), receipt(2)] {
            assert_eq!(doorman.send(&answer.encode()), Sent::Sent);
        }
        drop(doorman);
        // It cannot be sent any more, and the next doorman is there before anything was read.
        remote.carry_out(order(4));
        let (link, next) = OrderLink::pair().unwrap();
        remote.reconnector().reconnect(link.into());
        remote.shared.serve(&mut answers, &mut [0; LARGEST_ANSWER]);
        let mut answered: Vec<_> = events
            .try_iter()
            .map(|event| match event {
                DoormanEvent::Answered(receipt) => {
                    (receipt.serial, receipt.outcome.map_err(|error| error.reason()))
                }
                _ => panic!("no answer to an order"),
            })
            .collect();
        answered.sort_unstable_by_key(|(serial, _)| *serial);
        assert_eq!(answered, [(1, Ok(())), (2, Ok(())), (3, Err(DropReason::Restarting))]);
        let mut inbox = [0; LARGEST_ANSWER];
        let mut heard = || match next.receive(&mut inbox) {
            Received::Message(length) => LinkRequest::decode(&inbox[..length]).unwrap(),
            other => panic!("{other:?}"),
        };
        assert!(matches!(heard(), LinkRequest::Hello(_)));
        assert!(matches!(heard(), LinkRequest::List { .. }));
        assert!(matches!(heard(), LinkRequest::Order { order, .. } if order.serial == 4));
    }
}

//! RemoteDoorman: the engine's side of the link to the doorman's process. The thread that judges sends its order itself, and wakes no other
//! thread of this process; a thread of its own turns answers into events. It touches no packet filter.

mod answers;
mod queue;

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use postern_core::{
    DoorsTable, DropReason, Listing, Observer, Order, OrderError, Posture, Receipt, Release, Report, What,
};
use postern_doorman::DoormanEvent;
use postern_link::{Hello, LARGEST_ANSWER, LinkAnswer, NotInPlace, OrderLink, Received};
use postern_text::panic::PastPanic;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;

use crate::net_doors::{DoorsReply, NetDoors};
use answers::{DoormanAnswer, DoormanAnswers};
use queue::{DoormanQueue, Flushed, QueuedMessage};

/// For how long orders wait for a doorman that has ended to be back; after that they are refused.
const PATIENCE: Duration = Duration::from_secs(2);
/// For how long a stop waits for the answers to everything that was asked before.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// Most answers that are taken before the queue is looked at again.
const ENOUGH: usize = 256;

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
    wake: OwnedFd,
    hello: Hello,
    listener: EventListener,
    observer: Arc<dyn Observer>,
}

struct State {
    /// None while no doorman is there.
    link: Option<Arc<OrderLink>>,
    /// Since when that is so.
    lost_at: Instant,
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
        let mut state = State {
            link: None,
            lost_at: Instant::now(),
            queue: DoormanQueue::default(),
            requests: HashMap::new(),
            last_ticket: 0,
            is_stopped: false,
        };
        state.attach(link, hello);
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            hello,
            listener: Box::new(listener),
            observer,
        });
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
    /// not. What waited is sent to it, and what it found open comes as an event.
    pub fn reconnect(&self, link: OwnedFd) {
        let shared = &*self.0;
        let mut state = shared.lock();
        shared.lose(&mut state);
        state.attach(OrderLink::from(link), shared.hello);
        let ticket = state.ask(AwaitedReply::FindOpen);
        // Before all that waits: it is about the time before.
        state.queue.push_first(QueuedMessage::List(ticket));
        shared.flush(&mut state);
        drop(state);
        shared.wake();
    }
}

impl NetDoors for RemoteDoorman {
    fn carry_out(&self, order: Order) {
        let shared = &*self.shared;
        let mut state = shared.lock();
        if state.link.is_none() && state.lost_at.elapsed() > PATIENCE {
            return shared.refuse(order.serial, DropReason::Restarting, RESTARTING);
        }
        if !state.queue.push(QueuedMessage::Order(order)) {
            let words = "too many orders wait for the doorman";
            return shared.refuse(order.serial, DropReason::LinkFull, words);
        }
        shared.flush_or_wake(&mut state);
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
        self.shared.lock().is_stopped = true;
        self.shared.wake();
        drop(reader.join());
    }
}

impl Drop for RemoteDoorman {
    fn drop(&mut self) {
        self.shared.lock().is_stopped = true;
        self.shared.wake();
    }
}

impl State {
    fn attach(&mut self, link: OrderLink, hello: Hello) {
        self.queue.begin(hello);
        self.link = Some(Arc::new(link));
    }

    fn ask(&mut self, request: AwaitedReply) -> u64 {
        self.last_ticket += 1;
        self.requests.insert(self.last_ticket, request);
        self.last_ticket
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().past_panic()
    }

    /// Has the reader look at everything anew.
    fn wake(&self) {
        // Writing fails only if the counter is full, and then the reader is awake already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn refuse(&self, serial: u64, reason: DropReason, words: &str) {
        let outcome = Err(OrderError::new(reason, words));
        (self.listener)(DoormanEvent::Answered(Receipt { serial, outcome }));
    }

    fn request(&self, request: AwaitedReply, waiting: impl FnOnce(u64) -> QueuedMessage) {
        let mut state = self.lock();
        let ticket = state.ask(request);
        let refusal = if state.link.is_none() && state.lost_at.elapsed() > PATIENCE || state.is_stopped {
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
            None => self.flush_or_wake(&mut state),
        }
    }

    /// Sends what waits, and has the reader send the rest.
    fn flush_or_wake(&self, state: &mut State) {
        if !self.flush(state) {
            self.wake();
        }
    }

    /// Sends what waits; whether nothing waits any more. The end of a link is left to the reader, which has yet to read what came before it.
    fn flush(&self, state: &mut State) -> bool {
        let Some(link) = state.link.clone() else { return false };
        state.queue.flush(&link) == Flushed::All
    }

    /// The reader's thread: until it is stopped.
    fn read(&self) {
        let mut inbox = Box::new([0; LARGEST_ANSWER]);
        let mut reading: Option<(Arc<OrderLink>, DoormanAnswers)> = None;
        loop {
            let (link, has_rest, timeout) = {
                let mut state = self.lock();
                if state.is_stopped {
                    return self.stop(&mut state);
                }
                self.refuse_what_waited_long(&mut state);
                let is_waiting = !state.queue.is_empty();
                let is_lost = state.link.is_none();
                let left = PATIENCE.saturating_sub(state.lost_at.elapsed());
                (state.link.clone(), is_waiting && !is_lost, (is_waiting && is_lost).then_some(left))
            };
            // Pieces of a listing that another doorman began are of no use.
            if reading.as_ref().map(|(link, _)| Arc::as_ptr(link)) != link.as_ref().map(Arc::as_ptr) {
                reading = link.map(|link| (link, DoormanAnswers::new(self.hello)));
            }
            let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
            if let Some((link, _)) = &reading {
                let mut wanted = PollFlags::IN;
                wanted.set(PollFlags::OUT, has_rest);
                fds.push(PollFd::new(&**link, wanted));
            }
            // A moment more, or it would be too early by less than a clock tick again and again.
            let timeout = timeout.and_then(|left| Timespec::try_from(left + Duration::from_millis(1)).ok());
            let _ = poll(&mut fds, timeout.as_ref());
            let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
            if let Some((link, answers)) = &mut reading
                && let Err(detail) = self.serve(link, answers, &mut inbox)
            {
                let mut state = self.lock();
                // Unless there is another one already.
                if state.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
                    self.lose(&mut state);
                }
                drop(state);
                reading = None;
                if let Some(detail) = detail {
                    self.observer.report(&Report::new(What::LinkBroken { detail: detail.into() }));
                }
            }
        }
    }

    /// Takes answers, and sends what waits.
    ///
    /// # Errors
    /// If the link has ended, and why if the doorman itself has not.
    fn serve(
        &self,
        link: &Arc<OrderLink>,
        answers: &mut DoormanAnswers,
        inbox: &mut [u8; LARGEST_ANSWER],
    ) -> Result<(), Option<String>> {
        for _ in 0..ENOUGH {
            let length = match link.receive(inbox) {
                Received::Message(length) => length,
                Received::Nothing => break,
                Received::Ended => return Err(None),
            };
            let odd = |what: String| Some(format!("doorman to engine: {what}"));
            let message = inbox.get(..length).unwrap_or(&inbox[..]);
            let answer = LinkAnswer::decode(message).map_err(|error| odd(error.to_string()))?;
            let answered = answers.take(answer).map_err(|what| odd(what.to_owned()))?;
            if let Some(answered) = answered {
                self.answered(link, answered);
            }
        }
        let mut state = self.lock();
        if state.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            self.flush(&mut state);
        }
        Ok(())
    }

    fn answered(&self, link: &Arc<OrderLink>, answered: DoormanAnswer) {
        let mut state = self.lock();
        // What another doorman began was answered when it ended.
        if !state.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            return;
        }
        match answered {
            DoormanAnswer::Receipt(receipt) => {
                if state.queue.answered(receipt.serial) {
                    (self.listener)(DoormanEvent::Answered(receipt));
                }
            }
            DoormanAnswer::Changed(listing) => drop((self.listener)(DoormanEvent::RulesetChanged(listing))),
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
        }
    }

    /// The doorman is gone: what it was asked gets no other answer. What was not sent to it waits for the next.
    fn lose(&self, state: &mut State) {
        if state.link.take().is_some() {
            state.lost_at = Instant::now();
        }
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

    fn refuse_what_waited_long(&self, state: &mut State) {
        if state.link.is_some() || state.lost_at.elapsed() <= PATIENCE {
            return;
        }
        for waiting in state.queue.give_up() {
            match waiting {
                QueuedMessage::Order(order) => self.refuse(order.serial, DropReason::Restarting, RESTARTING),
                other => {
                    let request = other.ticket().and_then(|ticket| state.requests.remove(&ticket));
                    request.into_iter().for_each(|request| request.fail(RESTARTING));
                }
            }
        }
    }

    fn stop(&self, state: &mut State) {
        self.lose(state);
        state.lost_at = Instant::now().checked_sub(2 * PATIENCE).unwrap_or(state.lost_at);
        self.refuse_what_waited_long(state);
    }
}

impl AwaitedReply {
    /// Replies that nothing comes of it. A reply must not come back here: the lock is held.
    fn fail(self, words: &str) {
        match self {
            Self::PutInPlace(_, reply) => reply(Err(NotInPlace::failed(words))),
            Self::List(reply) => reply(Err(words.to_owned())),
            Self::Probe(reply) => reply(Err(words.to_owned())),
            Self::FindOpen => {}
        }
    }
}

//! RemoteRunner: the engine's side of the link to the runner's process. It runs no command, keeps no journal, and sends no text: a rule is
//! a number of the table that both have.

mod requests;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use postern_config::DoorKind;
use postern_core::{
    DoorId, DropReason, Observer, OpeningKey, Order, OrderError, Receipt, RecordError, Report, RuleId, What,
};
use postern_link::{Hello, LARGEST_ANSWER, OrderLink, Received, RunnerAnswer, RunnerRequest, Sent};
use postern_runner::{Journal, JournalRecord, RunnerEvent, is_handed_over};
use postern_text::panic::PastPanic;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;

use crate::command_doors::CommandDoors;
use crate::plan::Plan;
use requests::{Requests, Unanswered};

/// For how long requests wait for a runner that has ended to be back; after that they are refused.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most answers that are taken before the queue is looked at again.
const ENOUGH: usize = 256;

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
    wake: OwnedFd,
    hello: Hello,
    listener: EventListener,
    observer: Arc<dyn Observer>,
}

struct State {
    /// None while no runner is there.
    link: Option<Arc<OrderLink>>,
    /// Since when that is so.
    lost_at: Instant,
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
        let shared = &*self.shared;
        let mut state = shared.lock();
        shared.ask(&mut state, request);
    }
}

impl RunnerReconnector {
    /// Goes on with the runner at the other end of this link: in the place of the one that has ended, whether that was noticed already or
    /// not. What waited is sent to it; what was under way is answered with an error by name, since nobody knows how far it got.
    pub fn reconnect(&self, link: OwnedFd) {
        let shared = &*self.0;
        let mut state = shared.lock();
        shared.lose(&mut state);
        state.attach(OrderLink::from(link), shared.hello);
        shared.flush(&mut state);
        drop(state);
        shared.wake();
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

    fn record(&self, serial: u64, key: OpeningKey, lasts: Duration, rule: &RuleId, _door: &str) {
        let rule = self.rule(Some(rule));
        self.ask(RunnerRequest::Record { table: self.table, rule, serial, key, lasts });
    }

    fn strike_out(&self, key: OpeningKey) {
        self.ask(RunnerRequest::StrikeOut(key));
    }

    fn note(&self, key: OpeningKey, lasts: Duration) {
        self.ask(RunnerRequest::Note { key, lasts });
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
        self.shared.lock().is_over = true;
        self.shared.wake();
    }
}

impl State {
    fn attach(&mut self, link: OrderLink, hello: Hello) {
        // A new link has room for a message.
        let _ = link.send(&RunnerRequest::Hello(hello).encode());
        self.link = Some(Arc::new(link));
    }

    /// For how much longer something waits for a runner that is to be refused if none comes. What is only noted waits for as long as it takes.
    fn patience(&self) -> Option<Duration> {
        let is_limited = self.link.is_none() && self.requests.is_any_asked();
        is_limited.then(|| PATIENCE.saturating_sub(self.lost_at.elapsed()))
    }
}

impl Shared {
    fn greet(
        link: OrderLink,
        listener: EventListener,
        observer: Arc<dyn Observer>,
        hello: Hello,
    ) -> io::Result<Self> {
        let mut state = State {
            link: None,
            lost_at: Instant::now(),
            requests: Requests::default(),
            handed_over: HashSet::new(),
            abandoned: 0,
            being_abandoned: 0,
            is_over: false,
        };
        state.attach(link, hello);
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: Mutex::new(state), wake, hello, listener, observer })
    }

    /// Sends a request now or when there is room, or refuses it.
    fn ask(&self, state: &mut State, request: RunnerRequest) {
        if state.link.is_none() && state.lost_at.elapsed() >= PATIENCE {
            return self.refuse(state, &request, DropReason::Restarting, RESTARTING);
        }
        match state.requests.push(request) {
            // The reader sends the rest, and keeps the time of what waits for a runner.
            Ok(()) if !self.flush(state) => self.wake(),
            Ok(()) => {}
            Err(request) => self.refuse(state, &request, DropReason::LinkFull, FULL),
        }
    }

    /// Sends what waits, as far as there is room; whether nothing waits any more. The reader is not woken: it calls this as well, and would
    /// never sleep.
    fn flush(&self, state: &mut State) -> bool {
        while let Some(request) = state.requests.next() {
            let Some(link) = state.link.clone() else { return false };
            match link.send(&request.encode()) {
                Sent::Sent => state.requests.sent(),
                Sent::Full => return false,
                Sent::Ended => self.lose(state),
            }
        }
        true
    }

    /// The runner is gone, or there is another one: what was sent and not answered never is.
    fn lose(&self, state: &mut State) {
        if state.link.take().is_none() {
            return;
        }
        state.lost_at = Instant::now();
        for unanswered in state.requests.lose() {
            match unanswered {
                Unanswered::Order(serial) => self.answer(serial, DropReason::Restarting, ENDED),
                Unanswered::Record(serial) => self.record_failed(serial, ENDED),
            }
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
            let (link, has_waiting, patience) = {
                let state = self.lock();
                if state.is_over {
                    return;
                }
                (state.link.clone(), !state.requests.is_empty(), state.patience())
            };
            self.wait(link.as_deref(), has_waiting, patience);
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
            let mut state = self.lock();
            if let Some(link) = link
                && state.link.as_ref().is_some_and(|now| Arc::ptr_eq(now, &link))
            {
                self.receive(&mut state, &link, &mut inbox);
            }
            self.flush(&mut state);
            if state.link.is_none() && state.lost_at.elapsed() >= PATIENCE {
                for request in state.requests.take_waiting() {
                    self.refuse(&mut state, &request, DropReason::Restarting, RESTARTING);
                }
            }
        }
    }

    fn wait(&self, link: Option<&OrderLink>, has_waiting: bool, patience: Option<Duration>) {
        let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
        if let Some(link) = link {
            let wanted = if has_waiting { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            fds.push(PollFd::new(link, wanted));
        }
        let timeout = patience.and_then(|pause| Timespec::try_from(pause).ok());
        let _ = poll(&mut fds, timeout.as_ref());
    }

    fn receive(&self, state: &mut State, link: &OrderLink, inbox: &mut [u8; LARGEST_ANSWER]) {
        for _ in 0..ENOUGH {
            let answer = match link.receive(inbox) {
                Received::Message(length) => RunnerAnswer::decode(inbox.get(..length).unwrap_or(&inbox[..])),
                Received::Nothing => return,
                Received::Ended => return self.lose(state),
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
                    self.tell(RemoteRunnerEvent::HandedOver { key, remaining: opening.remaining, name });
                }
            }
        }
        Ok(())
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
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
    fn shared() -> (Shared, OrderLink) {
        let (link, other) = OrderLink::pair().unwrap();
        let hello = Hello::of_this_process().unwrap();
        (Shared::greet(link, Box::new(|_| true), Arc::new(()), hello).unwrap(), other)
    }

    fn is_woken(shared: &Shared) -> bool {
        rustix::io::read(&shared.wake, &mut [0; 8]).is_ok()
    }

    #[test]
    fn a_runner_that_reads_nothing_wakes_the_reader_with_each_request_and_not_by_itself() {
        let (shared, _runner) = shared();
        let mut state = shared.lock();
        while !is_woken(&shared) {
            shared.ask(&mut state, RunnerRequest::Abandon(key()));
        }
        assert!(!shared.flush(&mut state), "it is full");
        assert!(!is_woken(&shared));
    }

    #[test]
    fn notes_wait_for_a_runner_without_an_end_and_orders_do_not() {
        let (shared, runner) = shared();
        let mut state = shared.lock();
        drop(runner);
        shared.ask(&mut state, RunnerRequest::StrikeOut(key()));
        assert!(is_woken(&shared) && state.link.is_none());
        assert_eq!(state.patience(), None);
        let OpeningKey { door, client, occurrence } = key();
        let order = Order { serial: 1, door, client, occurrence, act: Act::Close };
        shared.ask(&mut state, RunnerRequest::Run { table: 1, rule: None, order });
        assert!(state.patience().is_some_and(|left| left <= PATIENCE));
        state.requests.take_waiting();
        assert_eq!(state.patience(), None);
        assert!(!state.requests.is_empty(), "the note is for the next runner");
    }
}

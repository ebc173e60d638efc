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
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            hello,
            listener: Box::new(listener),
            observer,
        });
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
}

impl Shared {
    /// Sends a request now or when there is room, or refuses it.
    fn ask(&self, state: &mut State, request: RunnerRequest) {
        if state.link.is_none() && state.lost_at.elapsed() >= PATIENCE {
            return self.refuse(state, &request, DropReason::Restarting, RESTARTING);
        }
        match state.requests.push(request) {
            // The reader keeps the time of what waits for a runner.
            Ok(()) if state.link.is_none() => self.wake(),
            Ok(()) => self.flush(state),
            Err(request) => self.refuse(state, &request, DropReason::LinkFull, FULL),
        }
    }

    /// Sends what waits, as far as there is room.
    fn flush(&self, state: &mut State) {
        while let Some(link) = state.link.clone()
            && let Some(request) = state.requests.next()
        {
            match link.send(&request.encode()) {
                Sent::Sent => state.requests.sent(),
                // The reader waits until there is room.
                Sent::Full => return self.wake(),
                Sent::Ended => self.lose(state),
            }
        }
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
                let has_waiting = !state.requests.is_empty();
                let rest = PATIENCE.saturating_sub(state.lost_at.elapsed());
                let patience = (state.link.is_none() && has_waiting).then_some(rest);
                (state.link.clone(), has_waiting, patience)
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

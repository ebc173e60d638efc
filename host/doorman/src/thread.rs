//! DoormanHandle: a handle of the thread that talks to the packet filter, and the fast path that bypasses that thread.
//!
//! If no request is pending, the caller's own thread carries its order out: that takes two system calls, and waking another thread takes
//! longer. The doorman's thread does everything else: bursts of orders, slow orders, and what to do when other programs change the ruleset.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use postern_core::{Client, ConfigIdentity, DoorId, Listing, NetDoor, Observer, Posture, Receipt, Release};
use postern_text::panic::PastPanic;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;

use crate::doorman::Doorman;
use crate::error::DoormanError;
use crate::keeper::GuardKeeper;
use crate::noted_order::NotedOrder;
use crate::owner_socket::OwnerSocket;
use crate::trial::GuardTrial;

/// Orders in one message to the kernel.
const BATCH: usize = 64;

/// What the doorman reports to the daemon's engine.
pub enum DoormanEvent {
    /// A door answered an order.
    Answered(Receipt),
    /// Another program changed the ruleset; this is what is open now.
    RulesetChanged(Listing),
    /// While the guard is tried: this client, for whom this door was opened, has come in since then.
    CameIn(DoorId, Client),
}

/// Takes an event and returns at once; false if the receiver of events is gone, and then the thread ends. It is called with the lock of the
/// packet filter held, by the doorman's thread and by threads that call [`DoormanHandle::carry_out`].
type EventListener = Arc<dyn Fn(DoormanEvent) -> bool + Send + Sync>;

/// Takes the answer to a request, on the thread. It is dropped without a call if the thread has ended.
type Reply<T> = Box<dyn FnOnce(Result<T, DoormanError>) + Send>;

/// A handle of the thread that owns the [`Doorman`].
pub struct DoormanHandle {
    requests: Requests,
    listener: EventListener,
    shared: Arc<SharedDoorman>,
    /// None once it was stopped.
    thread: Option<JoinHandle<()>>,
}

/// Decides on a guard that is tried, beside whoever has the [`DoormanHandle`].
#[derive(Clone)]
pub struct GuardControl(Requests);

/// The way to the thread.
#[derive(Clone)]
struct Requests {
    sender: Sender<DoormanRequest>,
    wake: Arc<OwnedFd>,
    shared: Arc<SharedDoorman>,
}

/// What the thread and its handle share: the packet filter, and how much is still to be done there.
#[derive(Default)]
struct SharedDoorman {
    /// None until there is a door for it.
    doorman: Mutex<Option<Doorman>>,
    /// Requests that the thread was sent and has not done. Incremented before a request is sent; decremented by the thread with the lock held,
    /// when it has done them.
    waiting: AtomicUsize,
}

enum DoormanRequest {
    Order(NotedOrder),
    SetDoors(Vec<(DoorId, NetDoor)>, Release, Reply<Posture>),
    List(Reply<Listing>),
    Packets(DoorId, Client, Box<dyn FnOnce(Option<u64>) + Send>),
    Probe(Reply<()>),
    /// Unless it is later than this.
    Confirm(Instant, Reply<()>),
    GiveUp(Reply<()>),
    Stop,
}

impl SharedDoorman {
    fn lock(&self) -> MutexGuard<'_, Option<Doorman>> {
        self.doorman.lock().past_panic()
    }
}

impl DoormanHandle {
    /// `identity` is the configuration that the guard belongs to; without one the doorman guards nothing and removes no table. `listener` is
    /// called for every event that the daemon must act on; it must not block, and returns false when the receiver of events is gone. Everything
    /// else is reported to `observer`. The doorman works with `socket`, or else opens one, and its guard may be one that is tried.
    ///
    /// # Errors
    /// If the system has no thread or no eventfd for it.
    pub fn start(
        listener: impl Fn(DoormanEvent) -> bool + Send + Sync + 'static,
        observer: Arc<dyn Observer>,
        identity: Option<ConfigIdentity>,
        socket: Option<OwnerSocket>,
        trial: Option<GuardTrial>,
    ) -> io::Result<Self> {
        let listener: EventListener = Arc::new(listener);
        // The engine bounds the number of orders that have no answer yet, and so what waits here.
        let (requests, queue) = channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let shared = Arc::new(SharedDoorman::default());
        let keeper = match socket {
            Some(socket) => GuardKeeper::with_socket(identity, observer, socket),
            None => GuardKeeper::new(identity, observer),
        };
        let owned = DoormanThread {
            keeper: keeper.on_trial(trial),
            queue,
            wake: Arc::clone(&wake),
            listener: Arc::clone(&listener),
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new().name("doorman".to_owned()).spawn(move || owned.run())?;
        let requests = Requests { sender: requests, wake, shared: Arc::clone(&shared) };
        Ok(Self { requests, listener, shared, thread: Some(thread) })
    }

    /// Carries out an order, now or soon; its receipt comes as an event. Calls must not overlap, or orders could be reordered.
    ///
    /// The order takes the fast path only if every request sent before it is done and the lock is free. The caller never blocks on the lock,
    /// since the thread may hold it for as long as the kernel takes to answer.
    pub fn carry_out(&self, order: NotedOrder) {
        // The thread decrements the count last, with the lock held, so a count of zero means that all earlier requests were carried out.
        // It stays zero until the lock is taken: calls do not overlap, and requests are sent only by these calls, or by a GuardControl, whose
        // requests may come before or after any order.
        let nothing_waits = self.shared.waiting.load(Ordering::Acquire) == 0;
        if let Ok(mut doorman) = self.shared.doorman.try_lock()
            && let Some(doorman) =
                doorman.as_mut().filter(|doorman| nothing_waits && !doorman.is_slow(&order.order))
        {
            for receipt in doorman.carry_out_noted(&[order]) {
                (self.listener)(DoormanEvent::Answered(receipt));
            }
            return;
        }
        if let Err(DoormanRequest::Order(NotedOrder { order, .. })) = self.send(DoormanRequest::Order(order))
        {
            let outcome = Err("the thread of the packet filter has ended".to_owned().into());
            (self.listener)(DoormanEvent::Answered(Receipt { serial: order.serial, outcome }));
        }
    }

    /// Replaces all doors, as [`Doorman::set_doors`]. Returns at once; `reply` is called when it is done, and dropped without a call if the
    /// thread has ended.
    pub fn set_doors(
        &self,
        doors: Vec<(DoorId, NetDoor)>,
        release: Release,
        reply: impl FnOnce(Result<Posture, DoormanError>) + Send + 'static,
    ) {
        let _ = self.send(DoormanRequest::SetDoors(doors, release, Box::new(reply)));
    }

    /// Asks what is open in the packet filter, from this run or an earlier one; `reply` as in [`DoormanHandle::set_doors`].
    pub fn list(&self, reply: impl FnOnce(Result<Listing, DoormanError>) + Send + 'static) {
        let _ = self.send(DoormanRequest::List(Box::new(reply)));
    }

    /// Asks how many packets came through an opening, as [`Doorman::packets`]; `reply` as in [`DoormanHandle::set_doors`].
    pub fn packets(&self, door: DoorId, client: Client, reply: impl FnOnce(Option<u64>) + Send + 'static) {
        let _ = self.send(DoormanRequest::Packets(door, client, Box::new(reply)));
    }

    /// Asks whether the thread and the kernel answer, behind all earlier requests; nothing is changed. `reply` as in
    /// [`DoormanHandle::set_doors`].
    pub fn probe(&self, reply: impl FnOnce(Result<(), DoormanError>) + Send + 'static) {
        let _ = self.send(DoormanRequest::Probe(Box::new(reply)));
    }

    /// Ends the thread after all earlier requests, and waits for its end. Openings stay open until their timeout.
    pub fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.send(DoormanRequest::Stop);
            drop(thread.join());
        }
    }

    /// For whoever decides on a guard that is tried.
    #[must_use]
    pub fn control(&self) -> GuardControl {
        GuardControl(self.requests.clone())
    }

    fn send(&self, request: DoormanRequest) -> Result<(), DoormanRequest> {
        self.requests.send(request)
    }
}

impl GuardControl {
    /// As [`Doorman::confirm`], but not later than this; `reply` as in [`DoormanHandle::set_doors`].
    pub fn confirm(&self, until: Instant, reply: impl FnOnce(Result<(), DoormanError>) + Send + 'static) {
        let _ = self.0.send(DoormanRequest::Confirm(until, Box::new(reply)));
    }

    /// As [`Doorman::give_up`]; `reply` as in [`DoormanHandle::set_doors`].
    pub fn give_up(&self, reply: impl FnOnce(Result<(), DoormanError>) + Send + 'static) {
        let _ = self.0.send(DoormanRequest::GiveUp(Box::new(reply)));
    }
}

impl Requests {
    /// Gives the request back if the thread has ended.
    fn send(&self, request: DoormanRequest) -> Result<(), DoormanRequest> {
        self.shared.waiting.fetch_add(1, Ordering::AcqRel);
        let sent = self.sender.send(request).map_err(|SendError(request)| request);
        // Writing fails only if the counter is full, and then the thread is awake already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        sent
    }
}

/// What the thread owns.
struct DoormanThread {
    keeper: GuardKeeper,
    queue: Receiver<DoormanRequest>,
    wake: Arc<OwnedFd>,
    listener: EventListener,
    shared: Arc<SharedDoorman>,
}

impl DoormanThread {
    fn run(mut self) {
        loop {
            // Pending requests first; then the thread sleeps until there is a request or a change.
            match self.drain() {
                Ok(()) => {}
                Err(Disconnected) => return,
            }
            let mut fds = vec![PollFd::new(&*self.wake, PollFlags::IN)];
            if let Some(changes) = self.keeper.changes() {
                fds.push(PollFd::from_borrowed_fd(changes, PollFlags::IN));
            }
            let pauses = self.keeper.retry_in().into_iter().chain(self.keeper.look_in());
            let timeout = pauses.min().and_then(|pause| Timespec::try_from(pause).ok());
            if poll(&mut fds, timeout.as_ref()).is_err() {
                continue;
            }
            let has_changes = fds.len() > 1 && !fds[1].revents().is_empty();
            let _ = rustix::io::read(&*self.wake, &mut [0_u8; 8]);
            let is_changed = has_changes && self.keeper.drain_changes();
            if is_changed || self.keeper.retry_in().is_some_and(|pause| pause.is_zero()) {
                self.ruleset_changed();
            }
            if self.keeper.look_in().is_some_and(|pause| pause.is_zero()) {
                let passages = self.keeper.passages(&mut self.shared.lock());
                passages.into_iter().for_each(|(door, client)| {
                    (self.listener)(DoormanEvent::CameIn(door, client));
                });
            }
        }
    }

    /// Does all pending requests.
    fn drain(&mut self) -> Result<(), Disconnected> {
        let shared = Arc::clone(&self.shared);
        let mut orders = Vec::with_capacity(BATCH);
        loop {
            let mut doorman = shared.lock();
            let mut done = 0;
            let other = loop {
                match self.queue.try_recv() {
                    Ok(DoormanRequest::Order(order)) => orders.push(order),
                    other => break other,
                }
                if orders.len() == BATCH {
                    done += self.carry_out(&mut doorman, &mut orders)?;
                }
            };
            done += self.carry_out(&mut doorman, &mut orders)? + usize::from(other.is_ok());
            match other {
                Ok(DoormanRequest::SetDoors(doors, release, reply)) => {
                    reply(self.keeper.set_doors(&mut doorman, &doors, release));
                }
                Ok(DoormanRequest::List(reply)) => {
                    reply(doorman.as_mut().map_or_else(|| Ok(Listing::default()), Doorman::list));
                }
                Ok(DoormanRequest::Packets(door, client, reply)) => {
                    reply(doorman.as_mut().and_then(|doorman| doorman.packets(door, client)));
                }
                Ok(DoormanRequest::Probe(reply)) => {
                    reply(doorman.as_mut().map_or(Ok(()), Doorman::probe));
                }
                Ok(DoormanRequest::Confirm(until, reply)) => reply(match Instant::now() <= until {
                    true => self.keeper.confirm(&mut doorman).map(drop),
                    // Whoever asked does not wait any more, and has been told that it is not confirmed.
                    false => Err(DoormanError::TrialOver),
                }),
                Ok(DoormanRequest::GiveUp(reply)) => reply(self.keeper.give_up(&mut doorman)),
                Ok(DoormanRequest::Stop) | Err(TryRecvError::Disconnected) => return Err(Disconnected),
                Ok(DoormanRequest::Order(_)) | Err(TryRecvError::Empty) => {}
            }
            // Decremented with the lock still held: a caller that sees a count of zero and then takes the lock runs after all of this. A request
            // sent meanwhile keeps the count above zero, and the loop goes on.
            if shared.waiting.fetch_sub(done, Ordering::AcqRel) == done {
                return Ok(());
            }
        }
    }

    /// Carries out what was collected; how many orders those were.
    fn carry_out(
        &self,
        doorman: &mut Option<Doorman>,
        orders: &mut Vec<NotedOrder>,
    ) -> Result<usize, Disconnected> {
        let count = orders.len();
        if count == 0 {
            return Ok(0);
        }
        let receipts = match doorman {
            Some(doorman) => doorman.carry_out_noted(orders),
            None => {
                let refuse = |noted: &NotedOrder| Receipt {
                    serial: noted.order.serial,
                    outcome: Err("no such door".to_owned().into()),
                };
                orders.iter().map(refuse).collect()
            }
        };
        orders.clear();
        for receipt in receipts {
            if !(self.listener)(DoormanEvent::Answered(receipt)) {
                return Err(Disconnected);
            }
        }
        Ok(count)
    }

    /// Another program may have changed the ruleset.
    fn ruleset_changed(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut doorman = shared.lock();
        // Sent before the lock is released, or the receipt of a later order could overtake this listing.
        if let Some(listing) = self.keeper.look(&mut doorman) {
            (self.listener)(DoormanEvent::RulesetChanged(listing));
        }
    }
}

/// The handle or the listener is gone, so nothing is left to do.
struct Disconnected;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use postern_core::{Act, Client, Order};

    use super::*;

    #[test]
    fn a_probe_comes_back_only_from_a_thread_that_works() {
        let (stuck, release) = channel();
        let (entered, is_in) = channel();
        let (stuck_until, entered) = (Mutex::new(release), Mutex::new(entered));
        // A thread that hangs with the lock held, as it would in a call of the kernel.
        let listener = move |_| {
            entered.lock().past_panic().send(()).unwrap();
            stuck_until.lock().past_panic().recv().is_ok()
        };
        let doorman = DoormanHandle::start(listener, Arc::new(()), None, None, None).unwrap();
        let probe = || {
            let (reply, answer) = channel();
            doorman.probe(move |outcome| reply.send(outcome.is_ok()).unwrap_or_default());
            answer
        };
        assert!(probe().recv().unwrap());

        let client = Client::alone(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let order = Order { serial: 1, door: DoorId(1), client, occurrence: 0, act: Act::Close };
        doorman.carry_out(order.into());
        is_in.recv().unwrap();
        let answer = probe();
        assert!(answer.recv_timeout(Duration::from_millis(50)).is_err());
        stuck.send(()).unwrap();
        assert!(answer.recv().unwrap());
    }
}

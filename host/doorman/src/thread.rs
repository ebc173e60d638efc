//! DoormanHandle: a handle of the thread that talks to the packet filter, and the fast path that bypasses that thread.
//!
//! If no request is pending, the caller's own thread carries its order out: that takes two system calls, and waking another thread takes
//! longer. The doorman's thread does everything else: bursts of orders, slow orders, and what to do when other programs change the ruleset.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use postern_core::{
    ConfigIdentity, DoorId, Listing, NetDoor, Observer, Order, Posture, Receipt, Release, Report, What,
};
use postern_text::chain;
use postern_text::panic::PastPanic;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};

use crate::changes::Changes;
use crate::doorman::Doorman;
use crate::error::DoormanError;
use crate::kept_connections::KeptConnections;

/// Orders in one message to the kernel.
const BATCH: usize = 64;
/// The pause between attempts to restore a guard that is missing.
const RETRY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// What the doorman reports to the daemon's engine.
pub enum DoormanEvent {
    /// A door answered an order.
    Answered(Receipt),
    /// Another program changed the ruleset; this is what is open now.
    RulesetChanged(Listing),
}

/// Takes an event and returns at once; false if the receiver of events is gone, and then the thread ends. It is called with the lock of the
/// packet filter held, by the doorman's thread and by threads that call [`DoormanHandle::carry_out`].
type EventListener = Arc<dyn Fn(DoormanEvent) -> bool + Send + Sync>;

/// Takes the answer to a request, on the thread. It is dropped without a call if the thread has ended.
type Reply<T> = Box<dyn FnOnce(Result<T, DoormanError>) + Send>;

/// A handle of the thread that owns the [`Doorman`].
pub struct DoormanHandle {
    requests: Sender<DoormanRequest>,
    wake: Arc<OwnedFd>,
    listener: EventListener,
    shared: Arc<SharedDoorman>,
    /// None once it was stopped.
    thread: Option<JoinHandle<()>>,
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
    Order(Order),
    SetDoors(Vec<(DoorId, NetDoor)>, Release, Reply<Posture>),
    List(Reply<Listing>),
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
    /// else is reported to `observer`.
    ///
    /// # Errors
    /// If the system has no thread or no eventfd for it.
    pub fn start(
        listener: impl Fn(DoormanEvent) -> bool + Send + Sync + 'static,
        observer: Arc<dyn Observer>,
        identity: Option<ConfigIdentity>,
    ) -> io::Result<Self> {
        let listener: EventListener = Arc::new(listener);
        // The engine bounds the number of orders that have no answer yet, and so what waits here.
        let (requests, queue) = channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let shared = Arc::new(SharedDoorman::default());
        let owned = DoormanThread {
            identity,
            observer,
            queue,
            wake: Arc::clone(&wake),
            listener: Arc::clone(&listener),
            shared: Arc::clone(&shared),
            changes: None,
            guard_is_down: false,
        };
        let thread = thread::Builder::new().name("doorman".to_owned()).spawn(move || owned.run())?;
        Ok(Self { requests, wake, listener, shared, thread: Some(thread) })
    }

    /// Carries out an order, now or soon; its receipt comes as an event. Calls must not overlap, or orders could be reordered.
    ///
    /// The order takes the fast path only if every request sent before it is done and the lock is free. The caller never blocks on the lock,
    /// since the thread may hold it for as long as the kernel takes to answer.
    pub fn carry_out(&self, order: Order) {
        // The thread decrements the count last, with the lock held, so a count of zero means that all earlier requests were carried out.
        // It stays zero until the lock is taken: calls do not overlap, and requests are sent only by these calls.
        let nothing_waits = self.shared.waiting.load(Ordering::Acquire) == 0;
        if let Ok(mut doorman) = self.shared.doorman.try_lock()
            && let Some(doorman) =
                doorman.as_mut().filter(|doorman| nothing_waits && !doorman.is_slow(&order))
        {
            for receipt in doorman.carry_out(&[order]) {
                (self.listener)(DoormanEvent::Answered(receipt));
            }
            return;
        }
        if let Err(DoormanRequest::Order(order)) = self.send(DoormanRequest::Order(order)) {
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

    /// Ends the thread after all earlier requests, and waits for its end. Openings stay open until their timeout.
    pub fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.send(DoormanRequest::Stop);
            drop(thread.join());
        }
    }

    /// Gives the request back if the thread has ended.
    fn send(&self, request: DoormanRequest) -> Result<(), DoormanRequest> {
        self.shared.waiting.fetch_add(1, Ordering::AcqRel);
        let sent = self.requests.send(request).map_err(|SendError(request)| request);
        // Writing fails only if the counter is full, and then the thread is awake already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        sent
    }
}

/// What the thread owns.
struct DoormanThread {
    observer: Arc<dyn Observer>,
    identity: Option<ConfigIdentity>,
    queue: Receiver<DoormanRequest>,
    wake: Arc<OwnedFd>,
    listener: EventListener,
    shared: Arc<SharedDoorman>,
    changes: Option<Changes>,
    /// The guard was removed, and could not be restored so far.
    guard_is_down: bool,
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
            if let Some(changes) = &self.changes {
                fds.push(PollFd::from_borrowed_fd(changes.as_fd(), PollFlags::IN));
            }
            let timeout = self.guard_is_down.then_some(&RETRY);
            if poll(&mut fds, timeout).is_err() {
                continue;
            }
            let has_changes = fds.len() > 1 && !fds[1].revents().is_empty();
            let _ = rustix::io::read(&*self.wake, &mut [0_u8; 8]);
            let is_changed = has_changes && self.changes.as_mut().is_some_and(Changes::drain);
            if is_changed || self.guard_is_down {
                self.ruleset_changed();
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
                    reply(self.set_doors(&mut doorman, &doors, release));
                }
                Ok(DoormanRequest::List(reply)) => {
                    reply(doorman.as_mut().map_or_else(|| Ok(Listing::default()), Doorman::list));
                }
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
        orders: &mut Vec<Order>,
    ) -> Result<usize, Disconnected> {
        let count = orders.len();
        if count == 0 {
            return Ok(0);
        }
        let receipts = match doorman {
            Some(doorman) => doorman.carry_out(orders),
            None => {
                let refuse = |order: &Order| Receipt {
                    serial: order.serial,
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

    fn set_doors(
        &mut self,
        doorman: &mut Option<Doorman>,
        doors: &[(DoorId, NetDoor)],
        release: Release,
    ) -> Result<Posture, DoormanError> {
        match doorman {
            Some(doorman) => {
                self.report_kept(&doorman.set_doors(doors, release)?);
                Ok(doorman.posture())
            }
            None => {
                // Even without doors: a table that an earlier daemon left may have to release its ports.
                let started = Doorman::start(self.identity.clone(), doors, release);
                if started.is_err() && doors.is_empty() {
                    return Ok(Posture::Unguarded);
                }
                let (started, kept) = started?;
                self.report_kept(&kept);
                let posture = started.posture();
                self.changes = match Changes::watch(started.port_id()) {
                    Ok(changes) => Some(changes),
                    Err(error) => {
                        let error = error.to_string().into();
                        self.observer.report(&Report::new(What::FilterUnwatched { error }));
                        None
                    }
                };
                *doorman = Some(started);
                Ok(posture)
            }
        }
    }

    /// Another program changed the ruleset: restores the guard if it may be gone, and sends what is open to the listener.
    fn ruleset_changed(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut doorman = shared.lock();
        let Some(doorman) = &mut *doorman else { return };
        // No other program can change a table that we own.
        if doorman.posture() != Posture::Owned {
            let restored = doorman.restore_table();
            self.guard_is_down = restored.is_err();
            match restored {
                Ok((_, kept)) => self.report_kept(&kept),
                Err(error) => {
                    let detail = chain(&error).to_string().into();
                    self.observer.report(&Report::new(What::GuardDown { detail }));
                }
            }
        }
        match doorman.list() {
            // Sent before the lock is released, or the receipt of a later order could overtake this listing.
            Ok(listing) => {
                (self.listener)(DoormanEvent::RulesetChanged(listing));
            }
            Err(error) => {
                let detail = chain(&error).to_string().into();
                self.observer.report(&Report::new(What::OpeningsUnread { detail }));
            }
        }
    }

    /// Reports what became of connections whose port became guarded.
    fn report_kept(&self, kept: &KeptConnections) {
        let KeptConnections { connections, cut, failed } = kept;
        if *cut > 0 {
            self.observer.report(&Report::new(What::ConnectionsCut { connections: *cut }));
        }
        if let Some(error) = failed {
            let error = error.to_string().into();
            self.observer.report(&Report::new(What::ConnectionsUntracked { error }));
        } else if *connections > 0 {
            self.observer.report(&Report::new(What::ConnectionsKept { connections: *connections }));
        }
    }
}

/// The handle or the listener is gone, so nothing is left to do.
struct Disconnected;

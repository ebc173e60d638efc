//! DoormanHandle: a handle of the thread that talks to the packet filter, and the short way past that thread.
//!
//! An order that finds nothing before it is carried out by whoever brings it: the kernel does it within two system calls, and to wake a
//! thread for them takes longer than they do. Everything else is the thread's: what comes in crowds, and what others change.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use postern_core::{ConfigIdentity, DoorId, Listing, NetDoor, Observer, Order, Receipt, Report, What};
use postern_text::chain;
use postern_text::panic::PastPanic;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};

use crate::changes::Changes;
use crate::doorman::Doorman;
use crate::error::DoormanError;
use crate::guard::Release;
use crate::posture::{KeptConnections, Posture};

/// Orders in one message to the kernel.
const BATCH: usize = 64;
/// When to try again to put up a guard that could not be put up.
const RETRY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// What the thread says without being asked.
pub enum DoormanEvent {
    /// A door answered an order.
    Answered(Receipt),
    /// Somebody else changed the ruleset; this is what is open now.
    RulesetChanged(Listing),
}

/// Takes what happens, and returns at once; false if nobody cares any more, and then the thread ends. It is called with the lock of the packet
/// filter held, by the thread and by whoever brings an order.
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
    /// Whose guard it is, `identity` says; without one it guards nothing, and leaves alone what others do. `listener` is called for whatever
    /// the daemon must act on, must not wait, and says false when nobody cares any more; `observer` hears of the rest.
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

    /// Carries out an order, now or soon; its receipt comes as an event. Calls must not overlap, or orders change places.
    ///
    /// The order takes the short way only if nothing was sent before it that is not done, and the lock is free. It never waits for the lock,
    /// since the thread may hold it for as long as the kernel keeps the thread waiting.
    pub fn carry_out(&self, order: Order) {
        // The thread decrements the count last, with the lock held, so a count of zero says that all that was sent before was carried out.
        // It stays zero until the lock is taken: calls do not overlap, and nobody else sends.
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

    /// Has these doors in place of all there are, as [`Doorman::set_doors`]; at once, and `reply` is called when it is done. It is dropped
    /// without a call if the thread has ended.
    pub fn set_doors(
        &self,
        doors: Vec<(DoorId, NetDoor)>,
        release: Release,
        reply: impl FnOnce(Result<Posture, DoormanError>) + Send + 'static,
    ) {
        let _ = self.send(DoormanRequest::SetDoors(doors, release, Box::new(reply)));
    }

    /// What is open in the packet filter, from this run or an earlier one; the answer as [`DoormanHandle::set_doors`] has it.
    pub fn list(&self, reply: impl FnOnce(Result<Listing, DoormanError>) + Send + 'static) {
        let _ = self.send(DoormanRequest::List(Box::new(reply)));
    }

    /// Ends the thread, after what it was given before, and waits for that. Everything that is open stays open for its time.
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
        // Full means that it is awake already.
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
    /// The guard was swept away, and could not be put up again so far.
    guard_is_down: bool,
}

impl DoormanThread {
    fn run(mut self) {
        loop {
            // Whatever is waiting comes first; then both are slept on.
            match self.drain() {
                Ok(()) => {}
                Err(Disconnected) => return,
            }
            let mut fds = vec![PollFd::new(&*self.wake, PollFlags::IN)];
            if let Some(changes) = &self.changes {
                fds.push(PollFd::from_borrowed_fd(changes.as_fd(), PollFlags::IN));
            }
            let patience = self.guard_is_down.then_some(&RETRY);
            if poll(&mut fds, patience).is_err() {
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

    /// Does what is waiting.
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
            // With the lock still held, so that an order that finds a count of zero and takes the lock comes after all of this. What was sent
            // meanwhile keeps the count above zero, and the loop goes on.
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
                // Even without doors: a guard that is left from before may have to let go of its ports.
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

    /// Somebody else changed the ruleset: the guard is put up again if it may be gone, and what is open is told.
    fn ruleset_changed(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut doorman = shared.lock();
        let Some(doorman) = &mut *doorman else { return };
        // A table that we own nobody else can touch.
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
            // Before the lock goes, or an order that was carried out later would be answered earlier.
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

//! NetThread: the thread that talks to the packet filter.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, SendError, Sender, TryRecvError, unbounded};
use postern_core::{DoorId, Order, Receipt};
use postern_doorman::{Changes, Doorman, Error, NetDoor, Opening, Posture};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use tokio::sync::oneshot;

use crate::happening::{Happening, Teller};

/// Orders in one message to the kernel.
const BATCH: usize = 64;
/// When to try again to put up a guard that could not be put up.
const RETRY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A hand on the thread that owns the [`Doorman`].
pub(super) struct NetThread {
    messages: Sender<Message>,
    wake: Arc<OwnedFd>,
    teller: Teller,
    thread: JoinHandle<()>,
}

enum Message {
    Order(Order),
    SetDoors(Vec<(DoorId, NetDoor)>, oneshot::Sender<Result<Posture, Error>>),
    List(oneshot::Sender<Result<Vec<Opening>, Error>>),
}

impl NetThread {
    pub(super) fn start(teller: Teller) -> io::Result<Self> {
        let (messages, queue) = unbounded();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let owner = Owner {
            queue,
            wake: Arc::clone(&wake),
            teller: teller.clone(),
            doorman: None,
            changes: None,
            guard_is_down: false,
        };
        let thread = thread::Builder::new().name("doorman".to_owned()).spawn(move || owner.run())?;
        Ok(Self { messages, wake, teller, thread })
    }

    pub(super) fn carry_out(&self, order: Order) {
        // The engine bounds the number of orders that have no answer yet, and so what waits here.
        if let Err(SendError(Message::Order(order))) = self.messages.send(Message::Order(order)) {
            let outcome = Err("the thread of the packet filter has ended".to_owned());
            let _ = self.teller.send(Happening::Answered(Receipt { serial: order.serial, outcome }));
        }
        self.wake();
    }

    pub(super) async fn set_doors(&self, doors: Vec<(DoorId, NetDoor)>) -> Result<Posture, Error> {
        self.ask(|reply| Message::SetDoors(doors, reply)).await
    }

    pub(super) async fn list(&self) -> Result<Vec<Opening>, Error> {
        self.ask(Message::List).await
    }

    pub(super) fn stop(self) {
        let Self { messages, wake, thread, .. } = self;
        drop(messages);
        let _ = rustix::io::write(&wake, &1_u64.to_ne_bytes());
        drop(thread.join());
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Message,
    ) -> Result<T, Error> {
        let gone = || Error::Unreachable(io::Error::other("the thread of the packet filter has ended"));
        let (reply, answer) = oneshot::channel();
        self.messages.send(message(reply)).map_err(|_| gone())?;
        self.wake();
        answer.await.map_err(|_| gone())?
    }

    fn wake(&self) {
        // Full means that it is awake already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

/// What the thread owns.
struct Owner {
    queue: Receiver<Message>,
    wake: Arc<OwnedFd>,
    teller: Teller,
    /// None until there is a door for it.
    doorman: Option<Doorman>,
    changes: Option<Changes>,
    /// The guard was swept away, and could not be put up again so far.
    guard_is_down: bool,
}

impl Owner {
    fn run(mut self) {
        loop {
            // Whatever is waiting comes first; then both are slept on.
            match self.drain() {
                Ok(()) => {}
                Err(Gone) => return,
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

    fn drain(&mut self) -> Result<(), Gone> {
        let mut orders = Vec::with_capacity(BATCH);
        loop {
            match self.queue.try_recv() {
                Ok(Message::Order(order)) => {
                    orders.push(order);
                    if orders.len() < BATCH {
                        continue;
                    }
                }
                Ok(other) => {
                    self.carry_out(&mut orders)?;
                    self.answer(other);
                }
                Err(TryRecvError::Empty) => return self.carry_out(&mut orders),
                Err(TryRecvError::Disconnected) => {
                    self.carry_out(&mut orders)?;
                    return Err(Gone);
                }
            }
            if orders.len() == BATCH {
                self.carry_out(&mut orders)?;
            }
        }
    }

    fn carry_out(&mut self, orders: &mut Vec<Order>) -> Result<(), Gone> {
        if orders.is_empty() {
            return Ok(());
        }
        let receipts = match &mut self.doorman {
            Some(doorman) => doorman.carry_out(orders),
            None => {
                let refuse =
                    |order: &Order| Receipt { serial: order.serial, outcome: Err("no such door".to_owned()) };
                orders.iter().map(refuse).collect()
            }
        };
        orders.clear();
        for receipt in receipts {
            self.teller.send(Happening::Answered(receipt)).map_err(|_| Gone)?;
        }
        Ok(())
    }

    fn answer(&mut self, message: Message) {
        match message {
            Message::Order(_) => {}
            Message::SetDoors(doors, reply) => drop(reply.send(self.set_doors(&doors))),
            Message::List(reply) => {
                let list = self.doorman.as_mut().map_or_else(|| Ok(Vec::new()), Doorman::list);
                drop(reply.send(list));
            }
        }
    }

    fn set_doors(&mut self, doors: &[(DoorId, NetDoor)]) -> Result<Posture, Error> {
        match &mut self.doorman {
            Some(doorman) => {
                doorman.set_doors(doors)?;
                Ok(doorman.posture())
            }
            None => {
                // Even without doors: a guard that is left from before must let go of its ports.
                let started = Doorman::start(doors);
                if started.is_err() && doors.is_empty() {
                    return Ok(Posture::Unguarded);
                }
                let (doorman, posture) = started?;
                self.changes = match Changes::watch(doorman.port_id()) {
                    Ok(changes) => Some(changes),
                    Err(error) => {
                        tracing::warn!(event = "doors", detail = %error, "changes that others make to the packet filter will not be noticed: {error}");
                        None
                    }
                };
                self.doorman = Some(doorman);
                Ok(posture)
            }
        }
    }

    /// Somebody else changed the ruleset: the guard is put up again if it may be gone, and what is open is told.
    fn ruleset_changed(&mut self) {
        let Some(doorman) = &mut self.doorman else { return };
        // A table that we own nobody else can touch.
        if doorman.posture() != Posture::Owned {
            let restored = doorman.restore_table();
            self.guard_is_down = restored.is_err();
            if let Err(error) = restored {
                let detail = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(
                    event = "doors",
                    detail,
                    "the guard cannot be put up again: {detail}; trying again in a second"
                );
            }
        }
        match doorman.list() {
            Ok(openings) => drop(self.teller.send(Happening::RulesetChanged(openings))),
            Err(error) => {
                let detail = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(event = "doors", detail, "what is open cannot be read back: {detail}");
            }
        }
    }
}

/// Nobody is left who would give orders or hear answers.
struct Gone;

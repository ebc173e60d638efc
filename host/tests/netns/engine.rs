//! The engine's side of a doorman: the real one, and a hostile one that writes what it wants.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use postern_core::{
    Act, Client, DoorId, DropReason, Listing, Observer, Order, Posture, Receipt, Release, Report, TenantId,
};
use postern_doorman::DoormanEvent;
use postern_link::{Hello, LARGEST_ANSWER, LinkAnswer, LinkRequest, NotInPlace, OrderLink, Received, Sent};
use posternd::net_doors::NetDoors;
use posternd::remote_doorman::{Reconnector, RemoteDoorman};

use crate::{SSH, table};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

struct Silence;

impl Observer for Silence {
    fn report(&self, report: &Report<'_>) {
        eprintln!("engine: {report:?}");
    }

    fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
}

/// The real one, with the events that would go to its main loop.
pub(crate) struct Engine {
    pub(crate) doorman: RemoteDoorman,
    pub(crate) reconnector: Reconnector,
    events: Receiver<DoormanEvent>,
    serial: u64,
}

impl Engine {
    pub(crate) fn start(link: OrderLink) -> Self {
        let (sender, events) = channel();
        let listener = move |event| sender.send(event).is_ok();
        let doorman =
            RemoteDoorman::start(link, listener, Arc::new(Silence), Hello::of_this_process().unwrap())
                .unwrap();
        let reconnector = doorman.reconnector();
        Self { doorman, reconnector, events, serial: 0 }
    }

    pub(crate) fn put_in_place(&self, number: u32) -> Result<Posture, NotInPlace> {
        let (sender, answer) = channel();
        let reply = Box::new(move |outcome| drop(sender.send(outcome)));
        self.doorman.put_in_place(&table(number), Release::Now, reply);
        answer.recv_timeout(PATIENCE).unwrap()
    }

    pub(crate) fn list(&self) -> Result<Listing, String> {
        let (sender, answer) = channel();
        self.doorman.list(Box::new(move |outcome| drop(sender.send(outcome))));
        answer.recv_timeout(PATIENCE).unwrap()
    }

    /// How many packets came through the door, as far as that is known.
    pub(crate) fn packets(&self, client: &str) -> Option<u64> {
        let (sender, answer) = channel();
        let reply = Box::new(move |packets| sender.send(packets).unwrap());
        self.doorman.packets(SSH, client.parse().unwrap(), reply);
        answer.recv_timeout(PATIENCE).unwrap()
    }

    /// Gives an order and does not wait for its receipt.
    pub(crate) fn order(&mut self, door: DoorId, client: &str, act: Act) -> u64 {
        self.serial += 1;
        let client = client.parse().unwrap();
        let order = Order { serial: self.serial, door, client, occurrence: 0, act };
        self.doorman.carry_out(order.into());
        self.serial
    }

    /// Gives an order; the name of what it comes to, if not to its end.
    pub(crate) fn say(&mut self, door: DoorId, client: &str, act: Act) -> Result<(), &'static str> {
        let serial = self.order(door, client, act);
        let receipt = self.receipt();
        assert_eq!(receipt.serial, serial);
        receipt.outcome.map_err(|error| error.reason().name())
    }

    pub(crate) fn event(&self) -> DoormanEvent {
        self.events.recv_timeout(PATIENCE).unwrap()
    }

    pub(crate) fn receipt(&self) -> Receipt {
        match self.event() {
            DoormanEvent::Answered(receipt) => receipt,
            DoormanEvent::RulesetChanged(listing) => panic!("{listing:?}"),
            DoormanEvent::CameIn(..) => panic!("nothing is tried"),
        }
    }

    /// The next receipt; none if there is none in time.
    pub(crate) fn receipt_within(&self, patience: Duration) -> Option<Receipt> {
        match self.events.recv_timeout(patience).ok()? {
            DoormanEvent::Answered(receipt) => Some(receipt),
            DoormanEvent::RulesetChanged(listing) => panic!("{listing:?}"),
            DoormanEvent::CameIn(..) => panic!("nothing is tried"),
        }
    }

    /// What is open after something changed.
    pub(crate) fn changed(&self) -> Listing {
        match self.event() {
            DoormanEvent::RulesetChanged(listing) => listing,
            DoormanEvent::Answered(receipt) => panic!("{receipt:?}"),
            DoormanEvent::CameIn(..) => panic!("nothing is tried"),
        }
    }
}

/// For whom a listing says that the door is open.
pub(crate) fn clients(listing: &Listing) -> Vec<Client> {
    listing.openings.iter().map(|opening| opening.client).collect()
}

/// One that was taken over: it writes what it wants.
pub(crate) struct Hostile(OrderLink);

impl Hostile {
    pub(crate) fn start(link: OrderLink) -> Self {
        let hello = Hello::of_this_process().unwrap();
        let hostile = Self(link);
        hostile.write(&LinkRequest::Hello(hello).encode());
        assert_eq!(hostile.read(), Some(LinkAnswer::Hello(hello)));
        hostile
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        assert_eq!(self.0.send(bytes), Sent::Sent);
    }

    /// Sends an order by a table; the name of what it comes to.
    pub(crate) fn say(&self, table: u32, door: u32, client: &str, act: Act) -> Result<(), &'static str> {
        let client = client.parse().unwrap();
        let order = Order { serial: 7, door: DoorId(door), client, occurrence: 0, act };
        self.write(&LinkRequest::Order { table, processor: None, order }.encode());
        match self.read() {
            Some(LinkAnswer::Receipt(receipt)) => receipt.outcome.map_err(|error| error.reason().name()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn put_in_place(&self, table: u32) -> Option<LinkAnswer> {
        self.write(&LinkRequest::PutInPlace { ticket: 1, table, release: Release::Now }.encode());
        self.read()
    }

    /// The next answer; none if the link has ended.
    pub(crate) fn read(&self) -> Option<LinkAnswer> {
        let mut inbox = [0; LARGEST_ANSWER];
        let patience = rustix::event::Timespec::try_from(PATIENCE).unwrap();
        let mut fds = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut fds, Some(&patience)), Ok(1), "no answer");
        match self.0.receive(&mut inbox) {
            Received::Message(length) => Some(LinkAnswer::decode(&inbox[..length]).unwrap()),
            Received::Ended => None,
            Received::Nothing => panic!("no answer"),
        }
    }
}

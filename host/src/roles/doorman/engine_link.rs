//! EngineLink: the doorman's end of the order link. It takes as much as it can answer, and drops nothing.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use postern_core::{Client, DoorId, Listing};
use postern_doorman::{NotedOrder, OrderRate};
use postern_link::{
    Hello, LARGEST_ANSWER, LinkAnswer, LinkRequest, MOST_DOORS, NotInPlace, OrderLink, ProcessorFollower,
    Received, Sent, openings_in_pieces,
};
use rustix::event::PollFlags;

use super::keeping::{Keeping, TabledOrder};

/// Orders that are carried out together, by one exchange with the kernel or two.
const BATCH: usize = 64;
/// With so many orders at once the doorman is busy: it should not share a processor with the engine.
const BUSY: usize = 8;
/// With so many answers that the engine has not taken, the doorman takes no further request.
const MOST_WAITING: usize = 256;
/// Most openings that a listing tells of: more than the engine keeps.
const MOST_LISTED: usize = 1 << 18;

/// Tables to put in place and listings that an engine may ask for in a second, over time. It asks for two or three at a reload.
const REQUESTS_PER_SECOND: u32 = 50;
/// So many of them may come at once.
const BURST_OF_REQUESTS: u32 = 200;
const TOO_MANY: &str = "the engine asks for too many tables and listings";

/// Why the link ended; none if the engine is gone.
type End = Option<String>;

/// The link to one engine.
pub(super) struct EngineLink {
    link: OrderLink,
    inbox: Box<[u8; LARGEST_ANSWER]>,
    /// What the engine has not taken, in order.
    outbox: VecDeque<Vec<u8>>,
    /// The engine's hello has come.
    is_known: bool,
    /// Another program changed the ruleset while much waited; to be listed once there is room.
    is_changed: bool,
    hello: Hello,
    /// What is asked besides orders costs more than they do.
    requests: OrderRate,
    follower: ProcessorFollower,
}

impl EngineLink {
    /// Greets the engine.
    pub(super) fn new(link: OrderLink, hello: Hello) -> Self {
        Self {
            link,
            inbox: Box::new([0; LARGEST_ANSWER]),
            outbox: VecDeque::from([LinkAnswer::Hello(hello).encode()]),
            is_known: false,
            is_changed: false,
            hello,
            requests: OrderRate::new(REQUESTS_PER_SECOND, BURST_OF_REQUESTS, Instant::now()),
            follower: ProcessorFollower::of_this_thread(),
        }
    }

    /// For what to wait.
    pub(super) fn wanted(&self) -> PollFlags {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.outbox.len() < MOST_WAITING);
        wanted.set(PollFlags::OUT, !self.outbox.is_empty());
        wanted
    }

    /// Another program changed the ruleset, and this is open now.
    pub(super) fn changed(&mut self, listing: &Listing) {
        self.is_changed = self.outbox.len() >= MOST_WAITING;
        if !self.is_changed {
            self.tell(0, Ok(listing));
            // A full link is tried again when it has room, and one that ended is noticed there, too.
            let _ = self.flush();
        }
    }

    /// Whether it takes as much as it should.
    pub(super) fn has_room(&self) -> bool {
        self.outbox.len() < MOST_WAITING
    }

    /// This client, for whom this door was opened, has come in.
    pub(super) fn came_in(&mut self, door: DoorId, client: Client) {
        self.outbox.push_back(LinkAnswer::CameIn { door, client }.encode());
        let _ = self.flush();
    }

    /// Sends and takes what there is.
    ///
    /// # Errors
    /// If the link has ended.
    pub(super) fn serve(&mut self, keeping: &mut Keeping) -> Result<(), End> {
        self.flush()?;
        if self.is_changed && self.outbox.len() < MOST_WAITING {
            self.is_changed = false;
            let listing = keeping.list();
            self.tell(0, listing.as_ref().map_err(String::clone));
        }
        let mut orders: Vec<TabledOrder> = Vec::new();
        let mut processor = None;
        while self.outbox.len() + orders.len() < MOST_WAITING && orders.len() < BATCH {
            let (request, note) = match self.link.receive(&mut self.inbox) {
                Received::Message(length) => {
                    let message = self.inbox.get(..length).unwrap_or(&self.inbox[..]);
                    LinkRequest::decode_noted(message)
                        .map_err(|odd| Some(format!("engine to doorman: {odd}")))?
                }
                Received::Nothing => break,
                Received::Ended => {
                    self.carry_out(keeping, &mut orders);
                    return Err(None);
                }
            };
            if let LinkRequest::Order { table, processor: sender, order } = request
                && self.is_known
            {
                processor = sender;
                orders.push((table, NotedOrder { order, note }));
                continue;
            }
            self.carry_out(keeping, &mut orders);
            self.answer(request, keeping)?;
        }
        let count = orders.len();
        self.carry_out(keeping, &mut orders);
        self.flush()?;
        // Only now: whoever sent the order has its answer.
        if count >= BUSY {
            self.follower.roam();
        } else if count > 0 {
            self.follower.follow(processor);
        }
        Ok(())
    }

    fn answer(&mut self, request: LinkRequest, keeping: &mut Keeping) -> Result<(), End> {
        match request {
            LinkRequest::Hello(hello) if !self.is_known && hello == self.hello => self.is_known = true,
            LinkRequest::Hello(_) if !self.is_known => {
                return Err(Some("engine and doorman are not the same program".to_owned()));
            }
            _ if !self.is_known => {
                return Err(Some("engine to doorman: it did not say hello first".to_owned()));
            }
            LinkRequest::Hello(_) => {
                return Err(Some("engine to doorman: it said hello twice".to_owned()));
            }
            LinkRequest::PutInPlace { ticket, table, release } => {
                let now = Instant::now();
                let outcome = match self.requests.take(now) {
                    true => keeping.put_in_place_for_engine(table, release, now),
                    false => Err(NotInPlace::failed(TOO_MANY)),
                };
                self.outbox.extend(put_in_place_answers(ticket, outcome).iter().map(LinkAnswer::encode));
            }
            LinkRequest::List { ticket } => {
                let listing = match self.requests.take(Instant::now()) {
                    true => keeping.list(),
                    false => Err(TOO_MANY.to_owned()),
                };
                self.tell(ticket, listing.as_ref().map_err(String::clone));
            }
            LinkRequest::Probe { ticket } => {
                let outcome = keeping.probe();
                self.outbox.push_back(LinkAnswer::Probed { ticket, outcome }.encode());
            }
            LinkRequest::Packets { ticket, table, door, client } => {
                let packets = keeping.packets(table, door, client);
                self.outbox.push_back(LinkAnswer::Counted { ticket, packets }.encode());
            }
            LinkRequest::Order { .. } => {}
        }
        Ok(())
    }

    fn carry_out(&mut self, keeping: &mut Keeping, orders: &mut Vec<TabledOrder>) {
        if !orders.is_empty() {
            let receipts = keeping.carry_out(orders, Instant::now());
            self.outbox.extend(receipts.into_iter().map(|receipt| LinkAnswer::Receipt(receipt).encode()));
            orders.clear();
        }
    }

    fn tell(&mut self, ticket: u64, listing: Result<&Listing, String>) {
        self.outbox.extend(listing_answers(ticket, listing).iter().map(LinkAnswer::encode));
    }

    fn flush(&mut self) -> Result<(), End> {
        while let Some(answer) = self.outbox.front() {
            match self.link.send(answer) {
                Sent::Sent => drop(self.outbox.pop_front()),
                Sent::Full => break,
                Sent::Ended => return Err(None),
            }
        }
        Ok(())
    }
}

impl AsFd for EngineLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

fn put_in_place_answers(ticket: u64, outcome: Result<postern_core::Posture, NotInPlace>) -> Vec<LinkAnswer> {
    match outcome {
        Ok(posture) => vec![LinkAnswer::InPlace { ticket, posture }],
        Err(NotInPlace { why, text, mistakes }) => {
            let mistake = |(door, text)| LinkAnswer::Mistake { ticket, door, text };
            let end = LinkAnswer::NotInPlace { ticket, why, text };
            mistakes.into_iter().map(mistake).chain([end]).collect()
        }
    }
}

/// A listing in pieces, and their end.
fn listing_answers(ticket: u64, listing: Result<&Listing, String>) -> Vec<LinkAnswer> {
    let listing = match listing {
        Ok(listing) if listing.openings.len() > MOST_LISTED => {
            Err(format!("more than {MOST_LISTED} openings are in the packet filter"))
        }
        other => other,
    };
    let listing = match listing {
        Ok(listing) => listing,
        Err(text) => return vec![LinkAnswer::Listed { ticket, outcome: Err(text) }],
    };
    let doors: Vec<_> = listing.lived_on.iter().copied().collect();
    let openings = openings_in_pieces(&listing.openings);
    let openings = openings.map(|piece| LinkAnswer::Openings { ticket, openings: piece.to_vec() });
    let doors = doors.chunks(MOST_DOORS).map(|piece| LinkAnswer::LivedOn { ticket, doors: piece.to_vec() });
    openings.chain(doors).chain([LinkAnswer::Listed { ticket, outcome: Ok(()) }]).collect()
}

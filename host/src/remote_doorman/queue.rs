//! DoormanQueue: what is to be sent to the doorman, what was sent and has no answer, and by which table orders go. Bounded, and it waits for nothing.

use std::collections::{HashSet, VecDeque};

use postern_core::{Client, DoorId, OpeningNote, Release};
use postern_doorman::NotedOrder;
use postern_link::{Hello, LinkRequest, OrderLink, Sent, this_processor};

/// Most that waits because the link is full, or because no doorman is there.
const MOST_WAITING: usize = 4096;

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum QueuedMessage {
    Order(NotedOrder),
    PutInPlace { ticket: u64, table: u32, release: Release },
    List(u64),
    Probe(u64),
    Packets { ticket: u64, door: DoorId, client: Client },
}

/// What became of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// All is on its way.
    All,
    /// The link is full, or the doorman is gone.
    Rest,
}

/// The way to the doorman, in order.
#[derive(Debug, Default)]
pub(super) struct DoormanQueue {
    waiting: VecDeque<QueuedMessage>,
    /// Orders without a receipt. The engine bounds their number.
    sent: HashSet<u64>,
    /// To be sent before anything else.
    hello: Option<Hello>,
    /// The table that is in place at the doorman, as far as it has answered.
    in_place: u32,
    /// The table that will be in place when the next order arrives, if all goes well.
    asked: u32,
}

impl DoormanQueue {
    /// Begins with another doorman. What was in place is in place there, too.
    pub(super) fn begin(&mut self, hello: Hello) {
        self.hello = Some(hello);
        self.asked = self.in_place;
    }

    /// Appends something; false if too much waits.
    pub(super) fn push(&mut self, waiting: QueuedMessage) -> bool {
        let has_room = self.waiting.len() < MOST_WAITING;
        if has_room {
            self.waiting.push_back(waiting);
        }
        has_room
    }

    /// Has something sent before all that waits.
    pub(super) fn push_first(&mut self, waiting: QueuedMessage) {
        self.waiting.push_front(waiting);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.hello.is_none()
    }

    /// Sends as much as there is room for.
    pub(super) fn flush(&mut self, link: &OrderLink) -> Flushed {
        if let Some(hello) = self.hello {
            if link.send(&LinkRequest::Hello(hello).encode()) != Sent::Sent {
                return Flushed::Rest;
            }
            self.hello = None;
        }
        let none = OpeningNote::default();
        while let Some(waiting) = self.waiting.front() {
            let mut behind = &none;
            let request = match *waiting {
                QueuedMessage::Order(NotedOrder { order, ref note }) => {
                    behind = note;
                    LinkRequest::Order { table: self.asked, processor: this_processor(), order }
                }
                QueuedMessage::PutInPlace { ticket, table, release } => {
                    LinkRequest::PutInPlace { ticket, table, release }
                }
                QueuedMessage::List(ticket) => LinkRequest::List { ticket },
                QueuedMessage::Probe(ticket) => LinkRequest::Probe { ticket },
                QueuedMessage::Packets { ticket, door, client } => {
                    LinkRequest::Packets { ticket, table: self.asked, door, client }
                }
            };
            if link.send(&request.encode_noted(behind)) != Sent::Sent {
                return Flushed::Rest;
            }
            self.waiting.pop_front();
            match request {
                LinkRequest::Order { order, .. } => drop(self.sent.insert(order.serial)),
                LinkRequest::PutInPlace { table, .. } => self.asked = table,
                _ => {}
            }
        }
        Flushed::All
    }

    /// A receipt came; false if nobody waits for it.
    pub(super) fn answered(&mut self, serial: u64) -> bool {
        self.sent.remove(&serial)
    }

    /// The doorman answered whether a table is in place.
    pub(super) fn put_in_place(&mut self, table: u32, is_done: bool) {
        if is_done {
            self.in_place = table;
        } else if self.asked == table {
            self.asked = self.in_place;
        }
    }

    /// The doorman is gone: the orders that it had, and had not answered.
    pub(super) fn lose(&mut self) -> HashSet<u64> {
        self.asked = self.in_place;
        self.hello = None;
        std::mem::take(&mut self.sent)
    }

    /// The requests that wait.
    pub(super) fn tickets(&self) -> impl Iterator<Item = u64> {
        self.waiting.iter().filter_map(QueuedMessage::ticket)
    }

    /// All that waits, which is not sent any more.
    pub(super) fn give_up(&mut self) -> VecDeque<QueuedMessage> {
        std::mem::take(&mut self.waiting)
    }
}

impl QueuedMessage {
    /// The number of a request.
    pub(super) fn ticket(&self) -> Option<u64> {
        match self {
            Self::Order(_) => None,
            Self::PutInPlace { ticket, .. }
            | Self::List(ticket)
            | Self::Probe(ticket)
            | Self::Packets { ticket, .. } => Some(*ticket),
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_core::{Act, DoorId, Order};
    use postern_link::{LARGEST_ANSWER, Received};

    use super::*;

    fn order(serial: u64) -> QueuedMessage {
        let client = "192.0.2.7".parse().unwrap();
        let order = Order { serial, door: DoorId(1), client, occurrence: 0, act: Act::Close };
        QueuedMessage::Order(order.into())
    }

    fn put(table: u32) -> QueuedMessage {
        QueuedMessage::PutInPlace { ticket: u64::from(table), table, release: Release::Now }
    }

    /// The serial and the table of the orders that arrive.
    fn arrived(link: &OrderLink) -> Vec<(u64, u32)> {
        let mut inbox = [0; LARGEST_ANSWER];
        let mut arrived = Vec::new();
        while let Received::Message(length) = link.receive(&mut inbox) {
            if let LinkRequest::Order { table, order, .. } = LinkRequest::decode(&inbox[..length]).unwrap() {
                arrived.push((order.serial, table));
            }
        }
        arrived
    }

    #[test]
    fn an_order_goes_by_the_table_that_will_be_in_place_when_it_arrives() {
        let (own, other) = OrderLink::pair().unwrap();
        let mut queue = DoormanQueue::default();
        queue.begin(Hello::of_this_process().unwrap());
        for waiting in [put(1), order(1), put(2), order(2)] {
            assert!(queue.push(waiting));
        }
        assert_eq!(queue.flush(&own), Flushed::All);
        assert_eq!(arrived(&other), [(1, 1), (2, 2)]);
        queue.put_in_place(1, true);
        queue.put_in_place(2, false);
        assert!(queue.push(order(3)));
        assert_eq!(queue.flush(&own), Flushed::All);
        assert_eq!(arrived(&other), [(3, 1)]);
        assert!(queue.answered(1) && !queue.answered(1));
        assert_eq!(queue.lose(), HashSet::from([2, 3]));
    }

    #[test]
    fn a_full_link_fills_a_queue_that_is_bounded_and_sends_on_when_there_is_room() {
        let (own, other) = OrderLink::pair().unwrap();
        let mut queue = DoormanQueue::default();
        let mut pushed = 0;
        while queue.push(order(pushed)) {
            pushed += 1;
            queue.flush(&own);
            assert!(pushed < 1 << 20, "nothing bounds the queue");
        }
        let mut all = Vec::new();
        while !queue.is_empty() {
            all.extend(arrived(&other));
            queue.flush(&own);
        }
        all.extend(arrived(&other));
        assert_eq!(all, (0..pushed).map(|serial| (serial, 0)).collect::<Vec<_>>());
    }
}

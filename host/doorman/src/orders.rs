//! Orders: opens and closes doors in batches, and returns a receipt for each order.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postern_core::{Act, Client, DoorId, GuardProtocol, OnClose, Order, PortRange, Receipt};
use rustix::io::Errno;

use crate::batch::Batch;
use crate::check::CheckedDoor;
use crate::counter::Counter;
use crate::door_chain::{DoorChain, client_key};
use crate::door_set::DoorSet;
use crate::doorman::Doorman;
use crate::elements;
use crate::noted_order::NotedOrder;
use crate::sock_diag::SockDiag;
use crate::socket::{BatchError, Socket};
use crate::table::TABLE;

/// How many messages end a batch: some 40 KiB, and answers that fit their buffer even if everything fails.
/// One order adds at most three.
const ENOUGH_MESSAGES: u32 = 128;

impl Doorman {
    /// As [`Doorman::carry_out_noted`], without notes.
    pub fn carry_out(&mut self, orders: &[Order]) -> Vec<Receipt> {
        let orders: Vec<_> = orders.iter().copied().map(NotedOrder::from).collect();
        self.carry_out_noted(&orders)
    }

    /// Carries orders out, one after the other, and returns a receipt for each at its place.
    ///
    /// Some forty at a time take effect together, by one exchange with the kernel, if no two are for the same client of a door. If the kernel
    /// refuses one of those, the others are carried out without it.
    /// An opening of less than 10 ms lasts 10 ms; one of no time is refused.
    pub fn carry_out_noted(&mut self, orders: &[NotedOrder]) -> Vec<Receipt> {
        // Nothing can be asked while a batch is written.
        let counters: Vec<_> = orders.iter().map(|noted| self.counted_so_far(&noted.order)).collect();
        let mut receipts = Vec::with_capacity(orders.len());
        let mut ends = Vec::with_capacity(orders.len().min(ENOUGH_MESSAGES as usize));
        let mut rest = orders;
        while !rest.is_empty() {
            let mut batch = self.socket.begin();
            ends.clear();
            let mut clients = HashSet::new();
            for noted in rest {
                let order = &noted.order;
                // The kernel refuses to change an element twice in one transaction (EBUSY).
                if batch.len() >= ENOUGH_MESSAGES || !clients.insert((order.door, order.client)) {
                    break;
                }
                let counter = counters.get(receipts.len()).copied().flatten();
                let outcome = self.write(&mut batch, noted, counter).map_err(Into::into);
                receipts.push(Receipt { serial: order.serial, outcome });
                ends.push(batch.len());
            }
            let (together, later) = rest.split_at(ends.len());
            rest = later;
            if let Err(failure) = self.socket.commit(batch) {
                let start = receipts.len() - together.len();
                self.carry_out_again(together, &mut receipts[start..], &ends, &counters[start..], &failure);
            }
        }
        self.reset_connections(orders, &receipts);
        if let Some(passages) = &mut self.passages {
            let done = orders.iter().zip(&receipts).filter(|(_, receipt)| receipt.outcome.is_ok());
            done.for_each(|(noted, _)| passages.note(&noted.order));
        }
        receipts
    }

    /// Carries out the orders of a failed batch that were not the cause; `ends` has the number of the last message of each order.
    ///
    /// The kernel takes milliseconds to abort a batch, so an order that it refused is not retried, except that closing is tried alone.
    fn carry_out_again(
        &mut self,
        orders: &[NotedOrder],
        receipts: &mut [Receipt],
        ends: &[u32],
        counters: &[Option<Counter>],
        failure: &BatchError,
    ) {
        let (mut innocent, mut closings) = (Vec::new(), Vec::new());
        let mut end_before = 0;
        for (place, (NotedOrder { order, .. }, end)) in orders.iter().zip(ends).enumerate() {
            let messages = end_before + 1..=*end;
            end_before = *end;
            if receipts[place].outcome.is_err() {
                continue;
            }
            match (failure.of(&messages), order.act) {
                (Some(_), Act::Close | Act::Expire) => closings.push(place),
                (Some(errno), _) => {
                    receipts[place].outcome = Err(self.words(order, errno, failure.is_whole()).into())
                }
                (None, _) => innocent.push(place),
            }
        }
        let mut batch = self.socket.begin();
        for place in &innocent {
            let outcome = self.write(&mut batch, &orders[*place], counters[*place]);
            receipts[*place].outcome = outcome.map_err(Into::into);
        }
        if self.socket.commit(batch).is_err() {
            for place in innocent {
                let outcome = self.carry_out_alone(&orders[place], counters[place]);
                receipts[place].outcome = outcome.map_err(Into::into);
            }
        }
        for place in closings {
            receipts[place].outcome = self.close_alone(&orders[place].order).map_err(Into::into);
        }
    }

    /// Writes an order, or says what is wrong with it. An opening counts on from `counter`, if there is such a number.
    fn write(&self, batch: &mut Batch, noted: &NotedOrder, counter: Option<Counter>) -> Result<(), String> {
        let NotedOrder { order, note } = noted;
        let OrderTarget { set, key, .. } = self.target(order.door, order.client)?;
        match order.act {
            // To the kernel a timeout of zero means none, so the element would stay for ever.
            Act::Open(Duration::ZERO) | Act::Extend(Duration::ZERO) => {
                return Err("a door cannot be opened for no time".to_owned());
            }
            Act::Open(lasts) | Act::Extend(lasts) => set.open(batch, &key, lasts, counter, note),
            Act::Close | Act::Expire => set.close(batch, &key),
        }
        Ok(())
    }

    fn carry_out_alone(&mut self, noted: &NotedOrder, counter: Option<Counter>) -> Result<(), String> {
        let mut batch = self.socket.begin();
        self.write(&mut batch, noted, counter)?;
        let order = &noted.order;
        self.socket.commit(batch).map_err(|failure| self.words(order, failure.first(), failure.is_whole()))
    }

    /// Closes in a batch of its own. If the element, the set or the table is not there, the door is closed.
    fn close_alone(&mut self, order: &Order) -> Result<(), String> {
        let mut batch = self.socket.begin();
        let OrderTarget { set, key, .. } = self.target(order.door, order.client)?;
        set.remove(&mut batch, &key);
        match self.socket.commit(batch) {
            Err(failure) if failure.first() != Errno::NOENT => {
                Err(self.words(order, failure.first(), failure.is_whole()))
            }
            _ => Ok(()),
        }
    }

    /// Whether this order is slow: closing a door whose connections are reset lists all TCP connections of the machine.
    #[must_use]
    pub fn is_slow(&self, order: &Order) -> bool {
        let resets = |door: &CheckedDoor| matches!(door, CheckedDoor::Guard(door, _) if door.on_close == OnClose::Reset);
        order.act == Act::Close && self.doors.get(&order.door).is_some_and(resets)
    }

    /// Resets the connections of closed doors that say so (`on_close`), except those of clients that are still let in. Even if the reset fails,
    /// the guard drops their packets from now on.
    fn reset_connections(&mut self, orders: &[NotedOrder], receipts: &[Receipt]) {
        let closed = orders
            .iter()
            .map(|noted| &noted.order)
            .zip(receipts)
            .filter(|(order, receipt)| self.is_slow(order) && receipt.outcome.is_ok());
        let closed: Vec<_> = closed
            .filter_map(|(order, _)| match self.doors.get(&order.door)? {
                CheckedDoor::Guard(door, chain) => Some((door, chain, order.client)),
                CheckedDoor::Set { .. } => None,
            })
            .collect();
        if closed.is_empty() {
            return;
        }
        let socket = &mut self.socket;
        let is_closed = |local: SocketAddr, remote: SocketAddr, link: u32| {
            closed.iter().any(|(door, chain, client)| {
                let is_guarded = |range: &PortRange| range.contains(GuardProtocol::Tcp, local.port());
                let is_clients =
                    client.net().contains(&remote.ip()) && (client.link() == 0 || client.link() == link);
                is_clients
                    && door.ports.iter().any(is_guarded)
                    && !door.trusts(remote.ip())
                    && !is_let_in(socket, chain, &Client::on_link(remote.ip(), link))
            })
        };
        // A kernel without CONFIG_INET_DIAG_DESTROY cannot reset; then the connections are cut, as documented.
        let sockets = self.connections.take().map_or_else(SockDiag::open, Ok);
        self.connections =
            sockets.ok().and_then(|mut sockets| sockets.reset(is_closed).ok().map(|_| sockets));
    }

    /// The set and the key that an order is for, or why there is none.
    pub(crate) fn target(&self, door: DoorId, client: Client) -> Result<OrderTarget<'_>, String> {
        if matches!(client.address(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
            return Err(format!("{client} is an IPv4 address in the form of an IPv6 address"));
        }
        let version = if client.address().is_ipv4() { "IPv4" } else { "IPv6" };
        let (set, is_ours) = match self.doors.get(&door) {
            None => return Err("it is not in the packet filter any more".to_owned()),
            Some(CheckedDoor::Guard(_, chain)) => (chain.set_for(&client), true),
            Some(CheckedDoor::Set { .. }) if !client.is_single() || client.link() != 0 => (None, false),
            Some(CheckedDoor::Set { v4, v6 }) => {
                (if client.address().is_ipv4() { v4.as_ref() } else { v6.as_ref() }, false)
            }
        };
        let set = set.ok_or_else(|| match client.is_single() {
            true if client.link() == 0 => format!("the door has no set for {version} clients"),
            true => "the door has no set for addresses of one link".to_owned(),
            false => format!("the door has no set for prefixes of {} bits", client.width()),
        })?;
        let key = client_key(&client, |link| self.socket.name_of_link(link));
        let key = key.ok_or_else(|| format!("the interface number {} is gone", client.link()))?;
        Ok(OrderTarget { set, key, is_ours })
    }

    /// The kernel's error for an order, in words for the log.
    fn words(&self, order: &Order, errno: Errno, whole: bool) -> String {
        let (set, is_ours) = match self.target(order.door, order.client) {
            Ok(target) => (&target.set.name, target.is_ours),
            Err(words) => return words,
        };
        match errno {
            Errno::PERM if whole => "changing nftables needs CAP_NET_ADMIN".to_owned(),
            Errno::NOENT if is_ours => format!("the table inet {TABLE} is gone; another program removed it"),
            Errno::NOENT => format!("the set {set} is gone; reload the ruleset that declares it"),
            Errno::NFILE => format!("the set {set} is full; declare it with a larger size"),
            Errno::PERM => format!("the table of the set {set} is owned by another program"),
            Errno::AGAIN if whole => format!("the kernel did not say whether it changed the set {set}"),
            errno => format!("the kernel refused to change the set {set}: {errno}"),
        }
    }
}

/// Whether a door is open for this address, alone or as part of a prefix.
fn is_let_in(socket: &mut Socket, chain: &DoorChain, client: &Client) -> bool {
    chain.sets_around(client).into_iter().any(|(set, around)| {
        let key = client_key(&around, |link| socket.name_of_link(link));
        // A client whose key cannot be made or looked up counts as let in, so its connections are not reset.
        key.is_none_or(|key| {
            let there = socket.ask(set.name.family, elements::question(&set.name, &key), |_| ());
            !matches!(there, Ok(None))
        })
    })
}

/// The set and the key that an order is for.
pub(crate) struct OrderTarget<'a> {
    pub(crate) set: &'a DoorSet,
    pub(crate) key: Vec<u8>,
    /// Whether the set is one of ours.
    is_ours: bool,
}

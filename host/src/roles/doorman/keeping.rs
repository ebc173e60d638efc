//! Keeping: the doors of the packet filter together with the tables that say what may be done with them.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_core::{
    Client, ConfigIdentity, DoorId, DoorsTable, DropReason, Listing, NetDoor, Observer, Order, OrderError,
    Posture, Receipt, Release,
};
use postern_doorman::{
    Doorman, DoorsTables, GuardKeeper, GuardTrial, NotedOrder, OrderPolicy, OwnerSocket, TableRefused,
};
use postern_link::{NotInPlace, TrialStart};
use postern_text::chain;

use crate::not_in_place::not_in_place;

/// What the doorman's process keeps.
pub(super) struct Keeping {
    keeper: GuardKeeper,
    /// None until there is a door for it.
    doorman: Option<Doorman>,
    tables: DoorsTables,
    /// None until a table is in place.
    policy: Option<OrderPolicy>,
    /// Tables that an engine had put in place, which the supervisor does not know so far.
    put_in_place: VecDeque<u32>,
}

/// An order with the table that it goes by.
pub(super) type TabledOrder = (u32, NotedOrder);

impl Keeping {
    pub(super) fn new(
        identity: Option<ConfigIdentity>,
        socket: Option<OwnerSocket>,
        observer: Arc<dyn Observer>,
        trial: Option<TrialStart>,
    ) -> Self {
        let keeper = match socket {
            Some(socket) => GuardKeeper::with_socket(identity, observer, socket),
            None => GuardKeeper::new(identity, observer),
        };
        let trial =
            trial.map(|TrialStart { left, is_begun }| GuardTrial { until: Instant::now() + left, is_begun });
        Self {
            keeper: keeper.on_trial(trial),
            doorman: None,
            tables: DoorsTables::default(),
            policy: None,
            put_in_place: VecDeque::new(),
        }
    }

    /// Readable when another program may have changed the packet filter.
    pub(super) fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.keeper.changes()
    }

    /// After how long to look although nothing has changed.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        self.keeper.retry_in()
    }

    /// Restores the guard if another program removed it; what is open, if that may have changed.
    pub(super) fn look(&mut self) -> Option<Listing> {
        let must_look =
            self.keeper.drain_changes() || self.keeper.retry_in().is_some_and(|pause| pause.is_zero());
        if must_look { self.keeper.look(&mut self.doorman) } else { None }
    }

    /// After how long to ask for [`Keeping::passages`]; none if the guard is not tried.
    pub(super) fn look_in(&self) -> Option<Duration> {
        self.keeper.look_in()
    }

    /// Who has come in since a door was opened for them, if it is time to look.
    pub(super) fn passages(&mut self) -> Vec<(DoorId, Client)> {
        self.keeper.passages(&mut self.doorman)
    }

    /// A guard that is tried stays from now on.
    pub(super) fn confirm(&mut self) -> Result<Posture, NotInPlace> {
        self.keeper.confirm(&mut self.doorman).map_err(not_in_place)
    }

    /// A guard that is tried is removed, and none put up any more.
    pub(super) fn give_up(&mut self) -> Result<Posture, NotInPlace> {
        self.keeper.give_up(&mut self.doorman).map(|()| Posture::Unguarded).map_err(not_in_place)
    }

    /// What is open, or in words why that is not known.
    pub(super) fn list(&mut self) -> Result<Listing, String> {
        let Some(doorman) = &mut self.doorman else { return Ok(Listing::default()) };
        doorman.list().map_err(|error| chain(&error).to_string())
    }

    /// How many packets came through an opening, as [`Doorman::packets`]; none if the door is one of another table.
    pub(super) fn packets(&mut self, table: u32, door: DoorId, client: Client) -> Option<u64> {
        let doorman = self.doorman.as_mut().filter(|_| self.tables.is_in_force(table))?;
        doorman.packets(door, client)
    }

    /// Asks whether the kernel answers, or in words why not.
    pub(super) fn probe(&mut self) -> Result<(), String> {
        let Some(doorman) = &mut self.doorman else { return Ok(()) };
        doorman.probe().map_err(|error| chain(&error).to_string())
    }

    /// Closes ports before any table is in place; no door of theirs can be opened.
    pub(super) fn guard(&mut self, doors: impl Iterator<Item = NetDoor>) -> Result<Posture, NotInPlace> {
        if self.tables.in_place().is_some() {
            return Err(NotInPlace::failed("a doors table is in place already"));
        }
        let doors: Vec<_> = (0..).map(DoorId).zip(doors).collect();
        self.keeper.set_doors(&mut self.doorman, &doors, Release::Later).map_err(not_in_place)
    }

    /// Takes a table that may be put in place later.
    pub(super) fn give(&mut self, table: DoorsTable) -> Result<(), TableRefused> {
        self.tables.give(table)
    }

    /// Puts a table in place that was given.
    pub(super) fn put_in_place(
        &mut self,
        number: u32,
        release: Release,
        now: Instant,
    ) -> Result<Posture, NotInPlace> {
        let asked = self.tables.to_put_in_place(number);
        let table = asked.map_err(|refused| NotInPlace::failed(refused.to_string()))?.clone();
        match self.keeper.set_doors(&mut self.doorman, &table.doors, release) {
            Ok(posture) => {
                let is_again = self.tables.in_place().is_some_and(|table| table.number == number);
                self.tables.put(number);
                match &mut self.policy {
                    Some(_) if is_again => {}
                    Some(policy) => policy.change(&table, now),
                    None => self.policy = Some(self.first_policy(&table, now)),
                }
                Ok(posture)
            }
            Err(error) => {
                self.tables.failed(number);
                Err(not_in_place(error))
            }
        }
    }

    /// As [`Keeping::put_in_place`], for the engine.
    pub(super) fn put_in_place_for_engine(
        &mut self,
        number: u32,
        release: Release,
        now: Instant,
    ) -> Result<Posture, NotInPlace> {
        let before = self.tables.in_place().map(|table| table.number);
        let posture = self.put_in_place(number, release, now)?;
        if before != Some(number) {
            self.put_in_place.push_back(number);
        }
        Ok(posture)
    }

    /// The tables that the engine had put in place since this was last asked.
    pub(super) fn put_in_place_since(&mut self) -> VecDeque<u32> {
        std::mem::take(&mut self.put_in_place)
    }

    /// Carries out what the table in place allows; a receipt for each.
    pub(super) fn carry_out(&mut self, orders: &[TabledOrder], now: Instant) -> Vec<Receipt> {
        let mut receipts = Vec::with_capacity(orders.len());
        let mut admitted = Vec::with_capacity(orders.len());
        for (table, noted) in orders {
            match self.admit(*table, &noted.order, now) {
                Ok(()) => admitted.push(noted.clone()),
                Err(error) => receipts.push(Receipt { serial: noted.order.serial, outcome: Err(error) }),
            }
        }
        let Some(doorman) = &mut self.doorman else {
            let gone = |noted: &NotedOrder| Receipt {
                serial: noted.order.serial,
                outcome: Err(OrderError::from("nothing is guarded, and no set is there".to_owned())),
            };
            receipts.extend(admitted.iter().map(gone));
            return receipts;
        };
        if admitted.is_empty() {
            return receipts;
        }
        let done = doorman.carry_out_noted(&admitted);
        if let Some(policy) = &mut self.policy {
            let failed = admitted.iter().zip(&done).filter(|(_, receipt)| receipt.outcome.is_err());
            failed.for_each(|(noted, _)| policy.failed(&noted.order));
        }
        receipts.extend(done);
        receipts
    }

    fn admit(&mut self, table: u32, order: &Order, now: Instant) -> Result<(), OrderError> {
        if !self.tables.is_in_force(table) {
            let words = format!("doors table {table} is not in place at the doorman");
            return Err(OrderError::new(DropReason::BeyondTable, words));
        }
        let none = || OrderError::new(DropReason::BeyondTable, "no doors table is in place at the doorman");
        self.policy.as_mut().ok_or_else(none)?.admit(order, now)
    }

    /// Counts what the doorman before left open.
    fn first_policy(&mut self, table: &DoorsTable, now: Instant) -> OrderPolicy {
        let mut policy = OrderPolicy::new(table, now);
        if let Some(doorman) = &mut self.doorman {
            if let Ok(listing) = doorman.list() {
                policy.count_in(&listing, now);
            }
            // The engine must not take this for the one before its first: what was made anew since has not lived on.
            doorman.forget_listing();
        }
        policy
    }
}

//! Openings: the table of all openings that are open, opening or closing, with their deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::action::Why;
use crate::client::Client;
use crate::door::{DoorId, OpeningKey};
use crate::moment::Moment;
use crate::tenant::{RuleId, TenantId};
use crate::tenant_counts::TenantCounts;

/// One door open for one client until a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The rule that opened it last; none if it was found open at start.
    pub rule: Option<RuleId>,
    /// Its state.
    pub state: OpeningState,
    /// The number of the newest order for it; answers to older ones change nothing.
    pub newest_order: u64,
    /// Since when it is open; none if it is not, or was found open.
    pub since: Option<Moment>,
    /// Until when it should be open.
    pub until: Moment,
    /// When the engine must act on it next: close it, retry closing it, or open it again.
    pub due: Moment,
    /// Whether the door closes it by itself, as [`crate::DoorPolicy::keeps_time`] says; the same for all openings of a door.
    pub keeps_time: bool,
    /// Whether the door was found closed and has not been opened again so far.
    pub is_missing: bool,
    /// Whether rules of more than one tenant opened it: none of them closes it then before its time.
    pub is_shared: bool,
}

impl Opening {
    /// An opening without an order so far.
    pub(crate) const fn new(
        rule: Option<RuleId>,
        state: OpeningState,
        until: Moment,
        due: Moment,
        keeps_time: bool,
    ) -> Self {
        let (since, newest_order) = (None, 0);
        Self { rule, state, newest_order, since, until, due, keeps_time, is_missing: false, is_shared: false }
    }
}

/// The state of an opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpeningState {
    /// Nothing was ordered so far: it is being recorded how to close it.
    Recording {
        /// The close that it was to have before, if it was open and may be so still.
        unclosed: Option<UnheardClose>,
    },
    /// The door was told to open and has not answered.
    Opening,
    /// The door's receipt for opening has arrived.
    Open,
    /// The door was ordered to close and has not confirmed it; after a failure the engine retries at [`Opening::due`].
    Closing {
        /// Orders to close so far.
        tries: u32,
        /// Why.
        why: Why,
    },
}

/// A close that had not been confirmed when its door was to be opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnheardClose {
    /// Why.
    pub why: Why,
    /// Orders to close so far.
    pub tries: u32,
    /// The number of the newest of them.
    pub order: u64,
}

/// All openings, by door and client, with their deadlines in order.
#[derive(Debug, Default)]
pub struct Openings {
    openings: BTreeMap<OpeningKey, Opening>,
    deadlines: BTreeSet<(Moment, OpeningKey)>,
    /// How many openings only a command closes.
    left_to_close: usize,
    per_tenant: TenantCounts,
}

impl Openings {
    /// The opening of this door for this client.
    #[must_use]
    pub fn find(&self, key: OpeningKey) -> Option<&Opening> {
        self.openings.get(&key)
    }

    /// Inserts an opening, or replaces the one with the same key.
    pub fn put(&mut self, key: OpeningKey, opening: Opening) {
        let (due, keeps_time) = (opening.due, opening.keeps_time);
        self.left_to_close += usize::from(!keeps_time);
        self.per_tenant.add(opening.rule.as_ref());
        match self.openings.insert(key, opening) {
            Some(before) => {
                self.per_tenant.remove(before.rule.as_ref());
                self.left_to_close -= usize::from(!before.keeps_time);
                self.move_deadline(key, before.due, due);
            }
            None => drop(self.deadlines.insert((due, key))),
        }
    }

    /// Changes an opening where it is, but not whose it is; false if there is none.
    pub fn change(&mut self, key: OpeningKey, change: impl FnOnce(&mut Opening)) -> bool {
        let Some(opening) = self.openings.get_mut(&key) else { return false };
        let (before, kept_time) = (opening.due, opening.keeps_time);
        change(opening);
        let due = opening.due;
        self.left_to_close += usize::from(!opening.keeps_time);
        self.left_to_close -= usize::from(!kept_time);
        self.move_deadline(key, before, due);
        true
    }

    fn move_deadline(&mut self, key: OpeningKey, before: Moment, after: Moment) {
        if before != after {
            self.deadlines.remove(&(before, key));
            self.deadlines.insert((after, key));
        }
    }

    /// Removes an opening.
    pub fn remove(&mut self, key: OpeningKey) -> Option<Opening> {
        let opening = self.openings.remove(&key)?;
        self.deadlines.remove(&(opening.due, key));
        self.left_to_close -= usize::from(!opening.keeps_time);
        self.per_tenant.remove(opening.rule.as_ref());
        Some(opening)
    }

    /// Moves every opening of one door to another door, unless that is open for the same client already.
    pub fn rename(&mut self, from: DoorId, to: DoorId) {
        let keys: Vec<_> = self.of_door(from).map(|(key, _)| key).collect();
        for key in keys {
            let renamed = OpeningKey { door: to, ..key };
            if let Some(opening) = self.remove(key)
                && !self.openings.contains_key(&renamed)
            {
                self.put(renamed, opening);
            }
        }
    }

    /// Every opening of this door.
    pub fn of_door(&self, door: DoorId) -> impl Iterator<Item = (OpeningKey, &Opening)> {
        let first = OpeningKey { door, client: Client::FIRST, occurrence: 0 };
        let last = OpeningKey { door, client: Client::LAST, occurrence: u64::MAX };
        self.openings.range(first..=last).map(|(key, opening)| (*key, opening))
    }

    /// The openings whose keys come after this one, in their order; from the first on if there is none.
    pub fn after(&self, key: Option<OpeningKey>) -> impl Iterator<Item = (OpeningKey, &Opening)> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.openings.range((from, Bound::Unbounded)).map(|(key, opening)| (*key, opening))
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// The opening that is due longest at `now`.
    #[must_use]
    pub fn due(&self, now: Moment) -> Option<OpeningKey> {
        self.deadlines.first().filter(|(due, _)| *due <= now).map(|(_, key)| *key)
    }

    /// Every opening of this door for this client.
    pub fn of_client(&self, door: DoorId, client: Client) -> impl Iterator<Item = (OpeningKey, &Opening)> {
        let key = |occurrence| OpeningKey { door, client, occurrence };
        self.openings.range(key(0)..=key(u64::MAX)).map(|(key, opening)| (*key, opening))
    }

    /// All openings, by door and client.
    pub fn iter(&self) -> impl Iterator<Item = (OpeningKey, &Opening)> {
        self.openings.iter().map(|(key, opening)| (*key, opening))
    }

    /// Whether a door has any.
    #[must_use]
    pub fn has_door(&self, door: DoorId) -> bool {
        self.of_door(door).next().is_some()
    }

    /// How many do not close by themselves: the engine must close them.
    #[must_use]
    pub fn left_to_close(&self) -> usize {
        self.left_to_close
    }

    /// How many a tenant has; 0 for the host.
    #[must_use]
    pub fn of_tenant(&self, tenant: &TenantId) -> usize {
        self.per_tenant.of(tenant)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.openings.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.openings.is_empty()
    }
}

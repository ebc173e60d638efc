//! Ledger: all openings, and what is due next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::action::Why;
use crate::door::{DoorId, Key};
use crate::moment::Moment;
use crate::tenant::RuleId;

/// One door open for one client until a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The rule that opened it last; none if it was found open at start.
    pub rule: Option<RuleId>,
    /// How far it is.
    pub state: State,
    /// The number of the newest order for it; answers to older ones change nothing.
    pub newest_order: u64,
    /// Until when it should be open.
    pub until: Moment,
    /// When something must be done about it: closing it, or trying again to close it.
    pub due: Moment,
}

/// How far an opening is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The door was told to open and has not answered.
    Opening,
    /// The door said that it is open.
    Open,
    /// The door was told to close.
    Closing {
        /// Orders to close so far.
        tries: u32,
        /// Why.
        why: Why,
    },
}

/// All openings, by door and client, with their deadlines in order.
#[derive(Debug, Default)]
pub struct Ledger {
    openings: BTreeMap<Key, Opening>,
    deadlines: BTreeSet<(Moment, Key)>,
}

impl Ledger {
    /// The opening of this door for this client.
    #[must_use]
    pub fn find(&self, key: Key) -> Option<&Opening> {
        self.openings.get(&key)
    }

    /// Writes an opening down instead of the one with the same key.
    pub fn put(&mut self, key: Key, opening: Opening) {
        self.deadlines.insert((opening.due, key));
        if let Some(before) = self.openings.insert(key, opening)
            && self.openings[&key].due != before.due
        {
            self.deadlines.remove(&(before.due, key));
        }
    }

    /// Strikes an opening out.
    pub fn remove(&mut self, key: Key) -> Option<Opening> {
        let opening = self.openings.remove(&key)?;
        self.deadlines.remove(&(opening.due, key));
        Some(opening)
    }

    /// Has every opening of one door be one of another door, unless the other is open for that client already.
    pub fn rename(&mut self, from: DoorId, to: DoorId) {
        let keys: Vec<_> = self.openings.keys().filter(|key| key.door == from).copied().collect();
        for key in keys {
            let renamed = Key { door: to, ..key };
            if let Some(opening) = self.remove(key)
                && !self.openings.contains_key(&renamed)
            {
                self.put(renamed, opening);
            }
        }
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// The opening that is due longest at `now`.
    #[must_use]
    pub fn due(&self, now: Moment) -> Option<Key> {
        self.deadlines.first().filter(|(due, _)| *due <= now).map(|(_, key)| *key)
    }

    /// Every opening of this door for this client.
    pub fn turns(&self, door: DoorId, client: IpAddr) -> impl Iterator<Item = (Key, &Opening)> {
        let turn = |turn| Key { door, client, turn };
        self.openings.range(turn(0)..=turn(u64::MAX)).map(|(key, opening)| (*key, opening))
    }

    /// All openings, by door and client.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Opening)> {
        self.openings.iter().map(|(key, opening)| (*key, opening))
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

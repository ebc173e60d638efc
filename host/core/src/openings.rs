//! Openings: the table of all openings that are open, opening or closing, with their deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::client::Client;
use crate::door::{DoorId, OpeningKey};
use crate::moment::Moment;
use crate::opening::{Opening, OpeningPart};
use crate::tenant::TenantId;
use crate::tenant_openings::TenantOpenings;

/// All openings, by door and client, with their deadlines in order.
#[derive(Debug, Default)]
pub struct Openings {
    openings: BTreeMap<OpeningKey, Opening>,
    deadlines: BTreeSet<(Moment, OpeningKey)>,
    /// How many openings only a command closes.
    left_to_close: usize,
    of_tenants: TenantOpenings,
}

impl Openings {
    /// The opening of this door for this client.
    #[must_use]
    pub fn find(&self, key: OpeningKey) -> Option<&Opening> {
        self.openings.get(&key)
    }

    /// Inserts an opening, or replaces the one with the same key.
    pub fn put(&mut self, key: OpeningKey, opening: Opening) {
        self.remove(key);
        self.left_to_close += usize::from(!opening.keeps_time);
        self.of_tenants.add(key, opening.parts());
        self.deadlines.insert((opening.due, key));
        self.openings.insert(key, opening);
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

    /// Changes what each owner has of an opening, and removes it if nobody has anything of it any more; what it is then.
    pub(crate) fn change_parts(
        &mut self,
        key: OpeningKey,
        change: impl FnOnce(&mut Vec<OpeningPart>),
    ) -> Option<&Opening> {
        let opening = self.openings.get_mut(&key)?;
        self.of_tenants.remove(key, opening.parts());
        change(opening.parts_mut());
        self.of_tenants.add(key, opening.parts());
        if opening.parts().is_empty() {
            self.remove(key);
        }
        self.find(key)
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
        self.of_tenants.remove(key, opening.parts());
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

    /// How many an owner of rules has a part of.
    #[must_use]
    pub fn of_tenant(&self, tenant: &TenantId) -> usize {
        self.of_tenants.count(tenant)
    }

    /// As [`Openings::after`], those that an owner of rules has a part of.
    pub fn of_tenant_after(
        &self,
        tenant: &TenantId,
        key: Option<OpeningKey>,
    ) -> impl Iterator<Item = (OpeningKey, &Opening)> {
        let keys = self.of_tenants.after(tenant, key);
        keys.filter_map(|key| Some((key, self.openings.get(&key)?)))
    }

    /// How many parts they have, all together.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.of_tenants.parts()
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

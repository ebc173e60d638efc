//! Slots: the storage of all rules' clients, and the linked lists through it.

use super::client::ClientKey;
use crate::knock::Timestamp;

/// Marks the end of a list.
pub(super) const NONE: u32 = u32::MAX;

/// What one entry costs beyond the rule's own bytes, roughly: counted against [`super::Bounds::bytes`].
pub(super) const ENTRY_OVERHEAD: usize = 128;

/// The slots in use and the free ones. All rules share them, so memory that a flood at one rule used is reused by others, and no more is
/// allocated than was ever in use at once.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<ClientSlot>,
    /// The first free one; the others follow as its `newer`.
    free: u32,
}

/// One client of one rule, in one cache line.
#[derive(Debug)]
pub(super) struct ClientSlot {
    pub(super) client: ClientKey,
    pub(super) stage: u32,
    pub(super) until: Timestamp,
    pub(super) bytes: Bytes,
    older: u32,
    newer: u32,
}

/// What a rule remembers; a few bytes are stored within the slot.
#[derive(Debug)]
pub(super) enum Bytes {
    Few { length: u8, bytes: [u8; Self::FEW] },
    Many(Box<[u8]>),
}

/// A doubly linked list of slots, the least recently written first. A slot is in one list at most, so one pair of links in
/// it is enough. This value is only the two ends; after a change, older copies of it are invalid.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotList {
    pub(super) oldest: u32,
    newest: u32,
}

impl Slots {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: NONE }
    }

    pub(super) fn take(&mut self, slot: ClientSlot) -> u32 {
        if self.free == NONE {
            self.slots.push(slot);
            return u32::try_from(self.slots.len() - 1).expect("the ceiling on entries is below 2^32 - 1");
        }
        let at = self.free;
        self.free = self.get(at).newer;
        *self.get_mut(at) = slot;
        at
    }

    /// Frees a slot that is in no list.
    pub(super) fn release(&mut self, at: u32) {
        let free = self.free;
        let slot = self.get_mut(at);
        slot.bytes = Bytes::new(Box::default());
        slot.newer = free;
        self.free = at;
    }

    pub(super) fn release_all(&mut self, list: SlotList) {
        let mut next = list.oldest;
        while next != NONE {
            let at = next;
            next = self.get(at).newer;
            self.release(at);
        }
    }

    pub(super) fn get(&self, at: u32) -> &ClientSlot {
        &self.slots[at as usize]
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut ClientSlot {
        &mut self.slots[at as usize]
    }

    /// Slots that were ever in use at once.
    #[cfg(test)]
    pub(super) fn most(&self) -> usize {
        self.slots.len()
    }
}

impl ClientSlot {
    pub(super) const fn new(client: ClientKey, stage: u32, until: Timestamp, bytes: Bytes) -> Self {
        Self { client, stage, until, bytes, older: NONE, newer: NONE }
    }

    /// What it counts against [`super::Bounds::bytes`].
    pub(super) fn cost(&self) -> usize {
        ENTRY_OVERHEAD + self.bytes.get().len()
    }
}

impl Bytes {
    const FEW: usize = 22;

    pub(super) fn new(given: Box<[u8]>) -> Self {
        match u8::try_from(given.len()) {
            Ok(length) if given.len() <= Self::FEW => {
                let mut bytes = [0; Self::FEW];
                bytes[..given.len()].copy_from_slice(&given);
                Self::Few { length, bytes }
            }
            _ => Self::Many(given),
        }
    }

    pub(super) fn get(&self) -> &[u8] {
        match self {
            Self::Few { length, bytes } => &bytes[..usize::from(*length)],
            Self::Many(bytes) => bytes,
        }
    }
}

impl SlotList {
    pub(super) const EMPTY: Self = Self { oldest: NONE, newest: NONE };

    /// Makes one of its slots the newest.
    pub(super) fn renew(&mut self, at: u32, slots: &mut Slots) {
        if at != self.newest {
            self.unlink(at, slots);
            self.push(at, slots);
        }
    }

    pub(super) const fn is_empty(self) -> bool {
        self.oldest == NONE
    }

    /// Appends a slot that is in no list.
    pub(super) fn push(&mut self, at: u32, slots: &mut Slots) {
        let slot = slots.get_mut(at);
        (slot.older, slot.newer) = (self.newest, NONE);
        match self.newest {
            NONE => self.oldest = at,
            before => slots.get_mut(before).newer = at,
        }
        self.newest = at;
    }

    /// Unlinks a slot of this list.
    pub(super) fn unlink(&mut self, at: u32, slots: &mut Slots) {
        let &ClientSlot { older, newer, .. } = slots.get(at);
        match older {
            NONE => self.oldest = newer,
            older => slots.get_mut(older).newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => slots.get_mut(newer).older = older,
        }
    }

    /// Appends all slots of `other`.
    pub(super) fn append(&mut self, other: Self, slots: &mut Slots) {
        match (self.newest, other.oldest) {
            (_, NONE) => return,
            (NONE, first) => self.oldest = first,
            (last, first) => {
                slots.get_mut(last).newer = first;
                slots.get_mut(first).older = last;
            }
        }
        self.newest = other.newest;
    }

    /// Its slots, the oldest first.
    #[cfg(test)]
    pub(super) fn iter(self, slots: &Slots) -> impl Iterator<Item = u32> {
        let next = |at: u32| (at != NONE).then_some(at);
        std::iter::successors(next(self.oldest), move |at| next(slots.get(*at).newer))
    }
}

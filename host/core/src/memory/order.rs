//! EvictionOrder: which client of a rule is removed next, because it has expired or to make room.
//!
//! A timer wheel for each stage: time is cut into pieces, and the clients that expire within a piece are in one doubly linked list. Pieces
//! are a sixteenth to an eighth of the time for which the rule remembers its clients, so a client may be removed before another that expires
//! up to that much earlier; in return nothing is ever searched or sorted. Every operation takes constant time: finding a list is a bit
//! operation, and a client links and unlinks itself by its slot. A list is correct only if a client is unlinked from the list that it was
//! linked into, so stage and time of a slot change only through [`EvictionOrder::change`].

use super::slots::{ClientSlot, SlotList, Slots};
use crate::knock::Timestamp;

/// The rank of a stage in the order of eviction: lower ones go first, and stages beyond the 63rd rank as that. Stage 0 ranks highest: it is no
/// half-finished knock but something to be remembered beyond one, such as a knock that was right a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class(u32);

/// One client of a rule after the other.
#[derive(Debug, Default)]
pub(super) struct EvictionOrder {
    /// By stage, as far as clients have come yet.
    stages: Vec<Stage>,
    /// A bit for each stage that has clients.
    occupied: u64,
    /// The length of a piece is 2^shift microseconds.
    shift: u32,
    /// The first piece with a list of its own. Clients that expire earlier are in its list as well, in front unless the clock was set back.
    first: u64,
}

/// Clients that have come equally far.
#[derive(Debug)]
struct Stage {
    /// By the piece of time in which they expire, modulo their count.
    lists: [SlotList; PIECES],
    /// A bit for each list that is not empty.
    occupied: u32,
}

const PIECES: usize = u32::BITS as usize;
const STAGES: u32 = u64::BITS;

impl Class {
    pub(super) fn of(stage: u32) -> Self {
        // Stage 0 becomes the last one.
        Self(stage.min(STAGES - 1).wrapping_sub(1))
    }
}

impl EvictionOrder {
    /// Links a client that is in no list.
    pub(super) fn insert(&mut self, at: u32, now: Timestamp, slots: &mut Slots) {
        let &ClientSlot { stage, until, .. } = slots.get(at);
        self.make_fit(until, now, slots);
        let piece = self.piece(until);
        let stage = number(stage);
        if self.stages.len() <= stage {
            self.stages.resize_with(stage + 1, || Stage { lists: [SlotList::EMPTY; PIECES], occupied: 0 });
        }
        self.stages[stage].change(piece, |list| list.push(at, slots));
        self.occupied |= 1 << stage;
    }

    /// Changes the stage and the time of a client that is linked.
    #[inline]
    pub(super) fn change(
        &mut self,
        at: u32,
        stage: u32,
        until: Timestamp,
        now: Timestamp,
        slots: &mut Slots,
    ) {
        self.make_fit(until, now, slots);
        let slot = slots.get_mut(at);
        let (old, new) = (number(slot.stage), number(stage));
        let piece = self.piece(until);
        if old == new && piece == self.piece(slot.until) {
            (slot.stage, slot.until) = (stage, until);
            return self.stages[new].lists[place_of(piece)].renew(at, slots);
        }
        self.remove(at, slots);
        let slot = slots.get_mut(at);
        (slot.stage, slot.until) = (stage, until);
        self.insert(at, now, slots);
    }

    /// Unlinks a client; its stage and time must be those with which it was linked.
    pub(super) fn remove(&mut self, at: u32, slots: &mut Slots) {
        let &ClientSlot { stage, until, .. } = slots.get(at);
        let piece = self.piece(until);
        let stage = number(stage);
        self.stages[stage].change(piece, |list| list.unlink(at, slots));
        if self.stages[stage].occupied == 0 {
            self.occupied &= !(1 << stage);
        }
    }

    /// A client that expired by `now`.
    pub(super) fn expired(&self, now: Timestamp, slots: &Slots) -> Option<u32> {
        let mut stages = self.occupied;
        while stages != 0 {
            let first = self.stages[stages.trailing_zeros() as usize].first(self.first);
            if first.is_some_and(|at| slots.get(at).until <= now) {
                return first;
            }
            stages &= stages - 1;
        }
        None
    }

    /// The client to evict next: of those that have come least far, the one that expires first.
    pub(super) fn next(&self) -> Option<u32> {
        let stage = match self.occupied & !1 {
            0 => 0,
            half_way => half_way.trailing_zeros() as usize,
        };
        self.stages.get(stage)?.first(self.first)
    }

    /// All clients.
    pub(super) fn into_lists(self) -> impl Iterator<Item = SlotList> {
        self.stages.into_iter().flat_map(|stage| stage.lists)
    }

    /// All clients.
    #[cfg(test)]
    pub(super) fn all(&self, slots: &Slots) -> impl Iterator<Item = u32> {
        self.stages.iter().flat_map(|stage| stage.lists).flat_map(|list| list.iter(slots))
    }

    /// The piece whose list holds clients that expire at `until`.
    fn piece(&self, until: Timestamp) -> u64 {
        (until.0 >> self.shift).max(self.first)
    }

    /// Adjusts the pieces so that there is a list for clients that expire at `until`.
    #[inline]
    fn make_fit(&mut self, until: Timestamp, now: Timestamp, slots: &mut Slots) {
        if self.occupied == 0 {
            // No client is linked, so the pieces can be chosen for this one, with room for twice its time.
            let lasts = until.0.saturating_sub(now.0);
            self.shift = (u64::BITS - lasts.leading_zeros()).saturating_sub(PIECES.ilog2() - 1);
            self.first = now.0 >> self.shift;
        } else if until.0 >> self.shift >= self.first.saturating_add(PIECES as u64) {
            self.move_on(until, now, slots);
        }
    }

    /// Drops pieces that are past, or makes pieces longer, until there is a list for clients that expire at `until`.
    #[cold]
    fn move_on(&mut self, until: Timestamp, now: Timestamp, slots: &mut Slots) {
        loop {
            let piece = until.0 >> self.shift;
            if piece < self.first.saturating_add(PIECES as u64) {
                return;
            }
            let first = piece - (PIECES as u64 - 1);
            if first <= now.0 >> self.shift {
                return self.advance(first, slots);
            }
            self.coarsen(slots);
        }
    }

    /// Moves the first piece to `first`. Clients of earlier pieces, which have expired, are put in front of its list.
    fn advance(&mut self, first: u64, slots: &mut Slots) {
        let over = self.first..first.min(self.first.saturating_add(PIECES as u64));
        for stage in &mut self.stages {
            let mut list = SlotList::EMPTY;
            for piece in over.clone().chain([first]) {
                list.append(stage.take(piece), slots);
            }
            stage.change(first, |place| *place = list);
        }
        self.first = first;
    }

    /// Makes each piece twice as long.
    fn coarsen(&mut self, slots: &mut Slots) {
        for stage in &mut self.stages {
            let mut coarse = Stage { lists: [SlotList::EMPTY; PIECES], occupied: 0 };
            for piece in self.first..self.first.saturating_add(PIECES as u64) {
                let list = stage.take(piece);
                coarse.change(piece >> 1, |place| place.append(list, slots));
            }
            *stage = coarse;
        }
        self.shift += 1;
        self.first >>= 1;
    }
}

impl Stage {
    fn change(&mut self, piece: u64, how: impl FnOnce(&mut SlotList)) {
        let place = place_of(piece);
        how(&mut self.lists[place]);
        let bit = 1 << place;
        if self.lists[place].is_empty() {
            self.occupied &= !bit;
        } else {
            self.occupied |= bit;
        }
    }

    fn take(&mut self, piece: u64) -> SlotList {
        let mut list = SlotList::EMPTY;
        self.change(piece, |place| list = std::mem::replace(place, SlotList::EMPTY));
        list
    }

    /// The client that expires first, pieces counted from this one.
    fn first(&self, piece: u64) -> Option<u32> {
        if self.occupied == 0 {
            return None;
        }
        let from = place_of(piece);
        let distance = self.occupied.rotate_right(u32::try_from(from).unwrap_or_default()).trailing_zeros();
        Some(self.lists[(from + distance as usize) % PIECES].oldest)
    }
}

/// Its place in [`EvictionOrder::stages`].
fn number(stage: u32) -> usize {
    stage.min(STAGES - 1) as usize
}

fn place_of(piece: u64) -> usize {
    usize::try_from(piece % PIECES as u64).unwrap_or_default()
}

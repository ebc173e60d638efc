//! EvictionOrder: which client of a rule goes next, for being expired or for others' sake.
//!
//! Clients are in lists, by how far they have come and by the time when they expire, cut into pieces. The pieces are a sixteenth to an
//! eighth of the time that the rule remembers its clients for, so a client may go before another that expires that much earlier,
//! and that is all: nothing here is ever searched or sorted, however many clients there are.

use super::slots::{ClientSlot, SlotList, Slots};
use crate::knock::Timestamp;

/// How far a client has come, as far as it matters for who goes first; stages beyond the 63rd are as good as that. The last one has stage 0: it is no half-finished knock but
/// what is to be remembered beyond one, such as that it was right a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class(u32);

/// One client of a rule after the other.
#[derive(Debug, Default)]
pub(super) struct EvictionOrder {
    /// By stage, as far as clients have come yet.
    stages: Vec<Stage>,
    /// A bit for each stage that has clients.
    occupied: u64,
    /// A piece of time is 2^this microseconds.
    shift: u32,
    /// The first piece that has a list of its own; who expires earlier is in its list as well, in front if the clock was never set back.
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
    /// Puts in a client that is not there.
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

    /// Changes the stage and the time of a client that is there.
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

    /// Takes out a client that is there; its stage and time must be as they were when it came.
    pub(super) fn remove(&mut self, at: u32, slots: &mut Slots) {
        let &ClientSlot { stage, until, .. } = slots.get(at);
        let piece = self.piece(until);
        let stage = number(stage);
        self.stages[stage].change(piece, |list| list.unlink(at, slots));
        if self.stages[stage].occupied == 0 {
            self.occupied &= !(1 << stage);
        }
    }

    /// A client whose time was up at `now`.
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

    /// Who goes next for others' sake: of those that have come least far, the one that expires first.
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

    /// The piece of time in whose list a client is that expires then.
    fn piece(&self, until: Timestamp) -> u64 {
        (until.0 >> self.shift).max(self.first)
    }

    /// Cuts time so that there is a list for who expires then.
    #[inline]
    fn make_fit(&mut self, until: Timestamp, now: Timestamp, slots: &mut Slots) {
        if self.occupied == 0 {
            // Nobody is there, so it can be cut as it suits this one, with room for as much again.
            let lasts = until.0.saturating_sub(now.0);
            self.shift = (u64::BITS - lasts.leading_zeros()).saturating_sub(PIECES.ilog2() - 1);
            self.first = now.0 >> self.shift;
        } else if until.0 >> self.shift >= self.first.saturating_add(PIECES as u64) {
            self.move_on(until, now, slots);
        }
    }

    /// Lets go of pieces that are over, or makes them longer, until there is a list for who expires then.
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

    /// Lets the pieces begin at `first`. Who expires earlier, and so is expired, goes into that one's list, in front.
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

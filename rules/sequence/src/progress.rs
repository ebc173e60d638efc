//! SequenceProgress: what is remembered of a client between two steps, and between two knocks.

use postern_sdk::{Memory, Timestamp};

/// How far a client has come, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceProgress {
    /// Right steps so far from the first one on, 0 to 63. 0 and no step held: all of them, and the client has to wait before it knocks
    /// again.
    pub(crate) stage: u8,
    /// When the first packet that counts came.
    pub(crate) start: Timestamp,
    /// When the last one came.
    pub(crate) last: Timestamp,
    /// Steps that have overtaken one that is missing, in the order in which they came.
    pub(crate) held: Vec<HeldStep>,
}

/// A step that came before its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldStep {
    /// Which one, counted from 0.
    pub(crate) index: u8,
    /// When it came.
    pub(crate) time: Timestamp,
}

/// Without steps that are held.
const LENGTH: usize = 17;
const HELD_LENGTH: usize = 9;

impl SequenceProgress {
    /// Of a client of which nothing has counted yet.
    pub(crate) const fn none(now: Timestamp) -> Self {
        Self { stage: 0, start: now, last: now, held: Vec::new() }
    }

    /// Whether the client is half way.
    pub(crate) const fn has_begun(&self) -> bool {
        self.stage > 0 || !self.held.is_empty()
    }

    /// Takes the next step as done, and those behind it that are held.
    pub(crate) fn advance(&mut self) {
        self.stage += 1;
        while let Some(at) = self.held.iter().position(|held| held.index == self.stage) {
            self.held.remove(at);
            self.stage += 1;
        }
    }
}

/// The stage, then both times in microseconds, little-endian; then for each step that is held which one, and when.
impl Memory for SequenceProgress {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH + HELD_LENGTH * self.held.len());
        bytes.push(self.stage);
        bytes.extend_from_slice(&self.start.as_micros().to_le_bytes());
        bytes.extend_from_slice(&self.last.as_micros().to_le_bytes());
        for HeldStep { index, time } in &self.held {
            bytes.push(*index);
            bytes.extend_from_slice(&time.as_micros().to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&stage, rest) = bytes.split_first()?;
        let (start, rest) = rest.split_first_chunk()?;
        let (last, rest) = rest.split_first_chunk()?;
        let (held, []) = rest.as_chunks::<HELD_LENGTH>() else { return None };
        let held = held.iter().map(|[index, time @ ..]| HeldStep { index: *index, time: timestamp(*time) });
        Some(Self { stage, start: timestamp(*start), last: timestamp(*last), held: held.collect() })
    }
}

fn timestamp(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_micros(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_as_documented() {
        let mut progress = SequenceProgress {
            stage: 2,
            start: Timestamp::from_micros(0x0102),
            last: Timestamp::from_micros(0x0304),
            held: Vec::new(),
        };
        // What versions before wrote, that knew of no steps that are held.
        let mut bytes = vec![2, 2, 1, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0];
        assert_eq!(progress.to_bytes(), bytes);
        assert_eq!(SequenceProgress::from_bytes(&bytes), Some(progress.clone()));
        assert_eq!(SequenceProgress::from_bytes(&bytes[..16]), None);
        assert_eq!(SequenceProgress::from_bytes(&[0; 18]), None);

        progress.held.push(HeldStep { index: 4, time: Timestamp::from_micros(0x0506) });
        bytes.extend([4, 6, 5, 0, 0, 0, 0, 0, 0]);
        assert_eq!(progress.to_bytes(), bytes);
        assert_eq!(SequenceProgress::from_bytes(&bytes), Some(progress));
    }

    #[test]
    fn a_step_that_comes_brings_those_behind_it_that_are_held() {
        let now = Timestamp::from_micros(0);
        let held = |index| HeldStep { index, time: now };
        let mut progress =
            SequenceProgress { held: vec![held(4), held(2), held(1)], ..SequenceProgress::none(now) };
        progress.advance();
        assert_eq!((progress.stage, progress.held), (3, vec![held(4)]));
    }
}

//! SequenceProgress: what is remembered of a client between two steps, and between two knocks.

use postern_sdk::{Memory, Timestamp};

/// How far a client has come, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceProgress {
    /// Right steps so far, 1 to 63. 0: all of them, and the client has to wait before it knocks again.
    pub(crate) stage: u8,
    /// When the first step came.
    pub(crate) start: Timestamp,
    /// When the last step came.
    pub(crate) last: Timestamp,
}

const LENGTH: usize = 17;

impl SequenceProgress {
    /// Of a client of which nothing has counted yet.
    pub(crate) const fn none(now: Timestamp) -> Self {
        Self { stage: 0, start: now, last: now }
    }

    /// Whether the client is half way.
    pub(crate) const fn has_begun(&self) -> bool {
        self.stage > 0
    }
}

/// The stage, then both times in microseconds, little-endian.
impl Memory for SequenceProgress {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(self.stage);
        bytes.extend_from_slice(&self.start.as_micros().to_le_bytes());
        bytes.extend_from_slice(&self.last.as_micros().to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
        let (stage, times) = bytes.split_first()?;
        let (start, last) = times.split_first_chunk()?;
        let last = last.try_into().ok()?;
        Some(Self {
            stage: *stage,
            start: Timestamp::from_micros(u64::from_le_bytes(*start)),
            last: Timestamp::from_micros(u64::from_le_bytes(last)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_as_documented() {
        let progress = SequenceProgress {
            stage: 2,
            start: Timestamp::from_micros(0x0102),
            last: Timestamp::from_micros(0x0304),
        };
        let bytes = [2, 2, 1, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0];
        assert_eq!(progress.to_bytes(), bytes);
        assert_eq!(SequenceProgress::from_bytes(&bytes), Some(progress));
        assert_eq!(SequenceProgress::from_bytes(&bytes[..16]), None);
        assert_eq!(SequenceProgress::from_bytes(&[0; 18]), None);
    }
}

//! Bounds: how much may be remembered of clients.

use serde::{Deserialize, Serialize};

/// How much may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Clients at once; at least 1, below 2^32 - 1.
    pub entries: usize,
    /// Bytes in all, our own book-keeping included.
    pub bytes: usize,
}

impl Bounds {
    /// Of a rule, unless its file says otherwise: a second of 200,000 made-up first knocks, so that a client with a second between its steps
    /// gets in.
    pub const OF_A_RULE: Self = Self { entries: 1 << 18, bytes: 64 << 20 };
    /// Of all rules together, unless the configuration says otherwise: four rules in such a flood.
    pub const OF_ALL_RULES: Self = Self { entries: 1 << 20, bytes: 256 << 20 };

    /// The lower of each.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { entries: self.entries.min(other.entries), bytes: self.bytes.min(other.bytes) }
    }

    pub(crate) const NOTHING: Self = Self { entries: 0, bytes: 0 };

    /// Whether so much is within these bounds.
    pub(crate) const fn hold(self, used: Self) -> bool {
        used.entries <= self.entries && used.bytes <= self.bytes
    }

    pub(crate) const fn plus(self, more: Self) -> Self {
        Self { entries: self.entries + more.entries, bytes: self.bytes + more.bytes }
    }

    pub(crate) const fn minus(self, less: Self) -> Self {
        Self { entries: self.entries - less.entries, bytes: self.bytes - less.bytes }
    }
}

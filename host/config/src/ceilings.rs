//! Ceilings: what no rule can go beyond.

use std::time::Duration;

use postern_core::Bounds;

/// What no rule can go beyond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ceilings {
    pub(crate) longest: Duration,
    pub(crate) memory: Bounds,
}

impl Ceilings {
    /// The longest opening that `postern.toml` can allow.
    pub(crate) const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

    /// Those of a postern.toml that cannot be read: nothing is beyond them that may not be.
    pub(crate) const UNKNOWN: Self =
        Self { longest: Self::LONGEST, memory: Bounds { entries: usize::MAX, bytes: usize::MAX } };
}

//! Ceilings: what no rule of an owner can go beyond.

use std::ops::RangeInclusive;
use std::time::Duration;

use postern_core::{Bounds, RuleLimits};

use crate::table::Table;

pub(crate) const DEFAULT_LONGEST: Duration = Duration::from_secs(24 * 3600);

/// CPU time of a call.
pub(crate) const CPU: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(100);
/// Bytes of an instance.
pub(crate) const INSTANCE_MEMORY: RangeInclusive<usize> = 64 << 10..=256 << 20;
/// Most rule files of one owner.
pub(crate) const MAX_RULES: usize = 65_536;

/// What no rule of an owner can go beyond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ceilings {
    /// No opening lasts longer.
    pub(crate) longest: Duration,
    /// What is remembered for all of them together.
    pub(crate) memory: Bounds,
    /// How many rule files there may be.
    pub(crate) rules: usize,
    /// What an instance may use.
    pub(crate) instance: RuleLimits,
}

impl Ceilings {
    /// The shortest opening.
    pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
    /// The longest opening that `postern.toml` can allow.
    pub(crate) const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

    /// Those of a postern.toml that cannot be read: nothing is beyond them that may not be.
    pub(crate) const UNKNOWN: Self =
        Self::of_host(Self::LONGEST, Bounds { entries: usize::MAX, bytes: usize::MAX });

    /// How long no opening lasts longer, as `[limits]` says it, if it is there.
    pub(crate) fn read_longest(limits: Option<&Table<'_>>) -> Duration {
        let range = Duration::from_secs(1)..=Self::LONGEST;
        let longest = limits.and_then(|limits| limits.duration("for", range));
        longest.map_or(DEFAULT_LONGEST, |at| at.value)
    }

    /// Those of the host's own rules.
    pub(crate) const fn of_host(longest: Duration, memory: Bounds) -> Self {
        let instance = RuleLimits { cpu: *CPU.end(), memory: *INSTANCE_MEMORY.end() };
        Self { longest, memory, rules: MAX_RULES, instance }
    }
}

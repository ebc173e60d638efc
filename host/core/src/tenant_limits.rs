//! TenantLimits: how much a tenant may use, all its rules together.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bounds::Bounds;

/// How much a tenant may use, all its rules together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantLimits {
    /// CPU time of its rules, in any second. Rules on trial have as much again.
    pub share: CpuShare,
    /// What is remembered of clients.
    pub memory: Bounds,
    /// Openings at once, those that wait for a token or a record included.
    pub openings: usize,
    /// One-time tokens and counters that are kept.
    pub tokens: usize,
    /// Lines that its rules may write a second.
    pub log: u32,
}

/// CPU time of a second of one processor, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CpuShare(u32);

impl CpuShare {
    /// No limit, whatever the number of processors.
    pub const UNLIMITED: Self = Self(u32::MAX);

    /// What rules have unless the configuration says otherwise.
    pub const DEFAULT: Self = Self::percent(25);

    /// So many hundredths of one processor, 1 to 100.
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        Self(percent.saturating_mul(10))
    }

    /// CPU time that may be used in a second, in microseconds; none if there is no limit.
    #[must_use]
    pub const fn micros_a_second(self) -> Option<u64> {
        match self {
            Self::UNLIMITED => None,
            Self(thousandths) => Some(thousandths as u64 * 1000),
        }
    }
}

impl fmt::Display for CpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNLIMITED => f.write_str("no limit"),
            Self(thousandths) if thousandths % 10 == 0 => write!(f, "{}%", thousandths / 10),
            Self(thousandths) => write!(f, "{}.{}%", thousandths / 10, thousandths % 10),
        }
    }
}

//! Claim: the use of something that can be used once, asked of the shell before an opening is ordered.

use std::fmt;

use crate::drop_reason::DropReason;
use crate::tenant::RuleId;
use crate::verdict::Once;

/// A request to use something up, for one opening. The ledger answers each with one [`crate::Event::Claimed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which claim; the answer carries the same number. No order has it.
    pub serial: u64,
    /// Whose: tokens and counters belong to their rule.
    pub rule: RuleId,
    /// What is to be used.
    pub what: ClaimKind,
    /// How many tokens and counters may be kept of all rules of its tenant; none: as many as of all.
    pub most: Option<usize>,
}

/// What can be used once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimKind {
    /// A token or a counter that the rule's verdict names.
    Once(Once),
    /// The sequence of a rule whose sequences are used once, as knockd has them, as it is in a generation.
    Sequence {
        /// The number of the generation.
        generation: u64,
    },
}

impl ClaimKind {
    /// Whether using the one uses up the other, if both are of the same rule.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Once(Once::Token { bytes: one, until: _ }),
                Self::Once(Once::Token { bytes: other, until: _ }),
            ) => one == other,
            // In the next generation it may be the same line of the file once more.
            (Self::Sequence { .. }, Self::Sequence { .. }) => true,
            (one, other) => one == other,
        }
    }
}

/// Why a claim was not granted. What it was for is not opened then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// It was used before.
    AlreadyUsed,
    /// No more can be kept of this rule, or of all rules; forgetting one would make a recorded knock good again.
    Full,
    /// Too many claims wait to be recorded.
    Busy,
    /// It could not be made durable, in words for the log. It may count as used all the same.
    NotRecorded(String),
}

impl ClaimError {
    /// The name of what comes to nothing for it.
    #[must_use]
    pub const fn reason(&self) -> DropReason {
        match self {
            Self::AlreadyUsed => DropReason::AlreadyUsed,
            Self::Full => DropReason::TokensFull,
            Self::Busy => DropReason::LedgerBusy,
            Self::NotRecorded(_) => DropReason::NotRecorded,
        }
    }
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyUsed => "the one-time token or counter was used before",
            Self::Full => {
                "no more one-time tokens can be kept; have the rule say until when it accepts a token, so that old ones can be forgotten"
            }
            Self::Busy => "too many openings wait for their one-time token to be recorded; knock again",
            Self::NotRecorded(words) => words,
        })
    }
}

//! Action: everything that the engine asks of its shell.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::claim::Claim;
use crate::door::{OpeningKey, Order};
use crate::opening_note::OpeningNote;
use crate::report::Report;
use crate::tenant::RuleId;

/// Everything that we can do about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Have a door carry this out, after the orders that came before it for the same door and client.
    Order {
        /// What to do.
        order: Order,
        /// On behalf of which rule; none if it was found open at start.
        rule: Option<RuleId>,
        /// What is to be kept with an opening of a door that keeps the time itself, in place of what was kept before, and to come back with its
        /// listing: whose it is. Empty if nothing is opened.
        note: OpeningNote,
    },
    /// Have something used up before an opening is ordered, durably if possible; the answer is a [`crate::Event::Claimed`]. Judging must not
    /// wait for it.
    Claim(Claim),
    /// Have it on the disk how an opening is closed, before it is ordered, and after the orders that came before it for the same door and
    /// client; the answer is an [`crate::Event::Recorded`]. If the opening is on the disk already, this takes the place of what is there.
    Record {
        /// Which record; the answer carries the same number. No order has it.
        serial: u64,
        /// Which opening.
        key: OpeningKey,
        /// On behalf of which rule.
        rule: RuleId,
        /// How long it will last.
        lasts: Duration,
        /// Whose it is.
        note: OpeningNote,
    },
    /// Have what was recorded of an opening struck out: it was not ordered and will not be. Nobody answers.
    StrikeOut {
        /// Which opening.
        key: OpeningKey,
    },
    /// Write down whose an opening of a door that does not keep the time is, and that it lasts until then, so that the next run knows if this
    /// one is killed. Nothing is to be done at the door, and nobody answers.
    Note {
        /// Which opening.
        key: OpeningKey,
        /// From now.
        lasts: Duration,
        /// Whose it is.
        note: OpeningNote,
    },
    /// Keep the record of an opening, for the operator and for the next run: its door did not close, and the engine does not try again. There
    /// is no answer.
    Abandon {
        /// Which opening.
        key: OpeningKey,
    },
    /// Report something to the observers.
    Tell(Report<'static>),
}

/// Why a door was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// It expired.
    Expired,
    /// A rule said so.
    Asked,
    /// It did not open as it should; half open is not closed.
    Failed,
    /// The daemon stops.
    Stopping,
    /// Another program or the operator closed it.
    Removed,
    /// The door was changed, and cannot be open for such a client any more.
    Changed,
}

impl Why {
    /// The name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Asked => "asked",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

//! Action: everything that the engine asks of its shell.

use std::time::Duration;

use crate::claim::Claim;
use crate::door::{OpeningKey, Order};
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
    },
    /// Have something be used up before an opening is ordered, durably if that can be; the answer is an [`crate::Event::Claimed`]. Nobody may
    /// wait for it who judges.
    Claim(Claim),
    /// Write down that an opening of a door that does not keep the time lasts until then, so that the next run knows if this one is
    /// killed. Nothing is to be done at the door, and nobody answers.
    Note {
        /// Which opening.
        key: OpeningKey,
        /// From now.
        lasts: Duration,
    },
    /// Have what was written down of an opening stay there, for the operator and for the next run: its door did not close, and in
    /// this run nobody tries again. Nobody answers.
    Abandon {
        /// Which opening.
        key: OpeningKey,
    },
    /// Tell whoever wants to know.
    Tell(Report<'static>),
}

/// Why a door was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time was up.
    Expired,
    /// A rule said so.
    Asked,
    /// It did not open as it should; half open is not closed.
    Failed,
    /// The daemon stops.
    Stopping,
    /// Somebody else closed it.
    Removed,
    /// The door was changed, and cannot be open for such a client any more.
    Changed,
}

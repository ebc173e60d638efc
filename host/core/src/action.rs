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
    /// Have something used up before an opening is ordered, durably if possible; the answer is a [`crate::Event::Claimed`]. Judging must not
    /// wait for it.
    Claim(Claim),
    /// Record until when an opening lasts of a door that does not keep the time, so that the next run knows if this one is killed. Nothing is
    /// done at the door, and there is no answer.
    Note {
        /// Which opening.
        key: OpeningKey,
        /// From now.
        lasts: Duration,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

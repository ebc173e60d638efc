//! Action: everything that the engine asks of its shell.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::door::{Key, Order};
use crate::drop_reason::DropReason;
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
    /// Write down that an opening of a door that does not keep the time lasts until then, so that the next run knows if this one is
    /// killed. Nothing is to be done at the door, and nobody answers.
    Note {
        /// Which opening.
        key: Key,
        /// From now.
        lasts: Duration,
    },
    /// Have what was written down of an opening stay there, for the operator and for the next run: its door did not close, and in
    /// this run nobody tries again. Nobody answers.
    Abandon {
        /// Which opening.
        key: Key,
    },
    /// Tell people.
    Tell(Notice),
}

/// What people are told: each is one log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A door is open.
    Opened {
        /// What, for whom, by which rule.
        subject: Subject,
        /// From now.
        lasts: Duration,
    },
    /// An open door stays open longer.
    Extended {
        /// What, for whom, by which rule.
        subject: Subject,
        /// From now.
        lasts: Duration,
    },
    /// A door is closed.
    Closed {
        /// What, for whom, by which rule.
        subject: Subject,
        /// Why.
        why: Why,
    },
    /// A verdict, or a part of one, came to nothing.
    Refused {
        /// What, for whom, by which rule.
        subject: Subject,
        /// Why.
        reason: DropReason,
        /// More about it, in words; may be empty.
        detail: String,
    },
    /// A rule asked for more time than anybody gets, and got less.
    Shortened {
        /// What, for whom, by which rule.
        subject: Subject,
        /// What it asked for.
        asked: Duration,
        /// What it got.
        lasts: Duration,
    },
    /// A door did not close when told to; it is tried again unless this was the last try.
    StuckOpen {
        /// What, for whom, by which rule.
        subject: Subject,
        /// What the door said.
        detail: String,
        /// When the next try is; none: never, a person must look.
        again_in: Option<Duration>,
    },
}

/// What a notice is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The door's name.
    pub door: Arc<str>,
    /// For whom.
    pub client: Client,
    /// The rule; none if the door was found open at start.
    pub rule: Option<RuleId>,
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

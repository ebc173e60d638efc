//! Opening: one door open for one client, and what becomes of it.

use crate::action::Why;
use crate::moment::Moment;
use crate::tenant::RuleId;

/// One door open for one client until a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The rule that opened it last; none if it was found open at start.
    pub rule: Option<RuleId>,
    /// Its state.
    pub state: OpeningState,
    /// The number of the newest order for it; answers to older ones change nothing.
    pub newest_order: u64,
    /// Since when it is open; none if it is not, or was found open.
    pub since: Option<Moment>,
    /// Until when it should be open.
    pub until: Moment,
    /// When the engine must act on it next: close it, retry closing it, or open it again.
    pub due: Moment,
    /// Whether the door closes it by itself, as [`crate::DoorPolicy::keeps_time`] says; the same for all openings of a door.
    pub keeps_time: bool,
    /// Whether the door was found closed and has not been opened again so far.
    pub is_missing: bool,
    /// Whether rules of more than one tenant opened it: none of them closes it then before its time.
    pub is_shared: bool,
}

impl Opening {
    /// An opening without an order so far.
    pub(crate) const fn new(
        rule: Option<RuleId>,
        state: OpeningState,
        until: Moment,
        due: Moment,
        keeps_time: bool,
    ) -> Self {
        let (since, newest_order) = (None, 0);
        Self { rule, state, newest_order, since, until, due, keeps_time, is_missing: false, is_shared: false }
    }
}

/// The state of an opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpeningState {
    /// Nothing was ordered so far: it is being recorded how to close it.
    Recording {
        /// The close that it was to have before, if it was open and may be so still.
        unclosed: Option<UnheardClose>,
    },
    /// The door was told to open and has not answered.
    Opening,
    /// The door's receipt for opening has arrived.
    Open,
    /// The door was ordered to close and has not confirmed it; after a failure the engine retries at [`Opening::due`].
    Closing {
        /// Orders to close so far.
        tries: u32,
        /// Why.
        why: Why,
    },
}

/// A close that had not been confirmed when its door was to be opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnheardClose {
    /// Why.
    pub why: Why,
    /// Orders to close so far.
    pub tries: u32,
    /// The number of the newest of them.
    pub order: u64,
}

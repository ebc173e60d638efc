//! Event: everything that can happen to the engine.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::claim::ClaimError;
use crate::client::Client;
use crate::door::{DoorId, Receipt};
use crate::durability::RecordError;
use crate::listing::Listing;
use crate::opening_note::OpeningNote;
use crate::tenant::{DoorPolicy, Policy, RuleId};
use crate::verdict::{CloseRequest, OpenRequest};

/// Everything that can happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A rule judged that doors should open or close.
    Judged {
        /// Which rule.
        rule: RuleId,
        /// The number of the generation that it judged in. What it asks for counts only if that is in force, or was until a moment ago and the
        /// rule may still do the same.
        generation: u64,
        /// The source of the knock: one address.
        source: Client,
        /// What it asks for.
        request: Request,
    },
    /// A door answered an order.
    Answered(Receipt),
    /// A claim was answered.
    Claimed {
        /// The number of the claim.
        serial: u64,
        /// Used up for this claim, or why not.
        result: Result<(), ClaimError>,
    },
    /// An opening is on the disk, or is not.
    Recorded {
        /// The number of the record.
        serial: u64,
        /// Why it is not.
        result: Result<(), RecordError>,
    },
    /// This is open in the packet filter: when the daemon starts, after a reload, or because somebody else has changed the ruleset. To be
    /// brought after the answers to all orders that were carried out before it was read, and before those to later ones.
    Listed(Listing),
    /// An earlier run opened a door that only a command closes, and could not close it.
    Inherited {
        /// A door of its own, in no policy.
        door: DoorId,
        /// What there is to know of it.
        policy: DoorPolicy,
        /// For whom.
        client: Client,
        /// When it is to be closed, from now.
        remaining: Duration,
        /// Whose it is; empty if nobody knows.
        note: OpeningNote,
    },
    /// These are the rules whose files are gone, though what takes them away is not in force; the files of all others are there.
    Withdrawn {
        /// Which rules.
        rules: HashSet<RuleId>,
        /// Whether a generation is being prepared that may not have them.
        is_reloading: bool,
    },
    /// A new generation of rules and doors is in force, with the next number.
    PolicyChanged(Arc<Policy>),
    /// The daemon is stopping: no door opens any more, and doors that do not close by themselves are closed.
    Stopping,
}

/// What a verdict asks of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Open these.
    Open(Vec<OpenRequest>),
    /// Close these.
    Close(Vec<CloseRequest>),
}

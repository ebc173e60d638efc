//! Event: everything that can happen to the engine.

use std::sync::Arc;
use std::time::Duration;

use crate::claim::ClaimError;
use crate::client::Client;
use crate::door::{DoorId, Receipt};
use crate::tenant::{DoorPolicy, Policy, RuleId};
use crate::verdict::{CloseRequest, OpenRequest};

/// Everything that can happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A rule said that doors should open or close.
    Judged {
        /// Which rule.
        rule: RuleId,
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
    /// A door was found open: by an earlier run of the daemon, when this one starts.
    Found {
        /// The door.
        door: DoorId,
        /// For whom.
        client: Client,
        /// How long it stays open by itself.
        remaining: Duration,
    },
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
    },
    /// A door that should be open was found closed because all that was open at it went: its set was emptied or made anew.
    Lost {
        /// The door.
        door: DoorId,
        /// For whom.
        client: Client,
    },
    /// A door that should be open was found closed for this client while its set lives on: somebody else closed it, and meant it.
    Removed {
        /// The door.
        door: DoorId,
        /// For whom.
        client: Client,
    },
    /// A new generation of rules and doors is in force.
    PolicyChanged(Arc<Policy>),
    /// The daemon is asked to stop: nothing opens any more, and doors that no one else would close are closed.
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

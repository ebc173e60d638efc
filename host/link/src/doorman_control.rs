//! What the supervisor and the doorman say to each other over a [`crate::Talk`]. The supervisor is trusted.

use std::time::Duration;

use postern_core::{ConfigIdentity, DoorId, DoorsTable, GuardDoor, Posture, Release};
use serde::{Deserialize, Serialize};

use crate::answer::WhyNotInPlace;

/// Most bytes of one message in either direction: some four times a table with everything that it may hold.
pub const MOST_DOORMAN_BYTES: usize = 16 << 20;

/// From the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToDoorman {
    /// The first of all; [`FromDoorman::Started`] answers. With a stream for reports, and the owner socket of the doorman before, if there was one.
    Start {
        /// The configuration that the guard belongs to; without one nothing is guarded and no table removed.
        identity: Option<ConfigIdentity>,
        /// Which log lines there are: a filter as `tracing` has it.
        log_filter: String,
        /// The user and the group to become; none to stay.
        account: Option<(u32, u32)>,
        /// For how long the guard is tried; none for good.
        trial: Option<TrialStart>,
    },
    /// Close these ports before anything else is known of the configuration; [`FromDoorman::Done`] answers. Only before any table is in
    /// place.
    Guard {
        /// The answer carries the same number.
        ticket: u64,
        /// Doors that cannot be opened yet. Ports that were guarded before stay so.
        doors: Vec<GuardDoor>,
    },
    /// Take a table that the engine may have put in place later; [`FromDoorman::Took`] answers.
    Table(DoorsTable),
    /// Put a table in place: the one that was in place when the doorman before this one ended. [`FromDoorman::Done`] answers.
    PutInPlace {
        /// The answer carries the same number.
        ticket: u64,
        /// Its number.
        table: u32,
        /// What becomes of ports that it does not guard.
        release: Release,
    },
    /// A guard that is tried stays from now on; [`FromDoorman::Done`] answers.
    Confirm {
        /// The answer carries the same number.
        ticket: u64,
    },
    /// A guard that is tried is to be removed, and no other to be put up; [`FromDoorman::Done`] answers.
    GiveUp {
        /// The answer carries the same number.
        ticket: u64,
    },
    /// Take orders from this engine, and from no other any more. With one end of an [`crate::OrderLink`].
    Engine,
}

/// How a guard is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialStart {
    /// How much is left.
    pub left: Duration,
    /// Whether an earlier doorman has begun it.
    pub is_begun: bool,
}

/// From the doorman.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromDoorman {
    /// It is ready for tables. With a copy of its owner socket, to be passed to the next doorman: as long as anybody holds it the table stays
    /// owned. Without one if nf_tables cannot be talked to.
    Started,
    /// A request is done, or why not.
    Done {
        /// That of the request.
        ticket: u64,
        /// How well the guarded ports are protected now.
        outcome: Result<Posture, NotInPlace>,
    },
    /// It has given up what it does not need.
    Confined {
        /// What holds, in a line.
        held: String,
        /// What is missing, a line each.
        missing: Vec<String>,
    },
    /// A table was taken.
    Took {
        /// Its number.
        table: u32,
    },
    /// The engine had a table put in place.
    InPlace {
        /// Its number.
        table: u32,
    },
}

/// Why doors were not put in place. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct NotInPlace {
    /// Of what kind it is.
    pub why: WhyNotInPlace,
    /// In words for the operator.
    pub text: String,
    /// The doors that are wrong, each with what is wrong with it; empty unless that is why.
    pub mistakes: Vec<(DoorId, String)>,
}

impl NotInPlace {
    /// For another reason than the doors themselves.
    #[must_use]
    pub fn failed(text: impl Into<String>) -> Self {
        Self { why: WhyNotInPlace::Failed, text: text.into(), mistakes: Vec::new() }
    }
}

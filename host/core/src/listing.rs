//! Listing: what is open in the packet filter, as it is read back from there.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::client::Client;
use crate::door::DoorId;

/// What is open in the packet filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// All of it, whoever opened it; sorted by door and client, or the engine sorts it while others wait for it.
    pub openings: Vec<ListedOpening>,
    /// The doors whose sets are the same as when they were last listed: what was open there and is not any more was taken out by somebody,
    /// or its time is over. Sets of any other door are gone, or were made anew.
    pub lived_on: BTreeSet<DoorId>,
}

/// A door that is open in the packet filter for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOpening {
    /// The door.
    pub door: DoorId,
    /// For whom.
    pub client: Client,
    /// How long it stays open by itself.
    pub remaining: Duration,
}

//! Listing: what is open in the packet filter, as it is read back from there.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::client::Client;
use crate::door::DoorId;
use crate::opening_note::OpeningNote;

/// What is open in the packet filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// All openings, also those that other programs made. Sorted by door and client, or the engine sorts them while it holds its lock.
    pub openings: Vec<ListedOpening>,
    /// The doors whose sets are the same as in the last listing: an opening that is missing there expired or was removed on purpose. The sets
    /// of every other door are gone or were made anew.
    pub lived_on: BTreeSet<DoorId>,
}

/// A door that is open in the packet filter for one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedOpening {
    /// The door.
    pub door: DoorId,
    /// For whom.
    pub client: Client,
    /// How long it stays open by itself.
    pub remaining: Duration,
    /// Whose it is, as the engine that ordered it had it noted; empty if nothing was.
    pub note: OpeningNote,
}

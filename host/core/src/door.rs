//! Orders to doors and their receipts: plain data that can be sent to another process. An order has a fixed size; a receipt may carry an
//! error message.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::drop_reason::DropReason;

/// A door, by a number that is never used for another door in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DoorId(pub u32);

/// Which opening: one door, one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpeningKey {
    /// The door.
    pub door: DoorId,
    /// For whom.
    pub client: Client,
    /// Which of several openings at once ([`crate::Again::OpenAnother`]); 0 where opening again extends the first.
    pub occurrence: u64,
}

/// Something to do to a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which order; the receipt carries the same number.
    pub serial: u64,
    /// To which door.
    pub door: DoorId,
    /// For whom.
    pub client: Client,
    /// As in [`OpeningKey::occurrence`].
    pub occurrence: u64,
    /// What.
    pub act: Act,
}

/// What an order asks for. Repeating one does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Open for this long from now.
    Open(Duration),
    /// Open already: stay open for this long from now instead.
    Extend(Duration),
    /// Close now, if it is open.
    Close,
    /// The opening has expired: make sure that it is closed. Only for doors that keep the time themselves and have closed it already, unless
    /// their clock is late.
    Expire,
}

/// A door's answer to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The number of the order.
    pub serial: u64,
    /// Done, or why not.
    pub outcome: Result<(), OrderError>,
}

/// Why an order was not carried out, in words for the log. A part of it may have been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderError {
    reason: DropReason,
    words: String,
}

impl OrderError {
    /// What it counts as if nothing comes of an opening, and more about it in words.
    #[must_use]
    pub fn new(reason: DropReason, words: impl Into<String>) -> Self {
        Self { reason, words: words.into() }
    }

    /// What it counts as if nothing comes of an opening.
    #[must_use]
    pub const fn reason(&self) -> DropReason {
        self.reason
    }
}

impl From<String> for OrderError {
    /// The door itself failed.
    fn from(words: String) -> Self {
        Self::new(DropReason::DoorFailed, words)
    }
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

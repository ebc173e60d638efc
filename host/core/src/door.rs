//! What is said to a door and what it answers: small, fixed in size, fit to cross a process boundary.

use std::fmt;
use std::time::Duration;

use crate::client::Client;

/// A door, by a number that is never used for another door in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DoorId(pub u32);

/// Which opening: one door, one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpeningKey {
    /// The door.
    pub door: DoorId,
    /// For whom.
    pub client: Client,
    /// Which of several; 0 where opening again extends.
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
    /// Which of several openings of the door for this client; 0 where there is only one.
    pub occurrence: u64,
    /// What.
    pub act: Act,
}

/// What an order asks for. Each is harmless when repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Open for this long from now.
    Open(Duration),
    /// Open already: stay open for this long from now instead.
    Extend(Duration),
    /// Close now, if it is open.
    Close,
    /// Its time is over: make sure that it is closed. Only for doors that keep the time themselves, which closed it unless their clock
    /// is late.
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

/// Why an order was not carried out, in words for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderError {
    /// Nothing was begun: how to close the door could not be written down before. The door is as it was.
    NotRecorded(String),
    /// It was begun, and a part of it may have been done.
    Failed(String),
}

impl From<String> for OrderError {
    fn from(words: String) -> Self {
        Self::Failed(words)
    }
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NotRecorded(words) | Self::Failed(words)) = self;
        f.write_str(words)
    }
}

//! DoorsTable: what the supervisor gives the doorman: which doors there are, and how much the engine may ask of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::door::DoorId;
use crate::net_door::NetDoor;

/// The doors of the packet filter under a number. Both the engine and the doorman go by it, so that neither misreads the other over a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorsTable {
    /// From 1 on; a later table has a higher number.
    pub number: u32,
    /// The doors.
    pub doors: Vec<(DoorId, NetDoor)>,
    /// What may be asked of them.
    pub limits: OrderLimits,
}

/// What the doorman lets the engine do, whatever has become of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLimits {
    /// The longest opening.
    pub longest: Duration,
    /// Most openings at once, of all doors.
    pub most_openings: usize,
    /// Most orders a second, over time. So many more as there may be openings twice come at once: what another program removed is opened
    /// again, and was closed before.
    pub orders_per_second: u32,
}

impl OrderLimits {
    /// Orders a second that are more than any network knocks for, and leave the kernel most of its time: each takes it some 3 us.
    pub const ORDERS_PER_SECOND: u32 = 20_000;
}

//! Likeness: which captured packets count as copies of one packet.

use serde::{Deserialize, Serialize};

/// How alike copies of one packet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Likeness {
    /// Equal in every byte. A forwarded packet is another packet.
    Exact,
    /// Equal except in what routers change: for captures that see a packet come in and leave again.
    AcrossRouters,
}

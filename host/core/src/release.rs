//! Release: what becomes of ports that a new configuration does not guard.

use serde::{Deserialize, Serialize};

/// Whether ports that no door names any more are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Release {
    /// At once. For a configuration that is right as a whole.
    Now,
    /// Not yet: all guarded ports stay guarded, and openings there last until their timeout if the table still has the door's chain.
    Later,
}

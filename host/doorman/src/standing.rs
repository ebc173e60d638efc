//! Standing: what stands of the table `inet postern` before a daemon starts. It changes nothing.

use postern_core::ConfigIdentity;

use crate::error::DoormanError;
use crate::inventory::Inventory;
use crate::socket::Socket;

/// What there is of a configuration's guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No table.
    Absent,
    /// A table that a daemon of this configuration left, or that it would adopt.
    Left,
    /// A daemon of this configuration runs.
    Kept,
}

/// What stands for the configuration of this identity.
///
/// # Errors
/// What would keep its daemon from guarding: [`DoormanError::Owned`], [`DoormanError::OtherConfiguration`], or nftables cannot be reached.
pub fn standing(ours: &ConfigIdentity) -> Result<Standing, DoormanError> {
    let mut socket = Socket::open().map_err(DoormanError::Unreachable)?;
    let Some(present) = Inventory::take(&mut socket)? else { return Ok(Standing::Absent) };
    let is_ours = present.identity.as_ref().is_none_or(|theirs| theirs.is(ours));
    match (present.table.is_of_another(socket.port()), is_ours, present.identity) {
        (true, true, Some(_)) => Ok(Standing::Kept),
        (true, _, identity) => Err(DoormanError::Owned(identity)),
        (false, false, Some(identity)) => Err(DoormanError::OtherConfiguration(identity)),
        (false, _, _) => Ok(Standing::Left),
    }
}

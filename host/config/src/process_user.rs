//! ProcessUser: a user that a process of the daemon becomes.

use nix::unistd::User;
use serde::{Deserialize, Serialize};

/// An account of this machine, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUser {
    /// Its number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
}

impl ProcessUser {
    /// The account of that name; none if there is none, or if it cannot be looked up.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let user = User::from_name(name).ok().flatten()?;
        Some(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
    }
}

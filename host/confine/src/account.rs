//! The user that a process becomes. Owns the change of user, group and supplementary groups, and nothing else.

use std::io;

use nix::unistd::User;
use rustix::process::{Gid, Uid, getegid, geteuid, getgid, getgroups, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// A user and its group, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// Its only group: supplementary groups are given up.
    pub gid: u32,
}

impl Account {
    /// The account of that name, `None` if there is no such account. Looks it up as the system is configured to, in files or over the
    /// network, so it belongs before a process is confined, best in the process that starts it.
    ///
    /// # Errors
    ///
    /// When the accounts of this system cannot be read.
    pub fn named(name: &str) -> io::Result<Option<Self>> {
        let user = User::from_name(name)?;
        Ok(user.map(|user| Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
    }

    /// The account that this process runs as.
    pub fn own() -> Self {
        Self { uid: geteuid().as_raw(), gid: getegid().as_raw() }
    }

    /// Becomes this account for good: real, effective and saved, with no other group. The order is that of rights: whoever has
    /// changed its user may no longer change its groups.
    pub(crate) fn enter(self) -> rustix::io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)
    }

    /// Whether this process is that account already, and in no group beside its own.
    pub(crate) fn is_entered(self) -> bool {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let ids = getuid() == uid && geteuid() == uid && getgid() == gid && getegid() == gid;
        ids && getgroups().is_ok_and(|groups| groups.iter().all(|it| *it == gid))
    }
}

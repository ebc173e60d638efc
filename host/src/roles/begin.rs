//! Begin: what every role does first: it gives up what it does not need, and has its reports told to the supervisor.

use std::io;
use std::os::fd::OwnedFd;

use postern_confine::{Account, Confinement};

use crate::observe::{Telling, tell_supervisor};

/// What the supervisor says to a role first.
#[derive(Debug)]
pub struct RoleStart<'a> {
    /// Which lines of the log are written, as `tracing` has it.
    pub log_filter: &'a str,
    /// The user and the group to become; none to stay.
    pub account: Option<(u32, u32)>,
    /// Where reports go.
    pub reports: OwnedFd,
}

/// What came of giving up what is not needed.
#[derive(Debug)]
pub struct WhatHolds {
    /// What holds, in a line.
    pub held: String,
    /// What is missing, a line each.
    pub missing: Vec<String>,
}

impl RoleStart<'_> {
    /// The observer whose reports go to the supervisor.
    pub(crate) fn observe(self) -> io::Result<Telling> {
        tell_supervisor(self.reports, self.log_filter).map_err(io::Error::other)
    }
}

/// Gives up everything but what `kept` says, and becomes this user. Only for a process that has no second thread yet.
///
/// # Errors
/// If it has one.
pub(crate) fn confine(account: Option<(u32, u32)>, kept: Confinement) -> io::Result<WhatHolds> {
    let account = account.map_or_else(Account::own, |(uid, gid)| Account { uid, gid });
    let held = Confinement { account, ..kept }.apply().map_err(io::Error::other)?;
    Ok(WhatHolds {
        missing: held.missing().iter().map(ToString::to_string).collect(),
        held: held.to_string(),
    })
}

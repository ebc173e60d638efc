//! What a process keeps.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::thread::CapabilitySet;

use crate::account::Account;
use crate::limits::Limits;
use crate::system_calls::SystemCalls;

/// What a process keeps. The default keeps as little as can be, and stays the user that it is.
#[derive(Debug)]
pub struct Confinement {
    /// The user to become. [`Account::own`] stays what it is; that is a missing barrier unless `may_share_user`.
    pub account: Account,
    /// Whether it is no news that the process runs as a user that other processes run as.
    pub may_share_user: bool,
    /// Capabilities that are kept, if they were there. [`Held::capabilities`](crate::Held::capabilities) has what is left.
    pub capabilities: Capabilities,
    /// Whether programs that it starts may gain rights (`sudo`). Not together with `system_calls`, which the kernel puts on nobody who may.
    pub may_gain_privileges: bool,
    /// Files, and with them TCP, signals and abstract sockets.
    pub files: Files,
    /// The list of system calls, `None` for all.
    pub system_calls: Option<SystemCalls>,
    /// How much of the machine.
    pub limits: Limits,
}

/// Which capabilities a process keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capabilities {
    /// All as they are, in all sets, so that programs that it starts have them as well. A change of user loses what it loses.
    All,
    /// These, if they were there, for itself: a program that it starts has none.
    Only(CapabilitySet),
}

impl Capabilities {
    /// No capability.
    pub const NONE: Self = Self::Only(CapabilitySet::empty());
}

/// What of the file system a process keeps.
#[derive(Debug)]
pub enum Files {
    /// All that its user may. No Landlock: nor for TCP, signals and abstract sockets.
    All,
    /// What stands beneath these, and only to be read; with none, nothing. What is open already stays open. TCP, signals to processes
    /// outside and abstract sockets of others are gone as well.
    Readable(Vec<OwnedFd>),
}

impl Files {
    /// No file.
    pub const NONE: Self = Self::Readable(Vec::new());

    /// What stands beneath these paths. They are opened now, with the rights of now.
    ///
    /// # Errors
    ///
    /// The first that cannot be opened.
    pub fn beneath<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> io::Result<Self> {
        let open = |path: P| Ok(open(path.as_ref(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
        paths.into_iter().map(open).collect::<io::Result<_>>().map(Self::Readable)
    }
}

impl Default for Confinement {
    fn default() -> Self {
        Self {
            account: Account::own(),
            may_share_user: false,
            capabilities: Capabilities::NONE,
            may_gain_privileges: false,
            files: Files::NONE,
            system_calls: None,
            limits: Limits::default(),
        }
    }
}

//! CommandDoor: what a door of commands is, as the configuration says it.

use std::ffi::OsString;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a command's argument may be filled with, in braces.
pub const PLACEHOLDERS: [&str; 4] = ["ip", "door", "rule", "seconds"];

/// The environment variable by which a knockd that leaves its terminal tells the process that stays from the one that launched it. No
/// command gets it.
pub const KNOCKD_DAEMON_VAR: &str = "POSTERN_KNOCKD_DAEMON";

/// Commands as knockd runs them: each a line for `/bin/sh`, none of them required.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellDoor {
    /// Opens.
    #[serde(with = "crate::os_text::optional")]
    pub start: Option<OsString>,
    /// Opens for IPv6 clients, instead.
    #[serde(with = "crate::os_text::optional")]
    pub start_6: Option<OsString>,
    /// Closes.
    #[serde(with = "crate::os_text::optional")]
    pub stop: Option<OsString>,
    /// Closes for IPv6 clients, instead.
    #[serde(with = "crate::os_text::optional")]
    pub stop_6: Option<OsString>,
}

impl ShellDoor {
    /// The commands that open and close for a client of IPv6, or of IPv4. One that is there but empty counts as there.
    #[must_use]
    pub fn commands(&self, is_ipv6: bool) -> (Option<&OsString>, Option<&OsString>) {
        match is_ipv6 {
            true => {
                (self.start_6.as_ref().or(self.start.as_ref()), self.stop_6.as_ref().or(self.stop.as_ref()))
            }
            false => (self.start.as_ref(), self.stop.as_ref()),
        }
    }
}

/// A pair of commands. Each is a program and its arguments; no shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandDoor {
    /// Opens.
    pub open: Vec<String>,
    /// Closes; empty: nothing to run.
    pub close: Vec<String>,
    /// A command that runs longer is killed.
    pub timeout: Duration,
    /// The account that the commands run as; none: the daemon's own user.
    pub user: Option<String>,
}

//! HookRun: a command that is to be run because something happened.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::tenant::TenantId;

/// A command that is to be run because something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRun {
    /// The place of its hook in the configuration: few commands of one hook run at once.
    pub hook: u32,
    /// Its file and line, for messages.
    pub place: String,
    /// Whose it is that something happened, the host's if it is nobody else's: few commands for one owner run at once.
    pub owner: TenantId,
    /// The program, by its full path, and its arguments. No shell, and nothing is filled in.
    pub argv: Vec<String>,
    /// The account; none: that of the process which runs it.
    pub user: Option<String>,
    /// It is killed after so long.
    pub limit: Duration,
    /// What it reads: what happened, as an object of JSON in a line.
    pub event: String,
    /// What it finds in its environment, by name, besides a `PATH`.
    pub environment: Vec<(String, String)>,
}

impl HookRun {
    /// What the hook of this place in the configuration is called.
    #[must_use]
    pub fn name_of(hook: u32) -> String {
        format!("hooks[{hook}]")
    }
}

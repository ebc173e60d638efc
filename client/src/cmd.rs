//! The commands, a file each.

#[cfg(unix)]
pub mod ask;
pub mod knock;
pub mod profiles;

use std::path::PathBuf;

use crate::exit::CommandFailure;
use crate::profile::default_path;

/// The file that was named, or the user's own.
fn profiles_path(named: Option<&PathBuf>) -> Result<PathBuf, CommandFailure> {
    named.cloned().or_else(default_path).ok_or_else(|| {
        CommandFailure::usage(anyhow::anyhow!(
            "there is no folder for configuration, because HOME is not set; name a file with -f"
        ))
    })
}

//! Program: this very binary, to be executed again as another process of the daemon.
//!
//! It is opened once, so that an upgrade of the file does not mix versions: what is started later is what runs now.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use postern_link::Talk;

/// The binary that this process runs.
#[derive(Debug)]
pub(crate) struct Program(File);

impl Program {
    /// Opens it.
    ///
    /// # Errors
    /// If there is no procfs, or there are too many open files.
    pub(crate) fn open() -> io::Result<Self> {
        File::open("/proc/self/exe").map(Self)
    }

    /// Starts it as a role, and gives back the talk with it: its standard input. Its standard output is closed; its standard error is ours.
    /// A terminal's signals do not reach it.
    ///
    /// # Errors
    /// If the system has no process for it.
    pub(crate) fn start(&self, role: &str) -> io::Result<(Child, Talk)> {
        let (ours, of_role) = Talk::pair()?;
        let mut command = Command::new(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        command.arg0(format!("posternd: {role}")).args(["role", role]).process_group(0);
        command.stdin(std::os::fd::OwnedFd::from(of_role)).stdout(Stdio::null());
        // Dropping `command` closes our copy of the role's end, so the talk ends with the role.
        Ok((command.spawn()?, ours))
    }
}

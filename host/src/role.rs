//! Role: what a process of the daemon does that is not the first, and how it is started: `posternd role NAME`, which nobody calls by hand.
//!
//! Standard input of such a process is its link to the one that started it.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::ValueEnum;
use postern_link::Talk;
use rustix::fs::{Mode, OFlags, open};

/// What such a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Gives up what an engine does, says what of it holds here, and ends.
    Barriers,
    /// Compiles one module.
    Compiler,
    /// Keeps the doors of the packet filter.
    Doorman,
    /// Sees packets and runs rules.
    Engine,
    /// Reads what is in the folder of one tenant, as its user.
    Reader,
    /// Runs commands.
    Runner,
}

impl Role {
    /// Its name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Barriers => "barriers",
            Self::Compiler => "compiler",
            Self::Doorman => "doorman",
            Self::Engine => "engine",
            Self::Reader => "reader",
            Self::Runner => "runner",
        }
    }
}

/// The program that this process runs. An upgrade puts another file in its place, but does not change this one.
#[derive(Debug)]
pub(crate) struct OwnProgram(OwnedFd);

impl OwnProgram {
    /// Finds it.
    ///
    /// # Errors
    /// If `/proc` is not there.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self(open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// A command that runs it in a role, with nothing of this process's environment unless it runs commands, and the other end of its link.
    ///
    /// # Errors
    /// If there are too many open files.
    pub(crate) fn command(&self, role: Role) -> io::Result<(Command, Talk)> {
        let (own, its) = Talk::pair()?;
        let mut command = Command::new(format!("/proc/self/fd/{}", self.0.as_fd().as_raw_fd()));
        command.arg0(format!("posternd: {}", role.name())).args(["role", role.name()]);
        command.stdin(OwnedFd::from(its));
        // Commands get what the daemon was started with.
        if role != Role::Runner {
            command.env_clear().current_dir("/");
        }
        Ok((command, own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for role in Role::value_variants() {
            assert_eq!(role.to_possible_value().unwrap().get_name(), role.name());
        }
    }
}

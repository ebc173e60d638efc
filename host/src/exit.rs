//! Exit: the exit codes.

use std::process::{ExitCode, Termination};

/// How the daemon, or one of its subcommands, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well: a stop that was asked for, or a configuration without mistakes.
    Success,
    /// There are mistakes in the configuration, a rule does not do what a scenario expects, or something of this machine keeps the daemon from
    /// its work.
    Mistakes,
    /// What was asked for cannot be understood: a wrong command line, which the argument parser answers itself, a wrong scenario, or a
    /// configuration for which no machine can be looked at.
    Usage,
    /// The system does not let us work: missing capabilities, another daemon, no memory.
    CannotRun,
    /// It was tried, and ends unconfirmed: what it guarded is open again.
    NotConfirmed,
    /// Stopped before all doors were closed, because of a second signal or because it took too long.
    Untidy,
}

impl Exit {
    /// The exit code.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Mistakes | Self::NotConfirmed => 1,
            Self::Usage => 2,
            Self::CannotRun => 3,
            Self::Untidy => 4,
        }
    }

    /// The end with this exit code; any other code is that of a daemon that cannot run.
    #[must_use]
    pub const fn of_number(number: u8) -> Self {
        match number {
            0 => Self::Success,
            1 => Self::Mistakes,
            2 => Self::Usage,
            4 => Self::Untidy,
            _ => Self::CannotRun,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.number())
    }
}

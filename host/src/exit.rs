//! Exit: the exit codes.

use std::process::{ExitCode, Termination};

/// How the daemon, or one of its subcommands, ended. Code 2 is a wrong command line, which the argument parser answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well: a stop that was asked for, or a configuration without mistakes.
    Success,
    /// There are mistakes in the configuration.
    Mistakes,
    /// The system does not let us work: missing capabilities, another daemon, no memory.
    CannotRun,
    /// Stopped before all doors were closed, because of a second signal or because it took too long.
    Untidy,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        match self {
            Self::Success => ExitCode::SUCCESS,
            Self::Mistakes => ExitCode::from(1),
            Self::CannotRun => ExitCode::from(3),
            Self::Untidy => ExitCode::from(4),
        }
    }
}

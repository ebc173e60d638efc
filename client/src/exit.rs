//! Exit: the exit codes, and what is said with them.

use std::process::{ExitCode, Termination};

use postern_text::{Mistakes, chain};

/// How a command ended. A command that a profile runs at the end of its knock ends with a code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The knock was sent; if a door was waited for, it is open. Of a daemon that was asked: all is well.
    Success,
    /// It could not be done: no such name, no route, the door did not open in time.
    Failure,
    /// What was asked for makes no sense, on the command line or in a profile. Nothing was sent.
    Usage,
    /// No daemon answers.
    NoDaemon,
    /// This user may not ask the daemon for that.
    NotAllowed,
}

impl Exit {
    /// What the system hears.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NoDaemon => 3,
            Self::NotAllowed => 4,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.number())
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub struct CommandFailure {
    /// How to end.
    pub exit: Exit,
    /// What to say.
    pub error: anyhow::Error,
}

impl CommandFailure {
    /// It makes no sense.
    #[must_use]
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, error: error.into() }
    }

    /// What to say, line by line; nothing if the reader of what was said has closed the pipe, who has seen enough.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let is_closed = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
        if self.error.downcast_ref().is_some_and(is_closed) {
            return Vec::new();
        }
        if let Some(mistakes) = self.error.downcast_ref::<Mistakes>() {
            // They begin with their file, so that editors find the place.
            let count = format!("postern: {}", mistakes.count());
            return mistakes.iter().map(ToString::to_string).chain([count]).collect();
        }
        match self.error.downcast_ref::<Nonsense>() {
            Some(Nonsense(all)) => all.iter().map(|what| format!("postern: {what}")).collect(),
            None => vec![format!("postern: {}", chain(&*self.error))],
        }
    }
}

/// Everything that makes no sense in what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Nonsense(pub Vec<String>);

impl<E: Into<anyhow::Error>> From<E> for CommandFailure {
    fn from(error: E) -> Self {
        Self { exit: Exit::Failure, error: error.into() }
    }
}

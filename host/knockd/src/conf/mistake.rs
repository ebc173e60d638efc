//! ConfMistake: what is wrong, in knockd's words, and what to do, in ours.

use std::path::PathBuf;

use thiserror::Error;

use super::sequence::SequenceError;
use super::syntax::SyntaxError;

/// One thing that the daemon cannot follow. It shows as knockd's message, then the remedy, then the place.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{} ({}:{line})", self.words(), .file.display())]
pub(crate) struct ConfMistake {
    /// The configuration it is in.
    pub(crate) file: PathBuf,
    /// In which line, from 1, counted as knockd counts: a line over 4095 bytes counts as several.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) problem: ConfProblem,
}

impl ConfMistake {
    /// The message and the remedy, without the place.
    pub(crate) fn words(&self) -> String {
        format!("{}; {}", self.problem.said(self.line), self.problem.remedy())
    }

    /// What knockd also gives to the log channel, which at start is syslog only; none for most mistakes.
    pub(crate) fn for_log(&self) -> Option<crate::log::KnockdMessage> {
        use crate::log::KnockdMessage;
        match &self.problem {
            ConfProblem::Sequence { error: SequenceError::Port(_) | SequenceError::NoPort, .. } => None,
            ConfProblem::Sequence { door, error } => {
                Some(KnockdMessage::BadSequence { door: door.clone(), error: error.clone() })
            }
            ConfProblem::OneTimeSpent { door, .. } => {
                Some(KnockdMessage::OneTimeEmpty { door: door.clone() })
            }
            _ => None,
        }
    }
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConfProblem {
    /// A directive above the first section, or a line there that is no directive, for this reason.
    NoSection(Option<SyntaxError>),
    /// The file begins with a byte order mark.
    ByteOrderMark,
    /// `[]`.
    NoSectionName,
    /// A line that knockd answers with "syntax error" alone.
    Syntax(SyntaxError),
    /// The item of `TCPFlags`, in capitals.
    UnknownFlag(String),
    /// A `Sequence` that does not parse.
    Sequence {
        /// Of which door.
        door: String,
        /// What is wrong with it.
        error: SequenceError,
    },
    /// A door without steps.
    NoSequence {
        /// Which door.
        door: String,
    },
    /// The file of one-time sequences cannot be opened for reading and writing.
    OneTimeClosed {
        /// Of which door.
        door: String,
        /// The file.
        path: PathBuf,
        /// The system's word for it.
        why: String,
    },
    /// No unused line in the file of one-time sequences.
    OneTimeSpent {
        /// Of which door.
        door: String,
        /// The file.
        path: PathBuf,
    },
}

impl ConfProblem {
    /// knockd's message.
    fn said(&self, line: usize) -> String {
        match self {
            Self::NoSection(_) | Self::ByteOrderMark => {
                format!("config: line {line}: all directives must belong to a section")
            }
            Self::NoSectionName => format!("config: line {line}: bad section name"),
            Self::Syntax(_) => format!("config: line {line}: syntax error"),
            Self::UnknownFlag(item) => format!("config: line {line}: unrecognized flag \"{item}\""),
            Self::Sequence { door, error } => format!("config: section {door}: {error}"),
            Self::NoSequence { door } => format!("error: section '{door}' has an empty knock sequence"),
            Self::OneTimeClosed { path, why, .. } => format!("{}: {why}", path.display()),
            Self::OneTimeSpent { door, .. } => one_time_spent(door),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::NoSection(None) => "write [options] or the [name] of a door above it".to_owned(),
            Self::ByteOrderMark => "save the file without a byte order mark".to_owned(),
            Self::NoSectionName => "write the name of a door, or options, between the brackets".to_owned(),
            Self::NoSection(Some(error)) | Self::Syntax(error) => error.remedy(),
            Self::UnknownFlag(_) => {
                "use FIN, SYN, RST, PSH, ACK and URG, each with or without !, commas between them and no blanks"
                    .to_owned()
            }
            Self::Sequence { error, .. } => error.remedy(),
            Self::NoSequence { .. } => "add Sequence or One_Time_Sequences".to_owned(),
            Self::OneTimeClosed { door, .. } => format!(
                "make a file there that can be read and written, or correct One_Time_Sequences of door {door}"
            ),
            Self::OneTimeSpent { path, .. } => {
                format!("add unused sequences to {}, or remove the door", path.display())
            }
        }
    }
}

/// knockd's words for a door whose one-time file has nothing left.
pub(crate) fn one_time_spent(door: &str) -> String {
    format!("no more sequences left in the one time sequences file for door {door} --> disabling the door")
}

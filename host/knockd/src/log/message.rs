//! KnockdMessage: everything that knockd says, and on which channels.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::conf::{SequenceError, one_time_spent};

/// The source of a knock, as log lines name it: the address, and with `-l` the name in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedSource {
    /// The address.
    pub(crate) address: IpAddr,
    /// What reverse DNS calls it. An outsider chose it, so all but the characters of host names shows as `?`.
    pub(crate) host: Option<String>,
}

impl fmt::Display for NamedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        let Some(host) = &self.host else { return Ok(()) };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let host: String = host.chars().take(255).map(|c| if is_plain(c) { c } else { '?' }).collect();
        write!(f, " ({host})")
    }
}

/// One thing to say. Its fields are what the words are made of: `door` a section's name, `stage` from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KnockdMessage {
    /// The daemon listens.
    Started { interface: String },
    /// A step matched.
    Stage { source: NamedSource, door: String, stage: usize },
    /// The last step matched; comes after its `Stage`.
    OpenSesame { source: NamedSource, door: String },
    /// An attempt expired.
    SequenceTimeout { source: NamedSource, door: String, stage: usize },
    /// Ours: an attempt failed, and why; knockd says so only with its next packet.
    StartsOver { source: NamedSource, door: String, why: String },
    /// A start or stop command is about to run; `command` has the address in place.
    RunningCommand { door: String, command: OsString },
    /// A stop command is due.
    CommandTimeout { source: NamedSource, door: String },
    /// A command ended with another status than 0.
    CommandFailed { door: String, status: i32 },
    /// A command could not be started at all.
    ForkFailed,
    /// The start command is 4096 bytes or more with the address in place.
    StartTooLong,
    /// The stop command is 4096 bytes or more with the address in place.
    StopTooLong,
    /// A sequence in the configuration or in a one-time file does not parse.
    BadSequence { door: String, error: SequenceError },
    /// A one-time file has nothing left.
    OneTimeEmpty { door: String },
    /// A one-time sequence could not be crossed out.
    OneTimeWriteFailed { door: String, why: String },
    /// The pidfile could not be written.
    NoPidFile { path: PathBuf, why: String },
    /// The logfile could not be opened.
    NoLogFile { path: PathBuf, why: String },
    /// A reload begins.
    Rereading { path: PathBuf },
    /// The logfile is about to be closed; `path` is already the new one.
    ClosingLogFile { path: PathBuf },
    /// The logfile was opened again.
    ReopeningLogFile { path: PathBuf },
    /// Ours: a reload found mistakes, and the running configuration stays.
    ReloadRefused { path: PathBuf, mistakes: usize },
    /// Ours: something that knockd has no message for, and the operator must know.
    Ours { text: String },
    /// The first line of the shutdown.
    WaitingForChildren,
    /// The last line of the shutdown.
    ShuttingDown,
}

impl KnockdMessage {
    /// The source of the knock that it is about, if it is about one.
    pub(crate) fn source_mut(&mut self) -> Option<&mut NamedSource> {
        match self {
            Self::Stage { source, .. }
            | Self::OpenSesame { source, .. }
            | Self::SequenceTimeout { source, .. }
            | Self::StartsOver { source, .. }
            | Self::CommandTimeout { source, .. } => Some(source),
            _ => None,
        }
    }

    /// What the log gets, uncut, and the line feed behind it where knockd has one of its own.
    pub(crate) fn log(&self) -> Option<(String, &'static str)> {
        let feed = match self {
            Self::NoLogFile { .. } | Self::StartsOver { .. } => return None,
            Self::SequenceTimeout { .. }
            | Self::RunningCommand { .. }
            | Self::BadSequence { .. }
            | Self::OneTimeEmpty { .. }
            | Self::OneTimeWriteFailed { .. }
            | Self::Rereading { .. }
            | Self::ClosingLogFile { .. }
            | Self::ReopeningLogFile { .. } => "\n",
            _ => "",
        };
        Some((self.to_string(), feed))
    }

    /// What standard output gets with `-v`, without line feed.
    pub(crate) fn verbose(&self) -> Option<String> {
        match self {
            Self::Started { interface } => Some(format!("listening on {interface}...")),
            Self::ShuttingDown => Some("closing...".to_owned()),
            Self::Stage { .. }
            | Self::OpenSesame { .. }
            | Self::SequenceTimeout { .. }
            | Self::RunningCommand { .. }
            | Self::CommandTimeout { .. }
            | Self::Rereading { .. }
            | Self::ClosingLogFile { .. }
            | Self::ReopeningLogFile { .. }
            | Self::WaitingForChildren => Some(self.to_string()),
            _ => None,
        }
    }

    /// What standard error gets, without line feed.
    pub(crate) fn stderr(&self) -> Option<String> {
        match self {
            Self::BadSequence { door, error } => Some(format!("config: section {door}: {error}")),
            Self::CommandFailed { .. }
            | Self::ForkFailed
            | Self::StartTooLong
            | Self::StopTooLong
            | Self::OneTimeEmpty { .. }
            | Self::OneTimeWriteFailed { .. }
            | Self::NoPidFile { .. }
            | Self::NoLogFile { .. }
            | Self::ReloadRefused { .. } => Some(self.to_string()),
            Self::Ours { .. } => Some(format!("knockd: {self}")),
            _ => None,
        }
    }

    /// What standard output gets with `-D`, without line feed.
    pub(crate) fn debug(&self) -> Option<String> {
        match self {
            Self::StartsOver { .. } => Some(self.to_string()),
            _ => None,
        }
    }
}

/// The words for the log.
impl fmt::Display for KnockdMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { interface } => write!(f, "starting up, listening on {interface}"),
            Self::Stage { source, door, stage } => write!(f, "{source}: {door}: Stage {stage}"),
            Self::OpenSesame { source, door } => write!(f, "{source}: {door}: OPEN SESAME"),
            Self::SequenceTimeout { source, door, stage } => {
                write!(f, "{source}: {door}: sequence timeout (stage {stage})")
            }
            Self::StartsOver { source, door, why } => write!(f, "{source}: {door}: starts over: {why}"),
            Self::RunningCommand { door, command } => {
                write!(f, "{door}: running command: {}", command.display())
            }
            Self::CommandTimeout { source, door } => write!(f, "{source}: {door}: command timeout"),
            Self::CommandFailed { door, status } => {
                write!(f, "{door}: command returned non-zero status code ({status})")
            }
            Self::ForkFailed => f.write_str("error: command fork failed!"),
            Self::StartTooLong => {
                f.write_str("error: parsed start command has been truncated! --> won't execute it")
            }
            Self::StopTooLong => {
                f.write_str("error: parsed stop command has been truncated! --> won't execute start command")
            }
            Self::BadSequence { door, error } => write!(f, "error: section {door}: {error}"),
            Self::OneTimeEmpty { door } => f.write_str(&one_time_spent(door)),
            Self::OneTimeWriteFailed { door, why } => write!(
                f,
                "error while disabling used one time sequence for door {door} --> disabling the door: {why}"
            ),
            Self::NoPidFile { path, why } => write!(f, "could not create pid file {}: {why}", path.display()),
            Self::NoLogFile { path, why } => {
                let path = path.display();
                write!(f, "warning: cannot open logfile: {why} ({path}); it is tried again at SIGHUP")
            }
            Self::Rereading { path } => write!(f, "Re-reading config file: {}", path.display()),
            Self::ClosingLogFile { path } => write!(f, "Closing log file: {}", path.display()),
            Self::ReopeningLogFile { path } => write!(f, "Re-opening log file: {}", path.display()),
            Self::ReloadRefused { path, mistakes } => {
                let s = if *mistakes == 1 { "" } else { "s" };
                let path = path.display();
                write!(f, "config: {mistakes} mistake{s} in {path}; the running configuration is unchanged")
            }
            Self::Ours { text } => f.write_str(text),
            Self::WaitingForChildren => f.write_str("waiting for child processes..."),
            Self::ShuttingDown => f.write_str("shutting down"),
        }
    }
}

/// The system's word for an error, as C's `strerror` gives it.
pub(crate) fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

//! Conf: a parsed knockd.conf, with every mistake at once.
//!
//! It reads bytes and returns values. It opens no file, resolves no name and judges no firewall; which commands run
//! and what a rule makes of a sequence is decided elsewhere. A `Conf` that came with mistakes must not be
//! run.
//!
//! Lines are cut into pieces of 4095 bytes, each counted as a line, exactly as knockd does: what it would refuse of a
//! longer line is refused here too, with a hint at the line's length.

mod lines;
mod mistake;
pub(crate) mod one_time;
mod reader;
mod sequence;
mod syntax;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(crate) use mistake::{ConfMistake, ConfProblem, one_time_spent};
pub(crate) use sequence::{SequenceError, SequenceStep, StepProtocol, steps, steps_text};

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conf {
    /// `UseSyslog` was written, in whatever section.
    pub(crate) use_syslog: bool,
    /// `LogFile`, which replaces `-g`; an empty one means no logfile, even if `-g` names one.
    pub(crate) log_file: Option<PathBuf>,
    /// `PidFile`, which replaces `-p`.
    pub(crate) pid_file: Option<PathBuf>,
    /// The first `Interface` that is not empty, at most 31 bytes. For use only if `-i` was not given, and only at start.
    pub(crate) interface: Option<String>,
    /// The doors, in the order of the file, which is the order in which they are tried.
    pub(crate) doors: Vec<ConfDoor>,
    /// What knockd says of each line with `-D`, without line feeds.
    pub(crate) echo: Vec<String>,
}

impl Conf {
    /// Reads `text`, the bytes of `file`; the name serves the mistakes only.
    ///
    /// One-time files are not opened: see [`one_time::check`].
    pub(crate) fn parse(file: &Path, text: &[u8]) -> (Self, Vec<ConfMistake>) {
        reader::read(file, text)
    }
}

/// One section that is not `[options]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfDoor {
    /// At most 127 bytes; need not be unique, and what is no UTF-8 is replaced.
    pub(crate) name: String,
    /// The line of its section, from 1.
    pub(crate) line: usize,
    /// What opens it.
    pub(crate) sequence: DoorSequence,
    /// Seconds for the whole sequence; zero or less lets nothing but one-step sequences through.
    pub(crate) seq_timeout: i64,
    /// Seconds after a right knock for which the door takes no other of the same client; zero or less: none.
    pub(crate) seq_cooldown: i64,
    /// In the order of [`FLAG_NAMES`]; for TCP only.
    pub(crate) tcp_flags: [FlagCondition; 6],
    /// Destination instead of the interface's addresses, as written: it need not be an address, and may be empty.
    pub(crate) target: Option<OsString>,
    /// `Start_Command`. For this and the other commands, empty is not the same as absent.
    pub(crate) start: Option<OsString>,
    /// `Start_Command_6`.
    pub(crate) start_6: Option<OsString>,
    /// `Stop_Command`.
    pub(crate) stop: Option<OsString>,
    /// `Stop_Command_6`.
    pub(crate) stop_6: Option<OsString>,
    /// Seconds between the end of the start command and the stop command; negative means practically never.
    pub(crate) cmd_timeout: i64,
}

impl ConfDoor {
    fn new(name: String, line: usize) -> Self {
        Self {
            name,
            line,
            sequence: DoorSequence::Fixed(Vec::new()),
            seq_timeout: 25,
            seq_cooldown: 0,
            tcp_flags: [FlagCondition::DontCare; 6],
            target: None,
            start: None,
            start_6: None,
            stop: None,
            stop_6: None,
            cmd_timeout: 10,
        }
    }
}

/// What opens a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DoorSequence {
    /// The same steps each time; 1 to 32 unless the file has mistakes.
    Fixed(Vec<SequenceStep>),
    /// The first unused line of this file.
    OneTime(PathBuf),
    /// `Sequence` was written below `One_Time_Sequences`: these steps work once and cross nothing out, then the
    /// file's lines.
    FixedThenOneTime {
        /// The steps that work once.
        first: Vec<SequenceStep>,
        /// The file.
        then: PathBuf,
    },
}

impl DoorSequence {
    /// The file of one-time sequences, if there is one.
    pub(crate) fn one_time_path(&self) -> Option<&Path> {
        match self {
            Self::Fixed(_) => None,
            Self::OneTime(path) | Self::FixedThenOneTime { then: path, .. } => Some(path),
        }
    }
}

/// The TCP flags of [`ConfDoor::tcp_flags`], in order.
pub(crate) const FLAG_NAMES: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];

/// What a door wants of one TCP flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagCondition {
    /// Anything.
    DontCare,
    /// It must be set.
    Set,
    /// It must be clear.
    Clear,
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

//! Durability: whether how to close a door is on the disk before it is opened.

use std::fmt;

/// Whether an opening is recorded, so that the next run can close it if this one is killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It is not: the door closes by itself, or is never closed.
    #[default]
    None,
    /// It is tried before the door is opened. If it fails the door is opened all the same, and that is reported.
    BestEffort,
    /// It is recorded before the door is opened, or the door is not opened.
    Required,
}

/// Why an opening was not recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// There is nothing to write into, which was reported when it was found out.
    NoJournal,
    /// It could not be written, in words for the log.
    Failed(String),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoJournal => "there is no journal",
            Self::Failed(words) => words,
        })
    }
}

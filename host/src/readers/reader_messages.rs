//! What goes over the link of a reader's process: one job, and the answers to it in their order.

use std::ffi::OsString;
use std::path::PathBuf;

use postern_config::{FileBeside, FolderBounds, Trust, Unread};
use serde::{Deserialize, Serialize};

/// Most bytes of a start: paths and names of files, each byte of which may be four characters.
pub(super) const MOST_START: usize = 64 << 10;
/// Most bytes of an answer: a rule file of the largest size, each byte of which may be six characters.
pub(super) const MOST_ANSWER: usize = 7 << 20;
/// Most files that are asked for at once, and most bytes of that: names of 255 bytes.
pub(super) const MOST_BESIDE: usize = 48;
pub(super) const MOST_ASKED: usize = 64 << 10;
/// Most characters of each text about what is wrong, and of what is said of a barrier.
pub(super) const MOST_TEXT: usize = 1000;
/// Most barriers.
pub(super) const MOST_BARRIERS: usize = 32;

/// What is to be done, and as whom. Beside it stand the folder's descriptor, for rules and for a module that of an empty file for the bytes of
/// modules, and for rules an inotify descriptor that is to watch the folder if there is one.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReaderStart {
    /// The folder, for people.
    #[serde(with = "postern_core::os_text")]
    pub(super) path: PathBuf,
    /// The user, for people.
    pub(super) user: String,
    /// Its number and that of its group.
    pub(super) account: (u32, u32),
    pub(super) trust: Trust,
    pub(super) job: ReaderJob,
}

/// What is read.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) enum ReaderJob {
    /// The rule files: their count, and each one's name and text; and after that what is asked for by [`AskBeside`].
    Rules {
        bounds: FolderBounds,
        /// Most bytes of all that is asked for.
        beside: u64,
    },
    /// Their count and names alone.
    Names(FolderBounds),
    /// The bytes of a module.
    Module {
        /// Its name in the folder.
        #[serde(with = "postern_core::os_text")]
        name: OsString,
        /// Most bytes of it.
        most: u64,
    },
}

/// These files of the folder as well. More may be asked for once they are answered.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskBeside {
    pub(super) files: Vec<FileBeside>,
}

/// Where in the file for them the bytes of a module are.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CopiedTo {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// What a reader says.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) enum FromReader {
    /// First of all: it is the user, and these barriers are not around it.
    Confined { missing: Vec<String> },
    /// The folder is not watched.
    NotWatched(String),
    /// So many rule files are there.
    Count(usize),
    /// The next of them is being read, or was found.
    Name(#[serde(with = "postern_core::os_text")] OsString),
    /// What it says.
    Text(Result<String, Unread>),
    /// The module is in the file, and has so many bytes.
    Module(Result<u64, Unread>),
    /// The next file that was asked for beside rules; none if it does not fit into what may be asked for.
    Beside(Option<Result<CopiedTo, Unread>>),
    /// The folder is not read.
    Refused(Unread),
}

//! ReadingMessages: what an engine asks the supervisor about configurations, and what it is told.
//!
//! A request names everything by number, and is bounded; no path and no other text goes from the engine to the supervisor.

use std::path::PathBuf;
use std::sync::Arc;

use postern_config::ProgramAdvice;
use postern_sandbox::ModuleDigest;
use serde::{Deserialize, Serialize};

use crate::origin::{NumberedReading, OriginFacts};
use crate::watch::FileOwner;

/// Most bytes of a request.
pub(super) const MOST_REQUEST: usize = 64 << 10;
/// Most bytes of an answer. A reading is the largest: its size is about that of the files that were read.
pub(super) const MOST_ANSWER: usize = 512 << 20;
/// Most ranges of rules in a request.
pub(super) const MOST_RANGES: usize = 1024;

/// The place of a rule, as one that a request names; none has one that is too large.
pub(super) fn as_place(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// What an engine asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ReadingRequest {
    /// What never changes.
    Facts,
    /// Read the configuration. Tickets grow.
    Read {
        /// The number of this reading.
        ticket: u64,
        /// Leave out files on which others hang.
        avoids: bool,
    },
    /// What has begun of a reading, and not ended.
    Doing { ticket: u64 },
    /// Which module a rule runs.
    FindModule {
        ticket: u64,
        /// The place of the rule among those that were read.
        place: u32,
    },
    /// The code of the module that a rule runs.
    Code {
        ticket: u64,
        /// As in [`ReadingRequest::FindModule`].
        place: u32,
        /// The code that was got before cannot be loaded.
        anew: bool,
    },
    /// Have the journal opened.
    Journal { ticket: u64 },
    /// Warnings.
    Advice { ticket: u64 },
    /// Those about programs.
    ProgramAdvice { ticket: u64 },
    /// This table is in force, with these rules besides those that were read for it; from the first number to the last. Not answered.
    InForce { table: u32, kept: Vec<(u32, u32)> },
    /// Which rules in force have lost their files.
    Gone,
    /// Use up the one-time sequence of a rule.
    Claim { table: u32, rule: u32 },
}

/// What it is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ReadingAnswer {
    Facts(OriginFacts),
    Reading(Box<NumberedReading>),
    Lines(Vec<String>),
    Programs(Vec<ProgramAdvice>),
    Module(ModuleAnswer),
    Journal {
        /// Whether there is one.
        is_there: bool,
        /// Why it could not be opened.
        error: Option<String>,
    },
    /// Numbers of rules.
    Gone(Vec<u32>),
    Claimed(Result<(), String>),
    /// There is no such thing, or too much was asked for.
    Refused(String),
}

/// A module.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ModuleAnswer {
    /// It could be read.
    Found {
        /// The digest of its bytes.
        digest: ModuleDigest,
        /// As [`postern_sandbox::FoundModule::signer`].
        signer: Option<Arc<str>>,
    },
    /// Its code is in a descriptor beside the answer.
    Code {
        /// The digest of the module's bytes.
        digest: ModuleDigest,
        /// How the code is called, as [`postern_sandbox::CodeKind::number`] has it.
        kind: u8,
    },
    /// The system refused to read it, with this number.
    Os(i32),
    /// It may not be read.
    Unfit(String),
    /// Others could have written it.
    Distrusted {
        #[serde(with = "postern_core::os_text")]
        path: PathBuf,
        what: String,
    },
    /// It is no rule, or cannot be compiled.
    Refused {
        /// What is wrong, as the rest of a sentence about the module.
        what: String,
        /// What its author can do about it.
        remedy: String,
    },
    /// It was not compiled, since there is a newer configuration.
    Overtaken,
    /// It is being compiled, which is not waited for.
    Compiling,
}

/// What the supervisor noticed about files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FilesNotice {
    /// Whose file is different now, if one is; the host's, if others' are as well.
    pub(super) changed: Option<FileOwner>,
    /// How long ago, in milliseconds, a file was last written to that is still being written; that of the oldest of each owner.
    pub(super) written_ago: Vec<(FileOwner, u64)>,
}

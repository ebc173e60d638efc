//! What the supervisor and the runner say to each other over a [`crate::Talk`]. The supervisor is trusted.

use std::path::PathBuf;

use postern_core::HookRun;
use serde::{Deserialize, Serialize};

use crate::commands_table::CommandsTable;

/// Most bytes of one message in either direction.
pub const MOST_RUNNER_BYTES: usize = 64 << 20;

/// From the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToRunner {
    /// The first of all; [`FromRunner::Started`] answers. With a stream for reports, and the memory in which the runner before noted which
    /// commands it ran, if there was one: they are ended before anything else is done.
    Start {
        /// Which log lines there are: a filter as `tracing` has it.
        log_filter: String,
        /// Where the journal is.
        #[serde(with = "postern_core::os_text")]
        state_folder: PathBuf,
        /// What the journal's file is called after.
        journal_stem: String,
        /// The engine that runs already and ordered what the runner before ran; none if there is no engine.
        engine: Option<u64>,
    },
    /// Take a table that an engine may go by later; [`FromRunner::Took`] answers.
    Table(CommandsTable),
    /// Open the journal, if it is not open; [`FromRunner::Journal`] answers.
    OpenJournal {
        /// The answer carries the same number.
        ticket: u64,
        /// Whether a door needs it. Else it is opened only if an earlier run left one.
        is_needed: bool,
    },
    /// Run a command because something happened; nothing answers.
    RunHook(HookRun),
    /// Take orders from this engine, and from no other any more. With one end of an [`crate::OrderLink`].
    Engine {
        /// Its number, which no other engine ever had, in this life of the supervisor or another: microseconds since 1970 will do. Not 0. The same
        /// engine has the same number when it is given to another runner.
        number: u64,
    },
}

/// From the runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromRunner {
    /// It is ready. With the memory in which it notes which commands it runs, for the next runner.
    Started,
    /// A table was taken.
    Took {
        /// Its number.
        table: u32,
    },
    /// What became of the journal.
    Journal {
        /// That of the request.
        ticket: u64,
        /// Whether it is open now.
        is_there: bool,
        /// Why it could not be opened, in words.
        error: Option<String>,
    },
}

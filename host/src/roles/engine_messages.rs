//! What the supervisor and the engine say to each other over the engine's standard input. What an engine says is bounded, and acted on only as
//! far as a wrong engine may have it.

use std::path::PathBuf;
use std::time::Duration;

use postern_core::Direction;
use postern_protocol::Process;
use serde::{Deserialize, Serialize};

use crate::metrics::SocketKind;
use crate::try_run::ConfirmedBy;

/// Most bytes of a message from the engine.
pub(super) const MOST_FROM_ENGINE: usize = 64 << 10;
/// Most bytes of a message to the engine.
pub(super) const MOST_TO_ENGINE: usize = 1 << 20;

/// To the engine.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToEngine {
    /// The first message. With it come, in this order: the stream for its reports, the talk about configurations, the link to the doorman,
    /// the link to the runner, if it is to be asked, the socket for that and the stream of what the others report, and, if it is to be measured,
    /// the socket for that.
    Start(EngineStart),
    /// A link to the next doorman, since the one before has ended.
    Doorman,
    /// A link to the next runner.
    Runner,
    /// The ledger's file, if a descriptor comes with it; else there is none, or it could not be opened, and this says why.
    Ledger(Option<String>),
    /// How the daemon's processes are, for whoever asks.
    Processes(Vec<Process>),
    /// Read the configuration again.
    Hangup,
    /// The run was tried, and is confirmed.
    Confirmed,
    /// Stop, because of this signal.
    Stop(i32),
}

/// What an engine must know before it reads a configuration, because it gives up the means to act on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EngineStart {
    /// The filter of its log lines, as `tracing` has it.
    pub(super) log_filter: String,
    /// Where the ledger's file is, for messages.
    #[serde(with = "postern_core::os_text")]
    pub(super) ledger: PathBuf,
    /// The user to become; none to stay.
    pub(super) account: Option<(u32, u32)>,
    /// After how long without [`FromEngine::Alive`] it is taken for hung; none if nobody asks.
    pub(super) watchdog: Option<Duration>,
    /// Where to capture, at least at first.
    pub(super) captures: Vec<(String, Direction)>,
    /// Whether the socket comes at which it is asked.
    pub(super) is_asked: bool,
    /// Which kind of socket comes at which it hands metrics out; none if none does.
    pub(super) metrics: Option<SocketKind>,
    /// How much is left of a run that is tried; none if it runs for good.
    pub(super) trial: Option<Duration>,
}

/// From the engine.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromEngine {
    /// It has given up what it does not need: what holds, and what is missing.
    Confined { held: String, missing: Vec<String> },
    /// It runs, or goes on after a reload.
    Ready,
    /// A reload begins.
    Reloading,
    /// It begins to stop.
    Stopping,
    /// It needs the ledger's file, as [`postern_ledger::LedgerRequest`] has it; [`ToEngine::Ledger`] answers.
    Ledger { make: bool, copy: bool },
    /// It needs more packet sockets than it has: only another engine can open them.
    Exhausted,
    /// A synthetic knock went all the way.
    Alive,
    /// A run that is tried should stay. An engine that says so without reason keeps closed what it could keep closed by refusing knocks.
    Confirm(ConfirmedBy),
    /// It ends now, as it should; with the number of its [`crate::exit::Exit`].
    Ended { exit: u8, signal: Option<i32> },
    /// It cannot run, and why.
    CannotRun(String),
}

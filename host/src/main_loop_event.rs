//! MainLoopEvent: what wakes the daemon's main loop, besides signals, timers and changed files.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use postern_config::{Config, Mistakes, ProgramAdvice};
use postern_core::{
    ClaimError, Client, DoorId, Listing, OpeningKey, OpeningNote, Receipt, RecordError, RuleId,
};
use postern_sandbox::Generation;
use tokio::sync::mpsc;

use crate::assemble::{RefusedTenant, RunningRules};
use crate::control_question::ControlQuestion;
use crate::origin::Numbers;
use crate::state;

/// What the other threads send to the main loop.
pub(crate) enum MainLoopEvent {
    /// A door answered an order.
    Answered(Receipt),
    /// How to close an opening is on the disk, or why it is not.
    Recorded {
        /// The number of the record.
        serial: u64,
        result: Result<(), RecordError>,
    },
    /// Something is open that an earlier engine ordered; the runner's process knows how to close it.
    HandedOver {
        key: OpeningKey,
        /// For how long from now.
        remaining: Duration,
        /// The door's name.
        name: String,
        /// Whose it is.
        note: OpeningNote,
    },
    /// The ledger answered a claim, cannot be used any more, or can be used again.
    Ledger(postern_ledger::Answer),
    /// Another program changed the packet filter; this is what is open now.
    RulesetChanged(Listing),
    /// While the guard is tried: this client, for whom this door was opened, has come in.
    CameIn { door: DoorId, client: Client },
    /// The next generation is ready, or why it is not.
    Prepared(Box<Prepared>),
    /// The line of a one-time file was crossed out for a claim, or why not.
    CrossedOut {
        /// The number of the claim.
        serial: u64,
        result: Result<(), ClaimError>,
    },
    /// A probe has come back, or came to nothing because of this.
    Probed(Result<(), String>),
    /// An owner of rules is over its share from now on.
    OverShare,
    /// Somebody asks over the control socket for what only the main loop may do.
    Asked(ControlQuestion),
    /// Rules in force whose files are gone; none if that could not be found out.
    Withdrawn(Option<HashSet<RuleId>>),
}

/// The outcome of preparing a generation. The configuration is there if `postern.toml` is right, whatever else is not.
pub(crate) struct Prepared {
    /// Its number among all preparations, in the order in which they began.
    pub(crate) ticket: u64,
    pub(crate) config: Option<Config>,
    /// How other processes call its doors, if there are any.
    pub(crate) numbers: Option<Numbers>,
    pub(crate) generation: Result<Generation, Mistakes>,
    /// Tenants whose files are not in it.
    pub(crate) refused: Vec<RefusedTenant>,
    /// What was in force when it was begun, which such tenants go on with.
    pub(crate) before: Option<Arc<RunningRules>>,
    /// What should be known of programs that it has run; none if that is not known.
    pub(crate) programs: Option<Vec<ProgramAdvice>>,
    /// The journal, if there was none and this needs it.
    pub(crate) state: state::Opened,
}

/// Sending never blocks, or the loop and a sender could deadlock. The queue itself has no bound, because its senders have one: an answer for
/// each order, each record and each claim, of which the engine bounds the number, one for each line of a one-time file, a generation for each
/// that is being prepared, one probe, one for each owner of rules that is over its share, and one
/// for each client of the control socket.
pub(crate) type MainLoopSender = mpsc::UnboundedSender<MainLoopEvent>;

pub(crate) fn channel() -> (MainLoopSender, mpsc::UnboundedReceiver<MainLoopEvent>) {
    mpsc::unbounded_channel()
}

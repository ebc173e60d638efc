//! Happening: everything that wakes the daemon's main loop, signals and timers aside.

use std::net::IpAddr;

use postern_core::{Receipt, Request, RuleId};
use postern_doorman::Opening;
use tokio::sync::mpsc;

use crate::config::{Config, Mistakes};
use crate::rules::Generation;

/// How many may wait. Workers drop a verdict when it is full; doors and the loader wait.
const WAITING: usize = 8192;

/// Everything that can happen.
pub(crate) enum Happening {
    /// A rule said that doors should open or close.
    Judged { rule: RuleId, source: IpAddr, request: Request },
    /// A door answered an order.
    Answered(Receipt),
    /// Somebody changed the packet filter; this is what is open now.
    RulesetChanged(Vec<Opening>),
    /// A file that the configuration was read from changed.
    FilesChanged,
    /// The next generation is ready, or why it is not.
    Prepared(Box<Result<(Config, Generation), Mistakes>>),
}

pub(crate) type Teller = mpsc::Sender<Happening>;

pub(crate) fn channel() -> (Teller, mpsc::Receiver<Happening>) {
    mpsc::channel(WAITING)
}

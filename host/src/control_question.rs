//! ControlQuestion: what the control socket asks the main loop for, which alone may do it.

use std::net::IpAddr;

use postern_protocol::{NewGeneration, Refusal};
use tokio::sync::oneshot;

/// What only the main loop can answer.
pub(crate) enum ControlQuestion {
    /// Read the configuration again.
    Reload(oneshot::Sender<ReloadAnswer>),
    /// Packets from these addresses are to be seen whatever they are for; and whom to tell when they are.
    Follow(Vec<IpAddr>, Option<oneshot::Sender<()>>),
}

/// What came of a reload.
pub(crate) type ReloadAnswer = Result<NewGeneration, Refusal>;

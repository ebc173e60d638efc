//! Posture: how well the closed ports are protected while the daemon runs and when it does not.

use std::io;

use postern_core::Unprotected;

/// What holds the guarded ports closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posture {
    /// No port is guarded.
    Unguarded,
    /// The table is ours alone: nobody else can change or flush it while the daemon lives. It stays, and doors close on
    /// time, when the daemon is gone; from then until the next start a flush of the ruleset would remove it.
    Owned,
    /// Anybody may flush the table, which opens every guarded port until it is put back: watch [`crate::Changes`].
    /// It stays, and doors close on time, when the daemon is gone.
    Plain(Unprotected),
}

/// What became of the connections whose port became guarded.
#[derive(Debug, Default)]
pub struct KeptConnections {
    /// TCP connections that live on, idle or not.
    pub connections: usize,
    /// TCP connections that are cut until somebody opens the door for them, as `on_close` says.
    pub cut: usize,
    /// Why others may be cut that were idle: the kernel could not be asked for them, or told of them.
    pub failed: Option<io::Error>,
}

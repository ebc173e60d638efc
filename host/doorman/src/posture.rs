//! Posture: how well the closed ports are protected while the daemon runs and when it does not.

use std::io;

use postern_core::Unprotected;

/// What holds the guarded ports closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posture {
    /// No port is guarded.
    Unguarded,
    /// The daemon owns the table: no other program can change or flush it while the daemon lives. When the daemon is gone the table stays,
    /// and doors close on time; until the next start a flush of the ruleset would remove it.
    Owned,
    /// The table has no owner: any privileged program may flush it, which opens every guarded port until it is restored; see [`crate::Changes`].
    /// It stays, and doors close on time, when the daemon is gone.
    Plain(Unprotected),
}

/// What became of the connections whose port became guarded.
#[derive(Debug, Default)]
pub struct KeptConnections {
    /// TCP connections that live on, idle or not.
    pub connections: usize,
    /// TCP connections that are cut until the door is opened for their client, as `on_close` says.
    pub cut: usize,
    /// Why idle connections may be cut: the kernel could not list them, or could not track them.
    pub failed: Option<io::Error>,
}

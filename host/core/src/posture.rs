//! Posture: how well the guarded ports are protected while the daemon runs and when it does not.

use serde::{Deserialize, Serialize};

use crate::report::Unprotected;

/// What holds the guarded ports closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Posture {
    /// No port is guarded.
    Unguarded,
    /// The daemon owns the table: no other program can change or flush it while the daemon lives. When the daemon is gone the table stays,
    /// and doors close on time; until the next start a flush of the ruleset would remove it.
    Owned,
    /// The table has no owner: any privileged program may flush it, which opens every guarded port until it is restored. It stays, and doors
    /// close on time, when the daemon is gone.
    Plain(Unprotected),
}

//! Posture: how well the closed ports are protected while the daemon runs and when it does not.

use std::fmt;
use std::io;

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
    Plain(WhyPlain),
}

/// Why the table has no owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyPlain {
    /// The kernel does not know tables that are owned and outlive their owner; Linux 6.9 does.
    Kernel,
    /// The table was there before, without an owner; the kernel lets nobody take it.
    Found,
}

/// What became of the connections whose port became guarded.
#[derive(Debug, Default)]
pub struct Kept {
    /// TCP connections that live on, idle or not.
    pub connections: usize,
    /// TCP connections that are cut until somebody opens the door for them, as `on_close` says.
    pub cut: usize,
    /// Why others may be cut that were idle: the kernel could not be asked for them, or told of them.
    pub failed: Option<io::Error>,
}

impl fmt::Display for Posture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unguarded => "no port is guarded",
            Self::Owned => "the table inet postern is owned: nobody else can change it",
            Self::Plain(WhyPlain::Kernel) => {
                "the table inet postern is unprotected: a flush of the ruleset opens the guarded ports until it is put back; \
                 Linux 6.9 and later can protect it"
            }
            Self::Plain(WhyPlain::Found) => {
                "the table inet postern was found without an owner and is unprotected: a flush of the ruleset opens the \
                 guarded ports until it is put back; remove the table and start again to have it protected"
            }
        })
    }
}

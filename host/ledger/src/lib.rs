//! The ledger: which one-time tokens and counters were used, kept on the disk.
//!
//! The engine asks for a [`Claim`] before it orders an opening that needs a token, the shell hands it to a [`Ledger`], and the answer comes
//! back as a [`postern_core::Event::Claimed`]. [`FileLedger`] keeps a file in the state folder: `file_ledger` is the way to its thread,
//! `keeper` what that thread does, `file` how it opens the file, `store` the tables in it, `wanted` what of a claim is kept.
//!
//! **Invariant:** a claim is answered `Ok` only after it is on the disk, and no claim is forgotten as long as the rule could accept the
//! same knock again. Where that cannot be held the claim is refused; no error here opens a door. `store/tests.rs` and `tests/e2e/tokens.rs`.

mod file;
mod file_ledger;
mod keeper;
mod store;
mod wanted;

use std::path::PathBuf;
use std::time::Duration;

use postern_core::{Claim, ClaimError};

pub use file::{FILE, LedgerError, LedgerRequest, take_file};
pub use file_ledger::FileLedger;

/// What keeps the tokens and counters that were used: a file on this machine, or a store that many gateways share.
///
/// What every implementation must hold:
/// - [`Ledger::claim`] never blocks: it is called with the engine's lock held.
/// - Each claim is answered exactly once, by [`Answer::Claimed`] with its number, also when nothing can be recorded. An answer may come before
///   `claim` returns. The engine stops waiting after ten seconds: a claim that is answered later is used up and opens nothing.
/// - Of all claims of one rule for the same token, whenever, wherever and by however many daemons of one store they are made, at most one
///   is answered `Ok`; of those for the same key of a counter, each that is answered `Ok` has a higher number than all before.
/// - `Ok` is answered only after the claim is durable: a crash of any machine right after it changes nothing. One whose outcome is not known
///   is answered [`ClaimError::NotRecorded`] and may count as used.
/// - A token is forgotten only if the rule itself said until when it could accept it, and that time is past. From then on every claim
///   whose `until` is not later than that of a forgotten token is refused, whatever a clock says.
/// - What it keeps is bounded, for each rule and in all; beyond that the answer is [`ClaimError::Full`]. So is what waits; beyond that
///   the answer is [`ClaimError::Busy`].
pub trait Ledger: Send {
    /// Asks for something to be used up.
    fn claim(&self, claim: Claim);
}

/// What a ledger says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What became of a claim.
    Claimed {
        /// The number of the claim.
        serial: u64,
        /// Used up for this claim, or why not.
        result: Result<(), ClaimError>,
    },
    /// From now on all claims are refused, until [`Answer::Works`]. Sent once, with the reason and the remedy in words.
    Fails(String),
    /// Claims are recorded again, in the file of this name.
    Works(PathBuf),
    /// Claims were written to the disk, those that had come by then in one go.
    Committed {
        /// How long that took, until it was on the disk.
        took: Duration,
    },
}

/// Takes a ledger's answers; it is called on the ledger's thread or within [`Ledger::claim`], and must neither block nor claim.
pub type Answers = Box<dyn Fn(Answer) + Send + Sync>;

//! Ledger: what stands in its place where no rule uses tokens.

use postern_core::{Claim, ClaimError};
use postern_ledger::{Answer, Answers, Ledger};

/// For rules that use no tokens: a knockd.conf has none, and its daemon makes no file for them.
pub(crate) struct NoTokens(pub(crate) Answers);

impl Ledger for NoTokens {
    fn claim(&self, claim: Claim) {
        let error = ClaimError::NotRecorded("rules of a knockd.conf use no tokens".to_owned());
        (self.0)(Answer::Claimed { serial: claim.serial, result: Err(error) });
    }
}

//! Ledger: where the claims of a configuration go, and how their answers come back.

use std::io;

use postern_core::{Claim, ClaimError};
use postern_ledger::{Answer, FileLedger, Ledger};

use crate::main_loop_event::{MainLoopEvent, MainLoopSender};
use crate::state;

/// Starts what keeps used tokens and counters, if rules use any; its answers come as events of the main loop. It opens its file on its own thread, so that no other
/// thread waits for a disk.
///
/// # Errors
/// If there can be no thread.
pub(crate) fn start(uses_tokens: bool, sender: MainLoopSender) -> io::Result<Box<dyn Ledger>> {
    let answers = Box::new(move |answer| drop(sender.send(MainLoopEvent::Ledger(answer))));
    Ok(if uses_tokens {
        Box::new(FileLedger::start(&state::folder(), answers)?)
    } else {
        Box::new(NoTokens(answers))
    })
}

/// For rules that use no tokens: a knockd.conf has none, and its daemon makes no file for them.
struct NoTokens(postern_ledger::Answers);

impl Ledger for NoTokens {
    fn claim(&self, claim: Claim) {
        let error = ClaimError::NotRecorded("rules of a knockd.conf use no tokens".to_owned());
        (self.0)(Answer::Claimed { serial: claim.serial, result: Err(error) });
    }
}

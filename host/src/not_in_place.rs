//! Makes of a doorman's error what crosses to another process.

use postern_doorman::DoormanError;
use postern_link::{NotInPlace, WhyNotInPlace};
use postern_text::chain;

/// The same in words, with whether it is worth a try later.
pub(crate) fn not_in_place(error: DoormanError) -> NotInPlace {
    let text = chain(&error).to_string();
    let why = match &error {
        DoormanError::Doors(_) => WhyNotInPlace::Mistakes,
        DoormanError::Owned(_) | DoormanError::OtherConfiguration(_) => WhyNotInPlace::Taken,
        DoormanError::GuardedForGood(_)
        | DoormanError::TrialOver
        | DoormanError::Unreachable(_)
        | DoormanError::Refused { .. }
        | DoormanError::NotAsWritten(_) => WhyNotInPlace::Failed,
    };
    let mistakes = match error {
        DoormanError::Doors(mistakes) => {
            mistakes.into_iter().map(|(door, mistake)| (door, chain(&mistake).to_string())).collect()
        }
        _ => Vec::new(),
    };
    NotInPlace { why, text, mistakes }
}

//! The stock rule: a client that hits certain ports in the right order, in time, gets the door.
//!
//! It behaves as a door of knockd does, one sequence a rule. What it does not do is look at payloads or know of other rules.

mod family;
mod progress;
mod sequence;
mod settings;
mod step;
mod widths;

pub use sequence::Sequence;

postern_sdk::export!(Sequence);

//! The stock rule: a client that hits certain ports in the right order, in time, has the door opened.
//!
//! It behaves as a door of knockd does, one sequence a rule. It does not look at payloads, and knows of no other rule.

mod family;
mod progress;
mod sequence;
mod settings;
mod step;
mod widths;

pub use sequence::Sequence;

postern_sdk::export!(Sequence);

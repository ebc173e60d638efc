//! Confines real processes and tries every barrier from inside and from outside.
//!
//! No harness: this program starts itself again, once for each attempt, since what is given up is given up for good, and has to be given up
//! before a second thread exists. `main` runs the tests, or, started with `child`, makes the attempt.

#![allow(
    clippy::unwrap_used,
    reason = "a test, of which clippy takes only functions with an attribute for one"
)]
#![allow(clippy::print_stdout, reason = "what would be the harness prints, and the child reports to it")]

use std::process::ExitCode;

mod attempts;
mod child;
mod tests;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, rest)) if first == "child" => attempts::run(rest),
        _ => tests::run(&arguments),
    }
}

//! Fault: what a rule did wrong while it ran, as one line.

use std::time::Duration;

use postern_text::{Cleaned, duration};
use thiserror::Error;
use wasmtime::{Trap, WasmBacktrace};

use crate::{guest_log, store};

/// Most characters of a function's name: those of generic Rust and C++ go on for pages.
const LONGEST_NAME: usize = 120;
/// Most characters of what a guest says before it fails.
const LONGEST_WORDS: usize = 400;

/// The rule broke the contract or a limit. Its instance is gone.
#[derive(Debug, Error)]
pub enum Fault {
    /// It used up its CPU time.
    #[error("`{during}` ran past its CPU time of {}; look for an endless loop, or raise limits.cpu of the rule", duration::show(*.limit))]
    TooLong {
        /// In which function.
        during: &'static str,
        /// What it had.
        limit: Duration,
    },
    /// It trapped: it panicked, overflowed its stack, went out of bounds, ran out of memory.
    #[error("`{during}` {what}")]
    Trapped {
        /// In which function.
        during: &'static str,
        /// What happened, and where if that is known.
        what: String,
    },
    /// It answered something that the contract does not allow.
    #[error("`judge` returned nonsense: {0}")]
    Nonsense(String),
}

impl Fault {
    /// The fault that a call failed with; `last_words` is what the guest said in it about why it fails.
    pub(crate) fn from_error(
        during: &'static str,
        error: &wasmtime::Error,
        limit: Duration,
        last_words: Option<&str>,
    ) -> Self {
        let what = match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => return Self::TooLong { during, limit },
            Some(Trap::StackOverflow) => "overflowed its stack".to_owned(),
            Some(Trap::UnreachableCodeReached) => {
                if let Some(words) = last_words {
                    // It says where better than the name of a function, which may be of the runtime.
                    return Self::Trapped { during, what: panicked(words) };
                }
                "panicked (unreachable)".to_owned()
            }
            Some(trap) => format!("trapped: {}", trap.to_string().trim_start_matches("wasm trap: ")),
            None => format!("failed: {}", cause(error)),
        };
        let place = error.downcast_ref::<WasmBacktrace>().and_then(place);
        Self::Trapped { during, what: what + &place.unwrap_or_default() }
    }
}

/// That a guest panicked, with its own words in one line: Rust says where in one and why in the next.
fn panicked(words: &str) -> String {
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = words.strip_prefix("panicked at ").unwrap_or(&words);
    format!("panicked: {}", Cleaned::new(words, LONGEST_WORDS))
}

/// Why it failed, in words for the rule's author.
fn cause(error: &wasmtime::Error) -> String {
    let cause = error.root_cause().to_string();
    // Wasmtime's message where a component hands over more than the store allows; it has no type for that.
    if !cause.starts_with("too much data is being copied") {
        return cause;
    }
    let is_in_guest = error.downcast_ref::<WasmBacktrace>().is_some();
    let error = if is_in_guest { guest_log::too_much_text() } else { store::too_long_answer() };
    error.to_string()
}

/// The innermost named function that is not part of the panic machinery.
fn place(backtrace: &WasmBacktrace) -> Option<String> {
    let names = backtrace.frames().iter().filter_map(|frame| frame.func_name());
    let machinery =
        |name: &&str| !["panic", "rust_begin_unwind", "abort"].iter().any(|word| name.contains(word));
    names.clone().find(machinery).map(|name| format!(" in `{}`", Cleaned::new(name, LONGEST_NAME)))
}

//! Job: what goes over the link of a compiler's process, once in each direction.

use postern_text::clean;
use serde::{Deserialize, Serialize};

use super::compile_limits::CompileLimits;

/// Most bytes of a reply.
pub(super) const MOST_REPLY: usize = 64 << 10;
/// Most characters of each of its texts, in bytes at most four times as many and still within that.
const MOST_TEXT: usize = 4000;
/// Most characters of what is said of a barrier.
pub(super) const MOST_BARRIER: usize = 300;

/// What is to be done. Beside it stand two descriptors: the module, and an empty file for its code.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    pub(super) limits: CompileLimits,
}

/// What became of it, and which barriers were not around it.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    /// In words, each a barrier; see [`Missing`](postern_confine::Missing).
    pub(super) missing: Vec<String>,
    pub(super) answer: Answer,
}

/// What became of it.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Answer {
    /// The code is in the file.
    Compiled {
        /// Its [`CodeKind`](postern_sandbox::CodeKind) by number.
        kind: u8,
        /// Its bytes.
        length: u64,
    },
    /// The module is no rule.
    Refused(Refusal),
    /// The compiler was refused memory.
    NoMemory,
}

/// What is wrong with a module, and what its author can do about it: the rest of a sentence about the module.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusal {
    pub(super) what: String,
    pub(super) remedy: String,
}

impl Refusal {
    /// Bounded, and fit to be shown.
    pub(super) fn new(what: &str, remedy: &str) -> Self {
        Self { what: clean(what, MOST_TEXT).into_owned(), remedy: clean(remedy, MOST_TEXT).into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_refusal_fits_into_an_answer() {
        for text in ["\u{1f980}", "\u{0}", "\"", "\\"] {
            let refusal = Refusal::new(&text.repeat(1 << 20), &text.repeat(1 << 20));
            let missing = vec![clean(&text.repeat(1 << 10), MOST_BARRIER).into_owned(); 12];
            let reply = Reply { missing, answer: Answer::Refused(refusal) };
            let length = serde_json::to_vec(&reply).unwrap().len();
            assert!(length < MOST_REPLY, "{text:?}: {length}");
        }
    }
}

//! A word: one value of a line.

use std::str::FromStr;

/// Reads a word; `what` says what it should have been.
pub(crate) fn parse_word<T: FromStr>(word: &str, what: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("`{word}` is not {what}"))
}

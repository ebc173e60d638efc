//! Unread: why something of a tenant's was not read.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why something was not read: the rest of a sentence about it, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[error("{what}; {remedy}")]
pub struct Unread {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Unread {
    /// What is wrong, and what to do.
    #[must_use]
    pub fn new(what: &str, remedy: &str) -> Self {
        Self { what: what.to_owned(), remedy: remedy.to_owned() }
    }
}

//! Advice: what is no mistake in a configuration and should be known all the same. It changes nothing and refuses nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that the operator should know, and what to do about it. Displayed it is one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Advice {
    /// What there is.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Advice {
    /// This, and what to do about it.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, remedy } = self;
        write!(f, "{what}; {remedy}")
    }
}

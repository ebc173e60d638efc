//! ConfigIdentity: which configuration something was made for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A configuration, by the file that says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigIdentity {
    digest: String,
    /// For people: where it is written.
    path: String,
}

impl ConfigIdentity {
    /// `digest`: 1 to 64 hexadecimal digits, the same whenever the same configuration is meant. `path` is for people, and may be empty.
    #[must_use]
    pub fn new(digest: &str, path: &str) -> Self {
        Self { digest: digest.to_owned(), path: path.to_owned() }
    }

    /// The same whenever the same configuration is meant.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Where it is written, for people; empty if that is not known.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether both name the same configuration.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl fmt::Display for ConfigIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.path.is_empty() { &self.digest } else { &self.path })
    }
}

//! FolderBounds: how much is read of a folder of rules.

use serde::{Deserialize, Serialize};

use crate::ceilings::MAX_RULES;

/// How much is read of a folder of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderBounds {
    /// Most rule files.
    pub files: usize,
    /// Most bytes of all of them together.
    pub bytes: u64,
}

impl FolderBounds {
    /// No folder may have more.
    pub const LARGEST: Self = Self { files: MAX_RULES, bytes: 64 << 20 };
}

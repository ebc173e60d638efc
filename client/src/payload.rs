//! Payload: what UDP steps carry. It may be a secret, so it is never shown.

use std::fmt;
use std::path::Path;

use crate::read_at_most::read_at_most;

/// The most bytes of a payload: with headers they fit in one packet on every path that IPv6 allows.
pub const MAX_PAYLOAD: usize = 1200;

/// The bytes of a UDP step; none by default.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Payload(Vec<u8>);

impl Payload {
    /// These bytes.
    ///
    /// # Errors
    /// If there are more than [`MAX_PAYLOAD`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, String> {
        let bytes = bytes.into();
        match bytes.len() {
            0..=MAX_PAYLOAD => Ok(Self(bytes)),
            n => Err(format!("the payload has {n} bytes; {MAX_PAYLOAD} fit in one packet")),
        }
    }

    /// The bytes of a file, all of them.
    ///
    /// # Errors
    /// If it cannot be read or has more than [`MAX_PAYLOAD`].
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = read_at_most(path, MAX_PAYLOAD)
            .map_err(|e| format!("cannot read the payload from {}: {e}", path.display()))?;
        let too_long = || {
            format!(
                "the payload in {} has more bytes than the {MAX_PAYLOAD} that fit in one packet",
                path.display()
            )
        };
        bytes.map(Self).ok_or_else(too_long)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

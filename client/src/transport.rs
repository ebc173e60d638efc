//! StepTransport: what carries a step of a knock.

use std::fmt;

/// What carries a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepTransport {
    /// A SYN, and nothing after it.
    Tcp,
    /// One datagram.
    Udp,
}

impl StepTransport {
    /// Reads `tcp` or `udp` in any case; `whole` is what it was part of.
    pub(crate) fn parse(word: &str, whole: &str) -> Result<Self, String> {
        // knockd's client takes everything but `udp` for TCP, also `UDP`, without a message: that knock can never be right.
        match word.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(format!("`{whole}` is not a step; after the port comes :tcp, :udp or nothing")),
        }
    }
}

impl fmt::Display for StepTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

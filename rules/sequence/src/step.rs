//! Step: one hit of the sequence.

use std::fmt;

use postern_sdk::{Knock, Transport};

/// A port on a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) port: u16,
    pub(crate) transport: Transport,
}

impl Step {
    /// What this knock would be as a step.
    pub(crate) fn of(knock: &Knock) -> Self {
        Self { port: knock.destination_port, transport: knock.transport }
    }

    /// Reads `1111/udp` or `2222/tcp`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (port, transport) = text.split_once('/')?;
        let transport = match transport {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            _ => return None,
        };
        // Digits only: `parse` alone would take `+1111`.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let port = port.parse().ok().filter(|&port| port != 0)?;
        Some(Self { port, transport })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.transport)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        for text in ["1/udp", "1111/tcp", "65535/udp"] {
            assert_eq!(Step::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "1111",
            "0/udp",
            "65536/udp",
            "+1/udp",
            "-1/udp",
            "/udp",
            "1/",
            "1/UDP",
            "1/icmp",
            "1/udp/",
            " 1/udp",
        ] {
            assert_eq!(Step::parse(text), None, "{text:?}");
        }
    }
}

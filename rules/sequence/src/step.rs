//! Step: one hit of the sequence.

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

    /// What is meant by `udp/1111`, as guard doors have ports, or by `1111:udp`, as knockd has steps, in the way in which it is written here.
    pub(crate) fn meant(text: &str) -> Option<String> {
        let (one, other) = text.split_once(['/', ':'])?;
        [(one, other), (other, one)].into_iter().find_map(|(port, transport)| {
            let step = format!("{port}/{transport}");
            Self::parse(&step).map(|_| step)
        })
    }

    /// Appends it as it is written in settings.
    pub(crate) fn push(self, text: &mut String) {
        push_number(text, self.port.into());
        text.push_str(match self.transport {
            Transport::Tcp => "/tcp",
            Transport::Udp => "/udp",
            Transport::Icmp => "/icmp",
            Transport::Icmpv6 => "/icmpv6",
        });
    }
}

/// Appends a number in decimal digits.
pub(crate) fn push_number(text: &mut String, number: u32) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        for text in ["1/udp", "1111/tcp", "65535/udp"] {
            let mut written = String::new();
            Step::parse(text).unwrap().push(&mut written);
            assert_eq!(written, text);
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

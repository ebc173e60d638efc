//! KnockStep: one port of a knock.

use std::fmt;

use crate::services;
use crate::transport::StepTransport;

const MISSING: &str = "a port is missing; use 1 to 65535 or a service's name";

/// One port to hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnockStep {
    /// The port as it was written: a number or a service's name.
    pub written: String,
    /// The port.
    pub port: u16,
    /// How it is hit.
    pub transport: StepTransport,
}

impl KnockStep {
    /// Reads `port`, `port:tcp` or `port:udp`; as in rules, `/` does as well as `:`. Without a word the step is TCP.
    ///
    /// # Errors
    /// What is wrong with it and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        check_one(text)?;
        let (port, transport) = match text.split_once([':', '/']) {
            None => (text, StepTransport::Tcp),
            Some((port, word)) => (port, StepTransport::parse(word, text)?),
        };
        Self::new(port, transport)
    }

    pub(crate) fn new(written: &str, transport: StepTransport) -> Result<Self, String> {
        Ok(Self { written: written.to_owned(), port: port(written, transport)?, transport })
    }

    /// The same port, hit by UDP.
    #[must_use]
    pub fn by_udp(self) -> Self {
        Self { transport: StepTransport::Udp, ..self }
    }
}

impl fmt::Display for KnockStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.written, self.transport)
    }
}

/// Steps in a row with commas between them, as knockd.conf has them, are not one step.
pub(crate) fn check_one(text: &str) -> Result<(), String> {
    if !text.contains(',') {
        return Ok(());
    }
    let steps: Vec<_> = text.split(',').map(str::trim).filter(|step| !step.is_empty()).collect();
    if steps.is_empty() {
        return Err(MISSING.to_owned());
    }
    Err(format!("`{text}` is not one step; write steps apart and without commas: {}", steps.join(" ")))
}

/// A port, by number or by the name of its service.
pub(crate) fn port(text: &str, transport: StepTransport) -> Result<u16, String> {
    if text.is_empty() {
        return Err(MISSING.to_owned());
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return services::port(text, transport);
    }
    match text.parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(format!("{text} is not a port; use 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn steps() {
        check(
            "7000 7000:tcp 7000:udp 7000/udp 7000:UDP 1:Tcp 65535 007",
            expect![[r#"
            7000:tcp = 7000
            7000:tcp = 7000
            7000:udp = 7000
            7000:udp = 7000
            7000:udp = 7000
            1:tcp = 1
            65535:tcp = 65535
            007:tcp = 7"#]],
        );
    }

    #[test]
    fn what_is_no_step() {
        check(
            "0 70000 99999999999999999999:udp 7000: 7000:foo 7000:udp:x :udp -1 no-such-service 7000,8000:udp, ,",
            expect![[r#"
                0 is not a port; use 1 to 65535
                70000 is not a port; use 1 to 65535
                99999999999999999999 is not a port; use 1 to 65535
                `7000:` is not a step; after the port comes :tcp, :udp or nothing
                `7000:foo` is not a step; after the port comes :tcp, :udp or nothing
                `7000:udp:x` is not a step; after the port comes :tcp, :udp or nothing
                a port is missing; use 1 to 65535 or a service's name
                `-1` is not a port; use 1 to 65535, or a service's name that this machine knows
                `no-such-service` is not a port; use 1 to 65535, or a service's name that this machine knows
                `7000,8000:udp,` is not one step; write steps apart and without commas: 7000 8000:udp
                a port is missing; use 1 to 65535 or a service's name"#]],
        );
    }

    #[track_caller]
    fn check(written: &str, expect: Expect) {
        let line = |text| match KnockStep::parse(text) {
            Ok(step) => format!("{step} = {}", step.port),
            Err(what) => what,
        };
        expect.assert_eq(&written.split(' ').map(line).collect::<Vec<_>>().join("\n"));
    }
}

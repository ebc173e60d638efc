//! Sequence: the steps of a door, by knockd's grammar.

use thiserror::Error;

use super::lines::{atoi, trim};

/// Most steps of one sequence.
pub(crate) const MAX_STEPS: usize = 32;

/// One packet to knock with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SequenceStep {
    /// Destination port, from 1.
    pub(crate) port: u16,
    /// TCP unless said otherwise.
    pub(crate) protocol: StepProtocol,
}

/// What a step is sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Why a `Sequence` does not parse, in knockd's words.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum SequenceError {
    /// A port above 65535, or none: knockd takes what is no number for port 0, which no client can hit. The fork of knockd that cuts it to
    /// 16 bits would wait on another port than written.
    #[error("port {0} is invalid")]
    Port(String),
    /// An item without a port. knockd takes that for port 0, too.
    #[error("port is missing in knock sequence")]
    NoPort,
    /// Neither `tcp` nor `udp`, in this item.
    #[error("unknown protocol in knock sequence")]
    Protocol(String),
    /// More than [`MAX_STEPS`].
    #[error("too many ports in knock sequence")]
    TooMany,
}

impl SequenceError {
    /// What to do about it.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::Port(_) => "use a number from 1 to 65535".to_owned(),
            Self::NoPort => "write one, or remove the comma".to_owned(),
            Self::Protocol(item) => {
                format!("in place of {item:?} write port:tcp or port:udp, or the port alone for tcp")
            }
            Self::TooMany => format!("use at most {MAX_STEPS}"),
        }
    }
}

/// Reads `port[:protocol[:ignored]]`, separated by commas.
///
/// A negative port wraps round, as in knockd; port 0, which would wait for ever, is an error.
///
/// # Errors
/// Everything that is wrong with it, in order; items beyond the limit are not looked at.
pub(crate) fn steps(value: &[u8]) -> Result<Vec<SequenceStep>, Vec<SequenceError>> {
    let mut steps = Vec::new();
    let mut errors = Vec::new();
    for (n, item) in value.split(|byte| *byte == b',').enumerate() {
        if n == MAX_STEPS {
            errors.push(SequenceError::TooMany);
            break;
        }
        match step(item) {
            Ok(step) => steps.push(step),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(steps) } else { Err(errors) }
}

/// The steps as knockd's debug lines show them.
pub(crate) fn steps_text(steps: &[SequenceStep]) -> String {
    let steps: Vec<String> = steps
        .iter()
        .map(|step| match step.protocol {
            StepProtocol::Tcp => format!("{}:tcp", step.port),
            StepProtocol::Udp => format!("{}:udp", step.port),
        })
        .collect();
    steps.join(",")
}

fn step(item: &[u8]) -> Result<SequenceStep, SequenceError> {
    let mut parts = item.split(|byte| *byte == b':');
    let port = parts.next().unwrap_or_default();
    let number = atoi(port);
    let shown = String::from_utf8_lossy(trim(port)).into_owned();
    let port = match u16::try_from(number.rem_euclid(65536)) {
        _ if shown.is_empty() => return Err(SequenceError::NoPort),
        Ok(port @ 1..) if number <= i64::from(u16::MAX) => port,
        _ => return Err(SequenceError::Port(shown)),
    };
    let protocol = match parts.next().map(trim) {
        None => StepProtocol::Tcp,
        Some(name) if name.eq_ignore_ascii_case(b"tcp") => StepProtocol::Tcp,
        Some(name) if name.eq_ignore_ascii_case(b"udp") => StepProtocol::Udp,
        Some(_) => return Err(SequenceError::Protocol(String::from_utf8_lossy(trim(item)).into_owned())),
    };
    Ok(SequenceStep { port, protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    // 3.4, row by row.
    #[test]
    fn grammar() {
        let many = vec!["1"; 32].join(",");
        let many_read = vec!["1:tcp"; 32].join(",");
        let cases = [
            ("7000,8000,9000", "7000:tcp,8000:tcp,9000:tcp"),
            ("7000:udp,8000:TCP", "7000:udp,8000:tcp"),
            ("", "! port is missing in knock sequence"),
            ("1,", "! port is missing in knock sequence"),
            (":udp,1", "! port is missing in knock sequence"),
            ("ssh", "! port ssh is invalid"),
            ("0:udp", "! port 0 is invalid"),
            ("-65536", "! port -65536 is invalid"),
            ("1 # x", "1:tcp"),
            ("22x", "22:tcp"),
            (" 7 : udp , 8", "7:udp,8:tcp"),
            ("9:TcP:junk", "9:tcp"),
            ("9::", "! unknown protocol in knock sequence"),
            ("1:", "! unknown protocol in knock sequence"),
            ("1: ", "! unknown protocol in knock sequence"),
            ("1:icmp", "! unknown protocol in knock sequence"),
            ("1:tcp # x", "! unknown protocol in knock sequence"),
            ("7,7,7", "7:tcp,7:tcp,7:tcp"),
            ("65535", "65535:tcp"),
            ("65536", "! port 65536 is invalid"),
            ("70000:udp", "! port 70000 is invalid"),
            ("99999999999999999999", "! port 99999999999999999999 is invalid"),
            ("-1", "65535:tcp"),
            ("-70000", "61072:tcp"),
            ("1:x,70000,2", "! unknown protocol in knock sequence; port 70000 is invalid"),
            (&many, &many_read),
        ];
        for (value, expected) in cases {
            assert_eq!(read(value), expected, "{value:?}");
        }
        assert_eq!(read(&format!("{many},1:x")), "! too many ports in knock sequence");
    }

    fn read(value: &str) -> String {
        match steps(value.as_bytes()) {
            Ok(steps) => steps_text(&steps),
            Err(errors) => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                format!("! {}", errors.join("; "))
            }
        }
    }
}

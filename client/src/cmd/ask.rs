//! What is asked of a running daemon, a file each.

pub mod clients;
pub mod doors;
pub mod events;
#[cfg(test)]
mod golden;
pub mod reload;
pub mod rules;
pub mod status;
mod table;

use std::fmt::Display;
use std::path::{Path, PathBuf};

use postern_protocol::DEFAULT_SOCKET;
use postern_text::{piece, terminal};
use serde::Serialize;

use crate::cli::AskArgs;
use crate::control::Connection;
use crate::exit::CommandFailure;

/// In this variable stands where the daemon listens, if it is not where it usually is.
const SOCKET_VARIABLE: &str = "POSTERN_SOCKET";

/// Connects to the daemon that is meant.
fn connect(args: &AskArgs) -> Result<Connection, CommandFailure> {
    let named = args.socket.clone().or_else(|| std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from));
    Connection::open(named.as_deref().unwrap_or_else(|| Path::new(DEFAULT_SOCKET)))
}

/// Writes a line.
///
/// # Errors
/// If it cannot be written: to a full disk, or to a reader who has seen enough.
fn say(text: impl Display) -> Result<(), CommandFailure> {
    Ok(terminal::out(text)?)
}

/// Writes lines.
fn say_all(lines: impl IntoIterator<Item = impl Display>) -> Result<(), CommandFailure> {
    lines.into_iter().try_for_each(say)
}

/// Writes an answer as one line of JSON.
fn say_json(answer: &impl Serialize) -> Result<(), CommandFailure> {
    Ok(terminal::out_json(serde_json::to_string(answer)?)?)
}

/// A name that somebody else chose.
fn name(text: &str) -> String {
    piece(text).to_string()
}

/// So many milliseconds for people: the largest unit and the one below it.
fn time(millis: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    if millis < 10_000 {
        return format!("{}.{} s", millis / 1000, millis % 1000 / 100);
    }
    // To the nearest second: a door that was just opened for 30 m is not open for 29 m 59 s.
    let seconds = millis.saturating_add(500) / 1000;
    let largest = UNITS.iter().position(|(_, size)| seconds >= *size).unwrap_or(UNITS.len() - 1);
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, size) in UNITS.iter().skip(largest).take(2) {
        if left >= *size {
            parts.push(format!("{} {unit}", left / size));
        }
        left %= size;
    }
    parts.join(" ")
}

/// So many of them.
fn count(number: u64, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

/// `tenant/rule`, or the rule alone if it is the host's.
fn rule_of(tenant: Option<&str>, rule: Option<&str>) -> String {
    match (tenant, rule) {
        (Some("host") | None, Some(rule)) => name(rule),
        (Some(tenant), Some(rule)) => format!("{}/{}", name(tenant), name(rule)),
        (_, None) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_same_in_ascii() {
        let text = "caf\u{e9} \u{202e}\u{1f511}\u{7f}\n\u{1b}";
        let json = postern_text::json::ascii(&serde_json::to_string(text).unwrap());
        assert!(json.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn times_are_as_long_as_people_need_them() {
        let shown = |seconds: u64| time(seconds * 1000);
        assert_eq!(time(0), "0.0 s");
        assert_eq!(time(2140), "2.1 s");
        assert_eq!(shown(59), "59 s");
        assert_eq!(shown(60), "1 m");
        assert_eq!(shown(3725), "1 h 2 m");
        assert_eq!(shown(86_400 * 3 + 59), "3 d", "what is between them is not left out");
        assert_eq!(time(1_799_600), "30 m");
        assert_eq!(time(u64::MAX), "213503982334 d 14 h");
    }
}

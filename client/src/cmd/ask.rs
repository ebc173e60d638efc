//! What is asked of a running daemon, a file each.

pub mod clients;
pub mod doors;
pub mod events;
pub mod reload;
pub mod rules;
pub mod status;
mod table;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// So many milliseconds for people: the two largest units.
fn time(millis: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    if millis < 10_000 {
        return format!("{}.{} s", millis / 1000, millis % 1000 / 100);
    }
    let mut left = Duration::from_millis(millis).as_secs();
    let mut parts = Vec::new();
    for (unit, seconds) in UNITS {
        if left >= seconds && parts.len() < 2 {
            parts.push(format!("{} {unit}", left / seconds));
        }
        left %= seconds;
    }
    parts.join(" ")
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
        assert_eq!(shown(86_400 * 3 + 59), "3 d 59 s");
    }
}

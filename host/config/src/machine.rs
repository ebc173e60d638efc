//! Machine: which network interfaces there are at this moment, to name them in messages. It opens none of them.

use std::fs;

use postern_core::ANY_INTERFACE;
use rustix::fd::OwnedFd;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Most names in a message.
const MOST_NAMES: usize = 16;

/// Those of `wanted` that are not there. `any` always is. Empty, too, if the list cannot be read.
#[must_use]
pub fn missing(wanted: &[String]) -> Vec<&str> {
    let Some(socket) = socket() else { return Vec::new() };
    let is_there = |name: &str| name == ANY_INTERFACE || name_to_index(&socket, name).is_ok();
    wanted.iter().map(String::as_str).filter(|name| !is_there(name)).collect()
}

/// What there is, in words; the loopback comes last.
#[must_use]
pub fn there_are() -> String {
    let names = names();
    let more = names.len().saturating_sub(MOST_NAMES);
    let shown = names[..names.len() - more].join(", ");
    match (names.len(), more) {
        (0, _) => "`ip -br link` lists those of this machine".to_owned(),
        (_, 0) => format!("there are {shown}"),
        _ => format!("there are {shown} and {more} more"),
    }
}

fn names() -> Vec<String> {
    // Of the network namespace that this thread is in; `/sys` may be that of another.
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let mut names: Vec<_> = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect();
    names.sort_by_key(|name| name == "lo");
    names
}

fn socket() -> Option<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()
}

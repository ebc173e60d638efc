//! Interfaces: which network interfaces this machine has at this moment. It opens none of them.

use pcap::Device;
use rustix::fd::OwnedFd;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// The name that stands for all interfaces.
pub const ANY: &str = "any";

/// More names help nobody to find theirs.
const MOST_NAMES: usize = 16;

/// Those of `wanted` that are not there. `any` always is. Empty, too, if the system does not say.
#[must_use]
pub fn missing(wanted: &[String]) -> Vec<&str> {
    let Some(socket) = socket() else { return Vec::new() };
    let is_there = |name: &str| name == ANY || name_to_index(&socket, name).is_ok();
    wanted.iter().map(String::as_str).filter(|name| !is_there(name)).collect()
}

/// What there is, in words: those that are up first.
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

/// libpcap also names what is no interface, and, if `/sys` is that of another network namespace, what is not in ours.
fn names() -> Vec<String> {
    let (Some(socket), Ok(devices)) = (socket(), Device::list()) else { return Vec::new() };
    let names = devices.into_iter().map(|device| device.name);
    names.filter(|name| name_to_index(&socket, name).is_ok()).collect()
}

fn socket() -> Option<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()
}

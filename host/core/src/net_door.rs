//! NetDoor: what a door in the packet filter is, as the configuration says it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::port_range::PortRange;
use crate::set_name::SetName;
use crate::width::Width;

/// The most ports and ranges of ports of one guard door.
pub const MAX_DOOR_PORTS: usize = 64;

/// The most ports and ranges of all guard doors together.
pub const MAX_GUARDED_PORTS: usize = 2048;

/// The most networks and interfaces that need no knock at one guard door.
pub const MAX_ALWAYS: usize = 1024;

/// The most of them of all guard doors together; they are written in one message to the kernel, which bounds its size.
pub const MAX_ALWAYS_IN_ALL: usize = 16_384;

/// A door in the packet filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetDoor {
    /// Ports that are closed in the table `inet postern` until they are opened for a client.
    Guard(GuardDoor),
    /// Sets in the user's own ruleset, which holds the rule that lets their members in. A client that was a member for
    /// ever, and is let in by Postern as well, is a member for a time from then on.
    Set {
        /// One set of IPv4 addresses, one of IPv6 addresses, or one of each.
        sets: Vec<SetName>,
    },
}

/// Ports that are closed until they are opened, all of them together, for a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardDoor {
    /// Its name, of which the names of its chain and sets are made: 1 to 64 letters, digits, `-` and `_`.
    pub name: Arc<str>,
    /// 1 to [`MAX_DOOR_PORTS`], each port in one door only. A port is the one that the client dials; what a redirection
    /// leads to needs a guard of its own if it can be dialled as well.
    pub ports: Vec<PortRange>,
    /// Who needs no knock; at most [`MAX_ALWAYS`].
    pub always: Vec<Trusted>,
    /// Widths of prefixes that it may be opened for, besides single addresses.
    pub prefixes: Vec<Width>,
    /// What becomes of connections that were made while the door was open.
    pub on_close: OnClose,
}

impl GuardDoor {
    /// Whether this address needs no knock, by whatever interface it comes.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.always
            .iter()
            .any(|trusted| matches!(trusted, Trusted::Network(network) if network.contains(&address)))
    }
}

/// Where packets come from that need no knock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trusted {
    /// From these addresses.
    Network(IpNet),
    /// Over this interface, whether it is there yet or not: 1 to 15 bytes.
    Interface(String),
}

/// What becomes of established connections when a guard door closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnClose {
    /// They live on, as far as the kernel's connection tracking knows them.
    Keep,
    /// Their packets are dropped like any other, also when the door closes because the opening expires. This includes answers
    /// to connections that this machine itself made *from* the port.
    Cut,
    /// As [`OnClose::Cut`]; and TCP connections of this machine are reset, so that both ends know at once, when the door is
    /// closed by an order. When the opening expires they are only cut.
    Reset,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port_range::GuardProtocol;

    #[test]
    fn is_read_as_it_is_written_and_held_to_its_types() {
        let guard = GuardDoor {
            name: "ssh".into(),
            ports: vec![PortRange { protocol: GuardProtocol::Udp, first: 6000, last: 6100 }],
            always: vec![
                Trusted::Network("2001:db8::/32".parse().unwrap()),
                Trusted::Interface("wg0".into()),
            ],
            prefixes: vec!["ipv6/64".parse().unwrap()],
            on_close: OnClose::Reset,
        };
        let set = NetDoor::Set { sets: vec!["inet filter web".parse().unwrap()] };
        for door in [NetDoor::Guard(guard), set] {
            let written = serde_json::to_string(&door).unwrap();
            assert_eq!(serde_json::from_str::<NetDoor>(&written).unwrap(), door, "{written}");
        }
        assert!(serde_json::from_str::<Width>("\"ipv6/128\"").is_err());
        assert!(serde_json::from_str::<SetName>("\"arp a b\"").is_err());
    }
}

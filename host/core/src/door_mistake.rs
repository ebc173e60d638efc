//! DoorMistake: what is wrong with doors in the packet filter that can be seen without looking at the ruleset.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use crate::door::DoorId;
use crate::net_door::{GuardDoor, MAX_ALWAYS, MAX_ALWAYS_IN_ALL, MAX_DOOR_PORTS, MAX_GUARDED_PORTS, NetDoor};
use crate::port_range::{GuardProtocol, PortRange};
use crate::set_name::SetName;

/// What is wrong with a door.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DoorMistake {
    /// A guard door that guards nothing.
    #[error("it guards no port; name at least one")]
    NoPorts,
    /// A guard door with too many ports and ranges.
    #[error("it guards {0} ports and ranges; at most {MAX_DOOR_PORTS} can be in one door")]
    TooManyPorts(usize),
    /// A port that another door, or this one, guards already.
    #[error("{ports} is guarded twice: by `{door}` already, with {before}; name each port once, in one door")]
    PortTwice {
        /// What is named again, or has a port that is.
        ports: PortRange,
        /// What was named before.
        before: PortRange,
        /// The name of the door that guards that.
        door: Arc<str>,
    },
    /// Too many ports and ranges in all guard doors together.
    #[error(
        "with it more than {MAX_GUARDED_PORTS} ports and ranges are guarded, all doors together; guard ranges instead of single ports"
    )]
    TooManyPortsInAll,
    /// Too many networks and interfaces that need no knock in all guard doors together.
    #[error(
        "with it `always` names more than {MAX_ALWAYS_IN_ALL} networks and interfaces, all doors together"
    )]
    TooManyTrustedInAll,
    /// A range that ends before it begins.
    #[error("{0} ends before it begins; write the lower port first")]
    Backwards(PortRange),
    /// Too many networks and interfaces that need no knock.
    #[error("`always` names {0} networks and interfaces; at most {MAX_ALWAYS} can be in one door")]
    TooManyTrusted(usize),
    /// Port 0.
    #[error("{0}/0 is not a port; use 1 to 65535")]
    PortZero(GuardProtocol),
    /// A set door without a set.
    #[error("it names no set; name one, or one for IPv4 and one for IPv6")]
    NoSets,
    /// A set that another door, or this one, fills already.
    #[error("the set {0} is named twice; closing one door would close the other")]
    SetTwice(SetName),
}

/// The mistakes that can be seen without looking at the ruleset.
#[must_use]
pub fn check_doors(doors: &[(DoorId, NetDoor)]) -> Vec<(DoorId, DoorMistake)> {
    let mut mistakes = Vec::new();
    let mut ports_seen: Vec<(PortRange, &Arc<str>)> = Vec::new();
    let mut sets_seen = BTreeSet::new();
    let (mut all_ports, mut all_always) = (0, 0);
    for (id, door) in doors {
        let mut mistake = |mistake| mistakes.push((*id, mistake));
        match door {
            NetDoor::Guard(GuardDoor { name, ports, always, .. }) => {
                if ports.is_empty() {
                    mistake(DoorMistake::NoPorts);
                }
                if ports.len() > MAX_DOOR_PORTS {
                    mistake(DoorMistake::TooManyPorts(ports.len()));
                }
                if always.len() > MAX_ALWAYS {
                    mistake(DoorMistake::TooManyTrusted(always.len()));
                }
                let before = (all_ports, all_always);
                (all_ports, all_always) = (all_ports + ports.len(), all_always + always.len());
                if before.0 <= MAX_GUARDED_PORTS && all_ports > MAX_GUARDED_PORTS {
                    mistake(DoorMistake::TooManyPortsInAll);
                }
                if before.1 <= MAX_ALWAYS_IN_ALL && all_always > MAX_ALWAYS_IN_ALL {
                    mistake(DoorMistake::TooManyTrustedInAll);
                }
                for range in ports {
                    let seen = ports_seen.iter().find(|(seen, _)| seen.overlaps(range));
                    if range.first == 0 {
                        mistake(DoorMistake::PortZero(range.protocol));
                    } else if range.last < range.first {
                        mistake(DoorMistake::Backwards(*range));
                    } else if let Some(&(before, door)) = seen {
                        mistake(DoorMistake::PortTwice { ports: *range, before, door: Arc::clone(door) });
                    } else {
                        ports_seen.push((*range, name));
                    }
                }
            }
            NetDoor::Set { sets } => {
                if sets.is_empty() {
                    mistake(DoorMistake::NoSets);
                }
                for set in sets {
                    if !sets_seen.insert(set) {
                        mistake(DoorMistake::SetTwice(set.clone()));
                    }
                }
            }
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net_door::OnClose;
    use crate::port_range::GuardProtocol;

    #[test]
    fn every_mistake_is_seen_at_once() {
        let guard = |ports: &[(GuardProtocol, u16, u16)]| {
            let range = |(protocol, first, last): &(_, u16, u16)| PortRange {
                protocol: *protocol,
                first: *first,
                last: *last,
            };
            NetDoor::Guard(GuardDoor {
                name: "ssh".into(),
                ports: ports.iter().map(range).collect(),
                always: Vec::new(),
                prefixes: Vec::new(),
                on_close: OnClose::Keep,
            })
        };
        let (tcp, udp) = (GuardProtocol::Tcp, GuardProtocol::Udp);
        let set =
            |sets: &[&str]| NetDoor::Set { sets: sets.iter().map(|set| set.parse().unwrap()).collect() };
        let doors = [
            guard(&[]),
            guard(&[(tcp, 22, 22), (udp, 22, 22)]),
            guard(&[(tcp, 0, 5), (tcp, 22, 22), (tcp, 20, 30), (udp, 9, 8)]),
            guard(&(1000..1065).map(|port| (udp, port, port)).collect::<Vec<_>>()),
            set(&[]),
            set(&["inet filter a", "ip filter a"]),
            set(&["inet filter b", "inet filter a"]),
        ];
        let doors: Vec<_> = (0..).map(DoorId).zip(doors).collect();
        let mistakes = check_doors(&doors).into_iter().map(|(id, mistake)| format!("{} {mistake}", id.0));
        assert_eq!(
            mistakes.collect::<Vec<_>>(),
            [
                "0 it guards no port; name at least one",
                "2 tcp/0 is not a port; use 1 to 65535",
                "2 tcp/22 is guarded twice: by `ssh` already, with tcp/22; name each port once, in one door",
                "2 tcp/20-30 is guarded twice: by `ssh` already, with tcp/22; name each port once, in one door",
                "2 udp/9-8 ends before it begins; write the lower port first",
                "3 it guards 65 ports and ranges; at most 64 can be in one door",
                "4 it names no set; name one, or one for IPv4 and one for IPv6",
                "6 the set inet filter a is named twice; closing one door would close the other",
            ]
        );
    }
}

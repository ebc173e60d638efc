//! Passages: tells, while the guard is tried, whether a door that was opened has let a connection in. It only looks.
//!
//! A connection that is there before its client's door is opened says nothing about the door: it is from before the guard, or from a network
//! that needs no knock. So connections are looked at all the time, and only one that was not there before counts.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;

use postern_core::{Act, Client, DoorId, GuardDoor, GuardProtocol, Order, PortRange};

use crate::check::CheckedDoor;
use crate::connection::Connection;
use crate::sock_diag::SockDiag;

/// Clients that are remembered. Whoever knocks when there are so many has to be let in by a confirmation.
const MOST: usize = 1024;

/// What is known of connections to guarded ports.
#[derive(Default)]
pub(crate) struct Passages {
    /// For whom which door was opened since it was last told of.
    opened: HashSet<(DoorId, Client)>,
    /// Those that were there when it was last looked.
    known: HashSet<Connection>,
    sockets: Option<SockDiag>,
}

impl Passages {
    /// Notes an order that was carried out.
    pub(crate) fn note(&mut self, order: &Order) {
        if matches!(order.act, Act::Open(_) | Act::Extend(_)) && self.opened.len() < MOST {
            self.opened.insert((order.door, order.client));
        }
    }

    /// Those whose door was opened and who have come in by a connection of TCP since then, each once. Nobody if connections cannot be listed.
    pub(crate) fn look(&mut self, doors: &BTreeMap<DoorId, CheckedDoor>) -> Vec<(DoorId, Client)> {
        let guards: Vec<_> = doors
            .iter()
            .filter_map(|(id, door)| match door {
                CheckedDoor::Guard(door, _) => Some((*id, &**door)),
                CheckedDoor::Set { .. } => None,
            })
            .collect();
        let (mut present, mut through) = (HashSet::new(), Vec::new());
        let (opened, known) = (&self.opened, &self.known);
        let look = |local: SocketAddr, remote: SocketAddr, link: u32| {
            let guarded = guards.iter().filter(|(_, door)| is_guarded(door, local, remote));
            for (id, door) in guarded {
                let connection = Connection { local, remote };
                present.insert(connection);
                if !known.contains(&connection) && !door.trusts(remote.ip()) {
                    let is_for =
                        |(opened, client): &&(DoorId, Client)| opened == id && covers(client, remote, link);
                    through.extend(opened.iter().find(is_for).copied());
                }
            }
            false
        };
        let sockets = self.sockets.take().map_or_else(SockDiag::open, Ok);
        let listed = sockets.and_then(|mut sockets| sockets.connections(look).map(|_| sockets));
        // What was seen of a list that failed is no less true, but what is missing in it may still be there.
        match listed {
            Ok(sockets) => (self.sockets, self.known) = (Some(sockets), present),
            Err(_) => self.known.extend(present),
        }
        through.retain(|passage| self.opened.remove(passage));
        through
    }
}

fn is_guarded(door: &GuardDoor, local: SocketAddr, remote: SocketAddr) -> bool {
    let has_port = |range: &PortRange| range.contains(GuardProtocol::Tcp, local.port());
    !remote.ip().is_loopback() && door.ports.iter().any(has_port)
}

fn covers(client: &Client, remote: SocketAddr, link: u32) -> bool {
    client.net().contains(&remote.ip()) && (client.link() == 0 || client.link() == link)
}

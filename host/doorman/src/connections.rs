//! ConnectionTracking: keeps connections alive whose port becomes guarded.
//!
//! Where connections were not tracked before, the next packet of an idle one would be `new` to the kernel's connection tracking, and the
//! guard would drop it. So the connections that sock_diag lists are added to conntrack as established before the guard is installed, and
//! once more after, for those made in between. An entry whose connection ended meanwhile is removed, or it would let a new one pass.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use postern_core::{GuardProtocol, PortRange};

use crate::connection::Connection;
use crate::conntrack::Conntrack;
use crate::kept_connections::KeptConnections;
use crate::sock_diag::SockDiag;

/// Lists connections and has them tracked.
#[derive(Default)]
pub(crate) struct ConnectionTracking {
    sockets: Option<(SockDiag, Conntrack)>,
}

/// What was done before the guard was installed: the connections found, each with whether we added its conntrack entry, and the first error.
#[derive(Default)]
pub(crate) struct Before {
    known: HashMap<Connection, bool>,
    failed: Option<io::Error>,
}

impl ConnectionTracking {
    /// Has the connections to these ports tracked.
    pub(crate) fn keep(&mut self, ports: &[PortRange]) -> Before {
        self.track(ports, Before::default())
    }

    /// Tracks once more, now that the guard is installed. Returns how many connections are kept, and how many to the ports of `cut` are not.
    pub(crate) fn keep_again(
        &mut self,
        ports: &[PortRange],
        before: Before,
        cut: &[PortRange],
    ) -> KeptConnections {
        let ports_of_both = ports.len() + cut.len();
        let Before { known, failed } = self.track(ports, before);
        let cut = if has_tcp(cut) { self.list(cut).map_or(0, |cut| cut.len()) } else { 0 };
        KeptConnections { ports: ports_of_both, connections: known.len(), cut, failed }
    }

    /// Removes the conntrack entries that we added: the guard could not be installed.
    pub(crate) fn take_back(&mut self, before: Before) {
        self.forget(before.known);
    }

    /// Tracks the connections that exist now. Removes the entries that we added for connections of `before` that are gone.
    fn track(&mut self, ports: &[PortRange], before: Before) -> Before {
        if !has_tcp(ports) {
            return before;
        }
        let Before { mut known, mut failed } = before;
        let found = self.list(ports);
        let mut tracked = HashMap::new();
        match found {
            Ok(found) => {
                for connection in found {
                    let is_ours = known.remove(&connection).map_or_else(
                        || self.open().and_then(|(_, conntrack)| conntrack.add(&connection)),
                        Ok,
                    );
                    match is_ours {
                        Ok(is_ours) => drop(tracked.insert(connection, is_ours)),
                        Err(error) => drop(failed.get_or_insert(error)),
                    }
                }
                self.forget(known);
            }
            // The present connections are not known; those found before are kept in their place.
            Err(error) => {
                tracked = known;
                failed.get_or_insert(error);
            }
        }
        Before { known: tracked, failed }
    }

    /// Removes the conntrack entries of those connections that we added.
    fn forget(&mut self, connections: HashMap<Connection, bool>) {
        for connection in
            connections.into_iter().filter_map(|(connection, is_ours)| is_ours.then_some(connection))
        {
            // If that fails, the entry stays until conntrack's own timeout of five days.
            let _ = self.open().and_then(|(_, conntrack)| conntrack.remove(&connection));
        }
    }

    /// The connections to these ports, except those over loopback, which the guard lets pass.
    fn list(&mut self, ports: &[PortRange]) -> io::Result<Vec<Connection>> {
        let (sockets, _) = self.open()?;
        sockets.connections(|local, remote, _| is_among(ports, local) && !remote.ip().is_loopback())
    }

    fn open(&mut self) -> io::Result<&mut (SockDiag, Conntrack)> {
        match &mut self.sockets {
            Some(sockets) => Ok(sockets),
            none => Ok(none.insert((SockDiag::open()?, Conntrack::open()?))),
        }
    }
}

fn has_tcp(ports: &[PortRange]) -> bool {
    ports.iter().any(|range| range.protocol == GuardProtocol::Tcp)
}

fn is_among(ports: &[PortRange], local: SocketAddr) -> bool {
    ports.iter().any(|range| range.contains(GuardProtocol::Tcp, local.port()))
}

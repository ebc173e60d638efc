//! ConnectionTracking: has connections live on whose port becomes guarded.
//!
//! Where nothing tracked connections before, the next packet of an idle one would be new to the tracker, and the guard would drop it. So
//! what sock_diag lists is told to the tracker as established before the guard goes up, and once more after: what was made in
//! between is no less a connection. An entry whose connection ended meanwhile is taken back, or it would let a new one pass.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use postern_core::{GuardProtocol, PortRange};

use crate::connection::Connection;
use crate::conntrack::Conntrack;
use crate::posture::KeptConnections;
use crate::sock_diag::SockDiag;

/// Lists connections and has them tracked.
#[derive(Default)]
pub(crate) struct ConnectionTracking {
    sockets: Option<(SockDiag, Conntrack)>,
}

/// What was done before the guard went up: the connections that were there, whether it is we who told the tracker of each, and what went
/// wrong first.
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

    /// Does it once more, now that the guard is up; how many connections live on, and how many to the ports of `cut` do not.
    pub(crate) fn keep_again(
        &mut self,
        ports: &[PortRange],
        before: Before,
        cut: &[PortRange],
    ) -> KeptConnections {
        let Before { known, failed } = self.track(ports, before);
        let cut = if has_tcp(cut) { self.list(cut).map_or(0, |cut| cut.len()) } else { 0 };
        KeptConnections { connections: known.len(), cut, failed }
    }

    /// Has the tracker forget again what it was told: the guard does not go up.
    pub(crate) fn take_back(&mut self, before: Before) {
        self.forget(before.known);
    }

    /// Has the connections that are there now tracked. Of those of `before` that are gone the tracker is told to forget what it has from us.
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
            // What there is now nobody knows; what was there before is taken for it.
            Err(error) => {
                tracked = known;
                failed.get_or_insert(error);
            }
        }
        Before { known: tracked, failed }
    }

    /// Has the tracker forget those of the connections that it has from us.
    fn forget(&mut self, connections: HashMap<Connection, bool>) {
        for connection in
            connections.into_iter().filter_map(|(connection, is_ours)| is_ours.then_some(connection))
        {
            // If it cannot be told so it cannot be helped: it forgets by itself, in days.
            let _ = self.open().and_then(|(_, conntrack)| conntrack.remove(&connection));
        }
    }

    /// The connections to these ports, but for those that run on this machine alone, where nothing is guarded.
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

//! Keeper: has connections live on whose port becomes guarded.
//!
//! Where nothing tracked connections before, the next packet of an idle one would be new to the tracker, and the guard would drop it. So
//! what sock_diag lists is told to the tracker as established before the guard goes up, and once more after: what was made in
//! between is no less a connection. An entry whose connection ended meanwhile is taken back, or it would let a new one pass.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use crate::connection::Connection;
use crate::conntrack::Conntrack;
use crate::port_range::{GuardProtocol, PortRange};
use crate::posture::Kept;
use crate::sock_diag::SockDiag;

/// Lists connections and has them tracked.
#[derive(Default)]
pub(crate) struct Keeper {
    sockets: Option<(SockDiag, Conntrack)>,
}

/// What was done before the guard went up.
pub(crate) struct Before(io::Result<HashMap<Connection, bool>>);

impl Keeper {
    /// Has the connections to these ports tracked.
    pub(crate) fn keep(&mut self, ports: &[PortRange]) -> Before {
        if !ports.iter().any(|range| range.protocol == GuardProtocol::Tcp) {
            return Before(Ok(HashMap::new()));
        }
        Before(self.track(ports, HashMap::new()))
    }

    /// Does it once more, now that the guard is up; how many connections live on.
    pub(crate) fn keep_again(&mut self, ports: &[PortRange], before: Before) -> Kept {
        let kept = |connections, failed| Kept { connections, failed };
        match before.0 {
            Ok(before)
                if before.is_empty() && !ports.iter().any(|range| range.protocol == GuardProtocol::Tcp) =>
            {
                Kept::default()
            }
            Ok(before) => match self.track(ports, before) {
                Ok(after) => kept(after.len(), None),
                Err(error) => kept(0, Some(error)),
            },
            Err(error) => kept(0, Some(error)),
        }
    }

    /// The connections that are there now, each tracked, and whether it is we who told the tracker of it. `known` are those of before.
    fn track(
        &mut self,
        ports: &[PortRange],
        mut known: HashMap<Connection, bool>,
    ) -> io::Result<HashMap<Connection, bool>> {
        let (sockets, conntrack) = match &mut self.sockets {
            Some(sockets) => sockets,
            none => none.insert((SockDiag::open()?, Conntrack::open()?)),
        };
        let mut tracked = HashMap::new();
        for connection in sockets.connections(|local, _| is_among(ports, local))? {
            // What runs on this machine alone is not guarded.
            if connection.remote.ip().is_loopback() {
                continue;
            }
            let is_ours = match known.remove(&connection) {
                Some(is_ours) => is_ours,
                None => conntrack.add(&connection)?,
            };
            tracked.insert(connection, is_ours);
        }
        for connection in known.into_iter().filter_map(|(connection, is_ours)| is_ours.then_some(connection))
        {
            conntrack.remove(&connection)?;
        }
        Ok(tracked)
    }
}

fn is_among(ports: &[PortRange], local: SocketAddr) -> bool {
    ports.iter().any(|range| range.contains(GuardProtocol::Tcp, local.port()))
}

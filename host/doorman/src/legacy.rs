//! Legacy: the older layout of the table, before each door got a chain of its own. Its ports and openings are taken over.
//!
//! ```text
//! set open4   { type ipv4_addr . inet_proto . inet_service; flags timeout; }
//! set open6   { type ipv6_addr . inet_proto . inet_service; flags timeout; }
//! set guarded { type inet_proto . inet_service; }
//! set strict  { type inet_proto . inet_service; }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use postern_core::{Family, GuardProtocol, PortRange};

use crate::batch::Batch;
use crate::elements::{self, read_client_port, read_port};
use crate::error::DoormanError;
use crate::socket::Socket;
use crate::table::{delete_set, set_name};

const OPEN: [&str; 2] = ["open4", "open6"];
const GUARDED: &str = "guarded";
const STRICT: &str = "strict";

/// What a table in the older layout holds.
#[derive(Debug)]
pub(crate) struct Legacy {
    /// What was guarded.
    pub(crate) guarded: BTreeSet<PortRange>,
    /// What was open, for whom and for how long from now.
    open: Vec<(IpAddr, (GuardProtocol, u16), Duration)>,
}

/// Reads it, if all of its sets are among these.
pub(crate) fn read<T>(
    socket: &mut Socket,
    sets: &BTreeMap<String, T>,
) -> Result<Option<Legacy>, DoormanError> {
    if ![OPEN[0], OPEN[1], GUARDED, STRICT].iter().all(|name| sets.contains_key(*name)) {
        return Ok(None);
    }
    let mut list = |name: &str| {
        let listed = socket.list(Family::Inet, &elements::list(&set_name(name)), elements::read);
        listed.map_err(|errno| DoormanError::Unreachable(errno.into()))
    };
    let guarded = list(GUARDED)?;
    let guarded = guarded.iter().filter_map(|element| read_port(&element.key));
    let guarded = guarded.map(|(protocol, port)| PortRange::single(protocol, port)).collect();
    let mut open = Vec::new();
    for name in OPEN {
        for element in list(name)? {
            if let (Some((client, port)), Some(remaining)) =
                (read_client_port(&element.key), element.remaining)
            {
                open.push((client, port, remaining));
            }
        }
    }
    Ok(Some(Legacy { guarded, open }))
}

impl Legacy {
    /// The clients for which all guarded ones of these ports were open, each with the shortest remaining time.
    pub(crate) fn open_for(&self, ports: &[PortRange]) -> BTreeMap<IpAddr, Duration> {
        let is_ours =
            |(protocol, port): (GuardProtocol, u16)| ports.iter().any(|range| range.contains(protocol, port));
        let guarded = self.guarded.iter().filter(|range| is_ours((range.protocol, range.first))).count();
        let mut clients: BTreeMap<IpAddr, (Duration, usize)> = BTreeMap::new();
        for (client, _, remaining) in self.open.iter().filter(|(_, port, _)| is_ours(*port)) {
            let (least, count) = clients.entry(*client).or_insert((*remaining, 0));
            *least = (*least).min(*remaining);
            *count += 1;
        }
        clients
            .into_iter()
            .filter(|(_, (_, count))| *count == guarded)
            .map(|(client, (least, _))| (client, least))
            .collect()
    }

    /// Removes its sets, which no rule uses any more.
    pub(crate) fn delete(batch: &mut Batch) {
        for name in [OPEN[0], OPEN[1], GUARDED, STRICT] {
            delete_set(batch, name);
        }
    }
}

//! Inventory: what the table `inet postern` holds now.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_netfilter::nftables::TableFlags;
use postern_core::{ConfigIdentity, Family};
use rustix::io::Errno;

use crate::attributes::{find, find_text, find_u32};
use crate::counter;
use crate::door_chain;
use crate::error::DoormanError;
use crate::identity;
use crate::legacy::{self, Legacy};
use crate::port_map::{self, PortMap};
use crate::socket::Socket;
use crate::table;
use crate::trial;

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_TABLE_OWNER: u16 = 7;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_USERDATA: u16 = 13;

/// A table that exists.
#[derive(Debug)]
pub(crate) struct FoundTable {
    pub(crate) flags: TableFlags,
    owner: Option<u32>,
}

/// What is in the table `inet postern`.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(crate) table: FoundTable,
    /// The configuration that it was made for.
    pub(crate) identity: Option<ConfigIdentity>,
    /// The chains of doors.
    pub(crate) chains: BTreeSet<String>,
    /// The sets of doors.
    pub(crate) sets: BTreeSet<String>,
    /// Those of them that do not count: an earlier version made them, or a kernel that cannot.
    pub(crate) uncounted: BTreeSet<String>,
    /// The ports and the chains that they lead to.
    pub(crate) ports: PortMap,
    /// Whether it goes by itself, or has gone, unless it is confirmed; see [`crate::trial`].
    pub(crate) is_tried: bool,
    /// What a daemon with the older layout left.
    pub(crate) legacy: Option<Legacy>,
}

impl FoundTable {
    /// Whether the table has a living owner who is not this socket.
    pub(crate) fn is_of_another(&self, port: u32) -> bool {
        self.flags.contains(TableFlags::Owner) && self.owner != Some(port)
    }

    /// Whether this socket owns it.
    pub(crate) fn is_owned_by(&self, port: u32) -> bool {
        self.flags.contains(TableFlags::Owner) && self.owner == Some(port)
    }
}

impl Inventory {
    /// Takes it; none if there is no such table.
    pub(crate) fn take(socket: &mut Socket) -> Result<Option<Self>, DoormanError> {
        let Some(table) = find_table(socket, table::TABLE)? else { return Ok(None) };
        let mut sets = list_sets(socket)?;
        let identity = sets.iter().find_map(|(name, set)| identity::read(name, &set.user_data));
        let legacy = legacy::read(socket, &sets)?;
        let is_tried = sets.contains_key(trial::TRIAL);
        sets.retain(|name, _| name.starts_with(door_chain::PREFIX));
        let chains = list_chains(socket)?;
        let ports = port_map::read(socket)?;
        let uncounted = sets.iter().filter(|(_, set)| !set.counts).map(|(name, _)| name.clone()).collect();
        let sets = sets.into_keys().collect();
        Ok(Some(Self { table, identity, chains, sets, uncounted, ports, is_tried, legacy }))
    }
}

/// Looks a table of the family inet up.
pub(crate) fn find_table(socket: &mut Socket, name: &str) -> Result<Option<FoundTable>, DoormanError> {
    find_table_of(socket, Family::Inet, name).map_err(|errno| DoormanError::Unreachable(errno.into()))
}

/// Looks a table up.
pub(crate) fn find_table_of(
    socket: &mut Socket,
    family: Family,
    name: &str,
) -> Result<Option<FoundTable>, Errno> {
    socket.ask(family, table::question(name), |attributes| FoundTable {
        flags: TableFlags::from_bits_retain(find_u32(attributes, NFTA_TABLE_FLAGS).unwrap_or_default()),
        owner: find_u32(attributes, NFTA_TABLE_OWNER),
    })
}

/// A set of the table.
struct FoundSet {
    /// What nft keeps with it.
    user_data: Vec<u8>,
    /// Whether its elements count.
    counts: bool,
}

/// The sets of the table.
fn list_sets(socket: &mut Socket) -> Result<BTreeMap<String, FoundSet>, DoormanError> {
    let read = |attributes: &[u8], sets: &mut Vec<(String, FoundSet)>| {
        if find_text(attributes, NFTA_SET_TABLE).as_deref() == Some(table::TABLE)
            && let Some(name) = find_text(attributes, NFTA_SET_NAME)
        {
            let user_data = find(attributes, NFTA_SET_USERDATA).unwrap_or_default().to_vec();
            sets.push((name, FoundSet { user_data, counts: counter::is_declared(attributes) }));
        }
    };
    let listed = socket.list(Family::Inet, &table::sets_question(), read);
    Ok(listed.map_err(|errno| DoormanError::Unreachable(errno.into()))?.into_iter().collect())
}

fn list_chains(socket: &mut Socket) -> Result<BTreeSet<String>, DoormanError> {
    let read = |attributes: &[u8], chains: &mut Vec<String>| {
        let is_ours = find_text(attributes, NFTA_CHAIN_TABLE).as_deref() == Some(table::TABLE);
        let name = find_text(attributes, NFTA_CHAIN_NAME).filter(|name| name.starts_with(door_chain::PREFIX));
        chains.extend(name.filter(|_| is_ours));
    };
    let listed = socket.list(Family::Inet, &table::chains_question(), read);
    Ok(listed.map_err(|errno| DoormanError::Unreachable(errno.into()))?.into_iter().collect())
}

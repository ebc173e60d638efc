//! Checks doors before they are used: finds all mistakes at once and changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use netlink_packet_netfilter::nftables::SetFlags;
use postern_core::{DoorId, GuardDoor, NetDoor, SetName};
use rustix::io::Errno;

use crate::attributes::find_u32;
use crate::door_chain::DoorChain;
use crate::door_set::DoorSet;
use crate::error::{DoormanError, RulesetMistake};
use crate::inventory::find_table_of;
use crate::socket::Socket;
use crate::table::set_question;

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;

// As nft numbers the types of keys.
const IPV4_ADDR: u32 = 7;
const IPV6_ADDR: u32 = 8;

/// A door whose sets were looked up.
pub(crate) enum CheckedDoor {
    Guard(Arc<GuardDoor>, DoorChain),
    Set { v4: Option<DoorSet>, v6: Option<DoorSet> },
}

impl CheckedDoor {
    /// Its sets; see [`DoorChain::sets`].
    pub(crate) fn sets(&self) -> impl Iterator<Item = (&DoorSet, Option<u8>, bool)> {
        let (chain, sets) = match self {
            Self::Guard(_, chain) => (Some(chain), [None, None]),
            Self::Set { v4, v6 } => (None, [v4.as_ref(), v6.as_ref()]),
        };
        let sets = sets.into_iter().flatten().map(|set| (set, None, false));
        chain.into_iter().flat_map(DoorChain::sets).chain(sets)
    }
}

/// The kind of addresses that a set holds.
enum Addresses {
    V4,
    V6,
}

/// Looks every set of the doors up in the ruleset of this network namespace and says what is wrong with them.
///
/// Needs CAP_NET_ADMIN; without, every set is [`RulesetMistake::Unreadable`].
#[must_use]
pub fn check_sets(doors: &[(DoorId, NetDoor)]) -> Vec<(DoorId, RulesetMistake)> {
    match Socket::open() {
        Ok(mut socket) => look_up(&mut socket, doors).1,
        Err(error) => {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            let unreadable = |(id, set): (DoorId, &SetName)| (id, unreadable(set, errno));
            sets_of(doors).map(unreadable).collect()
        }
    }
}

/// Which clients a door can be opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorFamilies {
    /// Those who come over IPv4.
    pub v4: bool,
    /// Those who come over IPv6.
    pub v6: bool,
}

/// Which clients each door can be opened for, as far as its sets can be looked at.
///
/// # Errors
/// If there is no socket to nftables.
pub fn families(doors: &[(DoorId, NetDoor)]) -> Result<BTreeMap<DoorId, DoorFamilies>, DoormanError> {
    let mut socket = Socket::open().map_err(DoormanError::Unreachable)?;
    let of = |door: &CheckedDoor| match door {
        CheckedDoor::Guard(..) => DoorFamilies { v4: true, v6: true },
        CheckedDoor::Set { v4, v6 } => DoorFamilies { v4: v4.is_some(), v6: v6.is_some() },
    };
    let (checked, mistakes) = look_up(&mut socket, doors);
    let is_known = |id: &DoorId| !mistakes.iter().any(|(wrong, _)| wrong == id);
    Ok(checked.iter().filter(|(id, _)| is_known(id)).map(|(id, door)| (*id, of(door))).collect())
}

/// The doors with their sets by address family, and what is wrong with the sets.
pub(crate) fn look_up(
    socket: &mut Socket,
    doors: &[(DoorId, NetDoor)],
) -> (BTreeMap<DoorId, CheckedDoor>, Vec<(DoorId, RulesetMistake)>) {
    let mut checked = BTreeMap::new();
    let mut mistakes = Vec::new();
    for (id, door) in doors {
        let door = match door {
            NetDoor::Guard(guard) => CheckedDoor::Guard(Arc::new(guard.clone()), DoorChain::new(guard)),
            NetDoor::Set { sets } => {
                let (mut v4, mut v6) = (None, None);
                for set in sets {
                    let (place, kind, key_length) = match look_at(socket, set) {
                        Ok(Addresses::V4) => (&mut v4, "IPv4", 4),
                        Ok(Addresses::V6) => (&mut v6, "IPv6", 16),
                        Err(mistake) => {
                            mistakes.push((*id, mistake));
                            continue;
                        }
                    };
                    if let Some(other) = place.replace(DoorSet::new(set.clone(), key_length)) {
                        mistakes.push((
                            *id,
                            RulesetMistake::SameFamily(Box::new([other.name, set.clone()]), kind),
                        ));
                    }
                }
                CheckedDoor::Set { v4, v6 }
            }
        };
        checked.insert(*id, door);
    }
    (checked, mistakes)
}

fn look_at(socket: &mut Socket, set: &SetName) -> Result<Addresses, RulesetMistake> {
    let read = |attributes: &[u8]| {
        let flags = SetFlags::from_bits_retain(find_u32(attributes, NFTA_SET_FLAGS).unwrap_or_default());
        let number = |kind| find_u32(attributes, kind).unwrap_or_default();
        (flags, number(NFTA_SET_KEY_TYPE), number(NFTA_SET_KEY_LEN))
    };
    let answer = socket.ask(set.family, set_question(set), read);
    let Some((flags, key_type, key_length)) = answer.map_err(|errno| unreadable(set, errno))? else {
        return Err(RulesetMistake::SetMissing(set.clone()));
    };
    let addresses = match (key_type, key_length) {
        (IPV4_ADDR, 4) => Addresses::V4,
        (IPV6_ADDR, 16) => Addresses::V6,
        _ => return Err(RulesetMistake::NotAddresses(set.clone())),
    };
    // The worst first, since only one remedy is shown at a time.
    let wrong: Option<fn(SetName) -> RulesetMistake> = if flags.intersects(SetFlags::Map | SetFlags::Object) {
        Some(RulesetMistake::Map)
    } else if flags.contains(SetFlags::Constant) {
        Some(RulesetMistake::Constant)
    } else if flags.contains(SetFlags::Interval) {
        Some(RulesetMistake::Interval)
    } else if flags.contains(SetFlags::Concat) {
        Some(RulesetMistake::NotAddresses)
    } else if !flags.contains(SetFlags::Timeout) {
        Some(RulesetMistake::NoTimeout)
    } else {
        None
    };
    if let Some(mistake) = wrong {
        return Err(mistake(set.clone()));
    }
    let table = find_table_of(socket, set.family, &set.table).map_err(|errno| unreadable(set, errno))?;
    if table.is_some_and(|table| table.is_of_another(socket.port())) {
        return Err(RulesetMistake::TableOwned(set.clone()));
    }
    Ok(addresses)
}

fn unreadable(set: &SetName, errno: Errno) -> RulesetMistake {
    RulesetMistake::Unreadable { name: set.clone(), source: errno.into() }
}

fn sets_of(doors: &[(DoorId, NetDoor)]) -> impl Iterator<Item = (DoorId, &SetName)> {
    doors.iter().flat_map(|(id, door)| {
        let sets = match door {
            NetDoor::Guard(_) => &[],
            NetDoor::Set { sets } => sets.as_slice(),
        };
        sets.iter().map(|set| (*id, set))
    })
}

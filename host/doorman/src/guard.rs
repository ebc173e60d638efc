//! Guard: installs the table `inet postern`, changes its ports to what is wanted, and reads it back.

use std::collections::BTreeSet;

use netlink_packet_netfilter::nftables::TableFlags;
use postern_core::{ConfigIdentity, Family, GuardDoor, OnClose, PortRange, Posture, Release, Unprotected};
use rustix::io::Errno;

use crate::attributes::find;
use crate::connections::ConnectionTracking;
use crate::door_chain::{self, DoorChain, HELD, client_key};
use crate::error::DoormanError;
use crate::identity;
use crate::inventory::{Inventory, find_table};
use crate::kept_connections::KeptConnections;
use crate::legacy::Legacy;
use crate::port_map::{self, PortMap};
use crate::socket::{BatchError, Socket};
use crate::table::{self, CHAINS};

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_RULE_CHAIN: u16 = 2;

/// Never the owner flag alone: the kernel removes such a table with its owner, and every port would be open.
const OWNED: TableFlags = TableFlags::Owner.union(TableFlags::Persisent);

/// The table, as far as we know.
pub(crate) struct Guard {
    identity: Option<ConfigIdentity>,
    posture: Posture,
    tracking: ConnectionTracking,
    /// The ports that were installed last, to restore them if another program removes the table.
    guarded: PortMap,
}

impl Guard {
    /// A guard that has done nothing yet. Without an identity it does not change a table that it did not make.
    pub(crate) fn new(identity: Option<ConfigIdentity>) -> Self {
        Self {
            identity,
            posture: Posture::Unguarded,
            tracking: ConnectionTracking::default(),
            guarded: PortMap::new(),
        }
    }

    pub(crate) fn posture(&self) -> Posture {
        self.posture
    }

    /// Makes the guarded ports those of `doors`, in one transaction: a port that stays guarded is guarded all the time, and openings stay as
    /// they are. The table is made, or taken over from a daemon that is gone, with its openings. Without doors no table is made, and one of
    /// another configuration stays as it is.
    pub(crate) fn put_up(
        &mut self,
        socket: &mut Socket,
        doors: &[GuardDoor],
        release: Release,
    ) -> Result<KeptConnections, DoormanError> {
        let present = Inventory::take(socket)?;
        if let Some(present) = &present {
            let is_ours = match (&present.identity, &self.identity) {
                (Some(theirs), Some(ours)) => theirs.is(ours),
                // A table without an identity is adopted by a daemon that guards something, or did until another program removed its table.
                (theirs, _) => {
                    let guards = !doors.is_empty() || !self.guarded.is_empty();
                    theirs.is_none() && (guards || present.table.is_owned_by(socket.port()))
                }
            };
            let is_of_another = present.table.is_of_another(socket.port());
            if doors.is_empty() && (is_of_another || !is_ours) {
                self.posture = Posture::Unguarded;
                return Ok(KeptConnections::default());
            }
            if is_of_another {
                return Err(DoormanError::Owned(present.identity.clone()));
            }
            if !is_ours && let Some(identity) = &present.identity {
                return Err(DoormanError::OtherConfiguration(identity.clone()));
            }
        }
        match &present {
            None if doors.is_empty() && (release == Release::Now || self.guarded.is_empty()) => {
                self.posture = Posture::Unguarded;
                return Ok(KeptConnections::default());
            }
            Some(_) if doors.is_empty() && release == Release::Now => {
                self.remove(socket)?;
                return Ok(KeptConnections::default());
            }
            _ => {}
        }
        self.write(socket, doors, release, present.as_ref())
    }

    fn write(
        &mut self,
        socket: &mut Socket,
        doors: &[GuardDoor],
        release: Release,
        present: Option<&Inventory>,
    ) -> Result<KeptConnections, DoormanError> {
        let mut wanted = PortMap::new();
        for door in doors {
            wanted.extend(door.ports.iter().map(|range| (*range, door_chain::chain_name(&door.name))));
        }
        if release == Release::Later {
            wanted.extend(
                present.iter().flat_map(|present| still_guarded(present, &wanted)).collect::<PortMap>(),
            );
            wanted.extend(without_door(self.guarded.keys(), &wanted));
        }
        let layout = Layout { identity: self.identity.as_ref(), doors, wanted: &wanted };
        let (keep, cut) = newly_guarded(doors, &wanted, present);
        let before = self.tracking.keep(&keep);
        self.posture = match install(&layout, socket, present) {
            Ok(posture) => posture,
            Err(error) => {
                self.tracking.take_back(before);
                return Err(error);
            }
        };
        let kept = self.tracking.keep_again(&keep, before, &cut);
        layout.check(socket)?;
        self.guarded = wanted;
        self.check_owner(socket)?;
        Ok(kept)
    }

    /// Removes the table; false if there is none. The guarded ports are open to all from then on.
    pub(crate) fn remove(&mut self, socket: &mut Socket) -> Result<bool, DoormanError> {
        let Some(found) = find_table(socket, table::TABLE)? else { return Ok(false) };
        if found.is_of_another(socket.port()) {
            return Err(DoormanError::Owned(None));
        }
        let mut batch = socket.begin();
        table::delete(&mut batch);
        socket.commit(batch).map_err(|failure| refused(&failure, "to remove the table inet postern"))?;
        self.posture = Posture::Unguarded;
        self.guarded.clear();
        Ok(true)
    }

    /// As [`Guard::remove`], but only for a table of this guard's configuration, or one without an identity.
    pub(crate) fn release(&mut self, socket: &mut Socket) -> Result<bool, DoormanError> {
        let present = Inventory::take(socket)?;
        let theirs = present.as_ref().and_then(|present| present.identity.as_ref());
        if let Some(theirs) = theirs
            && !self.identity.as_ref().is_some_and(|ours| ours.is(theirs))
        {
            return Err(DoormanError::OtherConfiguration(theirs.clone()));
        }
        self.remove(socket)
    }

    fn check_owner(&self, socket: &mut Socket) -> Result<(), DoormanError> {
        let found = find_table(socket, table::TABLE)?;
        let found = found.ok_or_else(|| DoormanError::NotAsWritten("it is gone".to_owned()))?;
        let owned = found.flags.contains(OWNED) && found.is_owned_by(socket.port());
        if self.posture == Posture::Owned && !owned {
            return Err(DoormanError::NotAsWritten("it has another owner".to_owned()));
        }
        if found.flags.contains(TableFlags::Dormant) {
            return Err(DoormanError::NotAsWritten("it is dormant".to_owned()));
        }
        Ok(())
    }
}

/// Writes a layout into a new table, or over what is in the one that is there.
fn install(
    layout: &Layout<'_>,
    socket: &mut Socket,
    present: Option<&Inventory>,
) -> Result<Posture, DoormanError> {
    let Some(present) = present else {
        return match layout.install(socket, None, OWNED) {
            Ok(()) => Ok(Posture::Owned),
            Err(InstallError::Flags) => {
                layout.install(socket, None, TableFlags::empty()).map_err(InstallError::into_error)?;
                Ok(Posture::Plain(Unprotected::Kernel))
            }
            Err(refusal) => Err(refusal.into_error()),
        };
    };
    // The kernel refuses to add an owner to a table that was made without one.
    let plain = (present.table.flags & OWNED).is_empty();
    let flags = if plain { TableFlags::empty() } else { OWNED };
    match layout.install(socket, Some(present), flags) {
        Ok(()) if plain => Ok(Posture::Plain(Unprotected::Found)),
        Ok(()) => Ok(Posture::Owned),
        Err(InstallError::Other(error @ (DoormanError::Owned(_) | DoormanError::Unreachable(_)))) => {
            Err(error)
        }
        // Something of ours cannot be made in it: another program made a table of the same name.
        Err(_) => layout.replace(socket, present),
    }
}

/// What the table is to hold.
struct Layout<'a> {
    identity: Option<&'a ConfigIdentity>,
    doors: &'a [GuardDoor],
    /// All ports to guard, including those that are held without a door.
    wanted: &'a PortMap,
}

impl Layout<'_> {
    /// Writes it over what is there, in one transaction.
    fn install(
        &self,
        socket: &mut Socket,
        present: Option<&Inventory>,
        flags: TableFlags,
    ) -> Result<(), InstallError> {
        let mut batch = socket.begin();
        self.write(&mut batch, present, present.and_then(|present| present.legacy.as_ref()), flags);
        socket.commit(batch).map_err(|failure| match &failure {
            BatchError::Messages(failed) => match failed.first() {
                Some((1, Errno::INVAL | Errno::OPNOTSUPP)) if !flags.is_empty() => InstallError::Flags,
                // Another process became the owner in between.
                Some((1, Errno::PERM)) => InstallError::Other(DoormanError::Owned(None)),
                _ => InstallError::Other(refused(&failure, "to write the table inet postern")),
            },
            BatchError::Whole(_) => InstallError::Other(refused(&failure, "to write the table inet postern")),
        })
    }

    /// Replaces the existing table by a new one, in one transaction.
    fn replace(&self, socket: &mut Socket, present: &Inventory) -> Result<Posture, DoormanError> {
        let tries = [(OWNED, Posture::Owned), (TableFlags::empty(), Posture::Plain(Unprotected::Kernel))];
        let mut last = Ok(Posture::Unguarded);
        for (flags, posture) in tries {
            let mut batch = socket.begin();
            table::delete(&mut batch);
            self.write(&mut batch, None, present.legacy.as_ref(), flags);
            match socket.commit(batch) {
                Ok(()) => return Ok(posture),
                // Another process became the owner in between.
                Err(BatchError::Messages(failed)) if matches!(failed.first(), Some((1, Errno::PERM))) => {
                    return Err(DoormanError::Owned(None));
                }
                Err(failure) => last = Err(refused(&failure, "to replace the table inet postern")),
            }
        }
        last
    }

    fn write(
        &self,
        batch: &mut crate::batch::Batch,
        present: Option<&Inventory>,
        legacy: Option<&Legacy>,
        flags: TableFlags,
    ) {
        let mut ids = 0;
        table::write(batch, flags);
        if let Some(identity) = self.identity
            && present.is_none_or(|present| present.identity.is_none())
        {
            ids += 1;
            identity::write(identity, batch, ids);
        }
        let chains: Vec<_> = self.doors.iter().map(|door| (door, DoorChain::new(door))).collect();
        for (door, chain) in &chains {
            chain.write(batch, door, &mut ids);
        }
        if self.wanted.values().any(|chain| chain == HELD) {
            door_chain::write_held(batch);
        }
        ids += 1;
        port_map::write(batch, ids);
        let nothing = PortMap::new();
        port_map::change(batch, present.map_or(&nothing, |present| &present.ports), self.wanted);
        table::write_base_chains(batch);
        if let Some(legacy) = legacy {
            for (door, chain) in &chains {
                for (address, remaining) in legacy.open_for(&door.ports) {
                    let client = postern_core::Client::alone(address);
                    if let (Some(set), Some(key)) = (chain.set_for(&client), client_key(&client, |_| None)) {
                        set.open(batch, &key, remaining);
                    }
                }
            }
        }
        if let Some(present) = present {
            self.clear(batch, present, &chains);
        }
    }

    /// Removes chains and sets that no door needs any more. The base chains and the map were written before, so nothing refers to them.
    fn clear(
        &self,
        batch: &mut crate::batch::Batch,
        present: &Inventory,
        chains: &[(&GuardDoor, DoorChain)],
    ) {
        let used: BTreeSet<_> = self.wanted.values().map(String::as_str).collect();
        let written: BTreeSet<_> =
            chains.iter().map(|(door, _)| door_chain::chain_name(&door.name)).collect();
        let gone = |chain: &&String| !used.contains(chain.as_str()) && !written.contains(chain.as_str());
        for chain in present.chains.iter().filter(gone) {
            table::empty_chain(batch, chain);
            table::delete_chain(batch, chain);
        }
        let needed: BTreeSet<_> = chains
            .iter()
            .flat_map(|(_, chain)| chain.sets().map(|(set, ..)| set.name.name.as_str()))
            .collect();
        // A chain that is only held still uses its sets in its rules.
        let is_held = |set: &str| used.iter().any(|chain| !written.contains(*chain) && is_set_of(set, chain));
        for set in present.sets.iter().filter(|set| !needed.contains(set.as_str()) && !is_held(set)) {
            table::delete_set(batch, set);
        }
        if present.legacy.is_some() {
            Legacy::delete(batch);
        }
    }

    /// Reads back what was written.
    fn check(&self, socket: &mut Socket) -> Result<(), DoormanError> {
        let found = port_map::read(socket)?;
        if found != *self.wanted {
            let missing = self.wanted.iter().filter(|(range, chain)| found.get(range) != Some(chain)).count();
            let extra = found.keys().filter(|range| !self.wanted.contains_key(range)).count();
            return Err(DoormanError::NotAsWritten(format!(
                "its map lacks {missing} ports and has {extra} too many"
            )));
        }
        let doors = self
            .doors
            .iter()
            .map(|door| (door_chain::chain_name(&door.name), DoorChain::new(door).rules(door).len()));
        let base = CHAINS.iter().map(|chain| (chain.name.to_owned(), chain.rules().len()));
        for (chain, expected) in base.chain(doors) {
            let read = |attributes: &[u8], names: &mut Vec<Vec<u8>>| {
                names.extend(find(attributes, NFTA_RULE_CHAIN).map(<[u8]>::to_vec));
            };
            let found = socket.list(Family::Inet, &table::rules_question(&chain), read);
            let found = found.map_err(|errno| DoormanError::Unreachable(errno.into()))?;
            let is_ours = |name: &&Vec<u8>| name.strip_suffix(&[0]) == Some(chain.as_bytes());
            let found = found.iter().filter(is_ours).count();
            if found != expected {
                return Err(DoormanError::NotAsWritten(format!(
                    "the chain {chain} has {found} rules instead of {expected}"
                )));
            }
        }
        Ok(())
    }
}

/// The ports that are guarded now and are not among `wanted`, with their chains.
fn still_guarded(present: &Inventory, wanted: &PortMap) -> PortMap {
    let mut held = PortMap::new();
    for (range, chain) in &present.ports {
        let is_there = present.chains.contains(chain);
        let chain = if is_there { chain.as_str() } else { HELD };
        held.extend(range.without(wanted.keys()).into_iter().map(|range| (range, chain.to_owned())));
    }
    held.extend(without_door(present.legacy.iter().flat_map(|legacy| &legacy.guarded), wanted));
    held
}

/// Those of `ports` that are not among `wanted`, all with the chain for ports whose door is gone.
fn without_door<'a>(ports: impl IntoIterator<Item = &'a PortRange>, wanted: &PortMap) -> PortMap {
    let left = ports.into_iter().flat_map(|range| range.without(wanted.keys()));
    left.map(|range| (range, HELD.to_owned())).collect()
}

/// The ports among `wanted` that are not guarded now: first those whose connections are kept, then those whose connections are cut.
fn newly_guarded(
    doors: &[GuardDoor],
    wanted: &PortMap,
    present: Option<&Inventory>,
) -> (Vec<PortRange>, Vec<PortRange>) {
    let guarded: Vec<_> = present
        .iter()
        .flat_map(|present| {
            present.ports.keys().chain(present.legacy.iter().flat_map(|legacy| &legacy.guarded))
        })
        .collect();
    let cuts = |door: &&GuardDoor| door.on_close != OnClose::Keep;
    let cutting: BTreeSet<_> =
        doors.iter().filter(cuts).map(|door| door_chain::chain_name(&door.name)).collect();
    let (mut keep, mut cut) = (Vec::new(), Vec::new());
    for (range, chain) in wanted {
        let newly = range.without(guarded.iter().copied());
        if cutting.contains(chain) { cut.extend(newly) } else { keep.extend(newly) }
    }
    (keep, cut)
}

/// Whether a set is one of the door whose chain this is.
fn is_set_of(set: &str, chain: &str) -> bool {
    set.strip_prefix(chain).is_some_and(|rest| rest.starts_with('.'))
}

enum InstallError {
    /// The kernel does not know the flags of the table.
    Flags,
    Other(DoormanError),
}

impl InstallError {
    fn into_error(self) -> DoormanError {
        match self {
            Self::Flags => DoormanError::Refused {
                what: "the flags of the table inet postern".to_owned(),
                source: Errno::OPNOTSUPP.into(),
            },
            Self::Other(error) => error,
        }
    }
}

fn refused(failure: &BatchError, what: &str) -> DoormanError {
    match failure {
        BatchError::Whole(Errno::PERM) => DoormanError::Unreachable(Errno::PERM.into()),
        _ => DoormanError::Refused { what: what.to_owned(), source: failure.first().into() },
    }
}

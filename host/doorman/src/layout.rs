//! Layout: what the table `inet postern` is to hold, written in one transaction and read back. What that is, others decide.

use std::collections::BTreeSet;
use std::time::Duration;

use netlink_packet_netfilter::nftables::TableFlags;
use postern_core::{ConfigIdentity, Family, GuardDoor, OpeningNote, Posture, Unprotected};
use rustix::io::Errno;

use crate::attributes::find;
use crate::base_chains::{self, CHAINS};
use crate::door_chain::{self, DoorChain, HELD, SetForm, client_key};
use crate::elements;
use crate::error::DoormanError;
use crate::identity;
use crate::inventory::Inventory;
use crate::legacy::Legacy;
use crate::port_map::{self, PortMap};
use crate::socket::{BatchError, Socket};
use crate::table;
use crate::trial;

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_RULE_CHAIN: u16 = 2;

/// Never the owner flag alone: the kernel removes such a table with its owner, and every port would be open.
pub(crate) const OWNED: TableFlags = TableFlags::Owner.union(TableFlags::Persisent);

/// What the table is to hold.
pub(crate) struct Layout<'a> {
    pub(crate) identity: Option<&'a ConfigIdentity>,
    /// For how long it is tried; none for good.
    pub(crate) left: Option<Duration>,
    pub(crate) doors: &'a [GuardDoor],
    /// All ports to guard, including those that are held without a door.
    pub(crate) wanted: &'a PortMap,
    /// Whether new sets count what they let in.
    pub(crate) counts: bool,
    /// Sets that are there and are made anew, so that they count; see [`remade`].
    pub(crate) remade: &'a BTreeSet<String>,
}

/// The sets of these doors that are there, do not count and hold nothing. To the kernel a set that counts is another one, so one that holds openings
/// is left as it is until they are over.
pub(crate) fn remade(
    socket: &mut Socket,
    doors: &[GuardDoor],
    present: &Inventory,
) -> Result<BTreeSet<String>, DoormanError> {
    let mut remade = BTreeSet::new();
    for chain in doors.iter().map(DoorChain::new) {
        for (set, ..) in chain.sets().filter(|(set, ..)| present.uncounted.contains(&set.name.name)) {
            let listed = socket.list(set.name.family, &elements::list(&set.name), elements::read);
            if listed.map_err(|errno| DoormanError::Unreachable(errno.into()))?.is_empty() {
                remade.insert(set.name.name.clone());
            }
        }
    }
    Ok(remade)
}

/// Writes a layout into a new table, or over what is in the one that is there.
pub(crate) fn install(
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
        // Something of ours cannot be made in it: another program made a table of the same name, or looks up a set of ours.
        Err(_) if !layout.remade.is_empty() => {
            install(&Layout { remade: &BTreeSet::new(), ..*layout }, socket, Some(present))
        }
        Err(_) => layout.replace(socket, present),
    }
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
            chain.write(batch, door, &mut ids, |set| self.form(present, set));
        }
        if self.wanted.values().any(|chain| chain == HELD) {
            door_chain::write_held(batch);
        }
        ids += 1;
        port_map::write(batch, ids);
        let nothing = PortMap::new();
        port_map::change(batch, present.map_or(&nothing, |present| &present.ports), self.wanted);
        if let Some(left) = self.left {
            ids += 1;
            trial::write(batch, ids, left);
        }
        base_chains::write(batch, self.left.is_some());
        if let Some(legacy) = legacy {
            for (door, chain) in &chains {
                for (address, remaining) in legacy.open_for(&door.ports) {
                    let client = postern_core::Client::alone(address);
                    if let (Some(set), Some(key)) = (chain.set_for(&client), client_key(&client, |_| None)) {
                        set.open(batch, &key, remaining, None, &OpeningNote::default());
                    }
                }
            }
        }
        if let Some(present) = present {
            self.clear(batch, present, &chains);
        }
    }

    /// What is there stays what it is.
    fn form(&self, present: Option<&Inventory>, set: &str) -> SetForm {
        match present.filter(|present| present.sets.contains(set)) {
            Some(_) if self.remade.contains(set) => SetForm::Remade,
            Some(present) if present.uncounted.contains(set) => SetForm::Plain,
            None if !self.counts => SetForm::Plain,
            _ => SetForm::Counted,
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
        if present.is_tried && self.left.is_none() {
            table::delete_set(batch, trial::TRIAL);
        }
        if present.legacy.is_some() {
            Legacy::delete(batch);
        }
    }

    /// Reads back what was written.
    pub(crate) fn check(&self, socket: &mut Socket) -> Result<(), DoormanError> {
        self.left.map_or(Ok(()), |left| trial::check(socket, left))?;
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
        let is_tried = self.left.is_some();
        let base = CHAINS.iter().map(|chain| (chain.name.to_owned(), chain.rules(is_tried).len()));
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

/// What the kernel refused, as an error.
pub(crate) fn refused(failure: &BatchError, what: &str) -> DoormanError {
    match failure {
        BatchError::Whole(Errno::PERM) => DoormanError::Unreachable(Errno::PERM.into()),
        _ => DoormanError::Refused { what: what.to_owned(), source: failure.first().into() },
    }
}

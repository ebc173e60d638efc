//! Guard: decides what the table `inet postern` is to hold and whose it is, and has it written and read back.

use std::collections::BTreeSet;
use std::time::Instant;

use netlink_packet_netfilter::nftables::TableFlags;
use postern_core::{ConfigIdentity, GuardDoor, OnClose, PortRange, Posture, Release};

use crate::connections::ConnectionTracking;
use crate::counting;
use crate::door_chain::{self, HELD};
use crate::error::DoormanError;
use crate::inventory::{Inventory, find_table};
use crate::kept_connections::KeptConnections;
use crate::layout::{Layout, OWNED, install, refused, remade};
use crate::port_map::PortMap;
use crate::socket::Socket;
use crate::table;
use crate::trial::{GuardTrial, Tenure};

/// The table, as far as we know.
pub(crate) struct Guard {
    identity: Option<ConfigIdentity>,
    tenure: Tenure,
    /// Whether it began as one that is tried. Then it is not there for anybody before it is confirmed, and whoever gives it up has not heard of that.
    was_tried: bool,
    posture: Posture,
    tracking: ConnectionTracking,
    /// The ports that were installed last, to restore them if another program removes the table.
    guarded: PortMap,
    /// Whether the kernel takes sets that count; none if there was no door so far.
    counts: Option<bool>,
}

impl Guard {
    /// A guard that has done nothing yet. Without an identity it does not change a table that it did not make.
    pub(crate) fn new(identity: Option<ConfigIdentity>, trial: Option<GuardTrial>) -> Self {
        Self {
            identity,
            tenure: trial.map_or(Tenure::ForGood, Tenure::Tried),
            was_tried: trial.is_some(),
            posture: Posture::Unguarded,
            tracking: ConnectionTracking::default(),
            guarded: PortMap::new(),
            counts: None,
        }
    }

    /// Whether openings can go on counting from a number.
    pub(crate) fn counts(&self) -> bool {
        self.counts == Some(true)
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
        if let Err(over) = self.tenure.left(Instant::now()) {
            self.posture = Posture::Unguarded;
            return Err(over);
        }
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
            let is_first = matches!(self.tenure, Tenure::Tried(GuardTrial { is_begun: false, .. }));
            let guards = !present.ports.is_empty() || present.legacy.is_some();
            if is_first && guards && !present.is_tried {
                return Err(DoormanError::GuardedForGood(present.identity.clone()));
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
        let left = self.tenure.left(Instant::now())?;
        if !doors.is_empty() {
            self.counts.get_or_insert_with(|| counting::is_possible(socket));
        }
        let counts = self.counts();
        let remade = match present.filter(|_| counts) {
            Some(present) => remade(socket, doors, present)?,
            None => BTreeSet::new(),
        };
        let identity = self.identity.as_ref();
        let layout = Layout { identity, left, doors, wanted: &wanted, counts, remade: &remade };
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
        if let Err(error) = layout.check(socket) {
            // What is tried must go by itself, and that it does is not known.
            if left.is_some() {
                self.remove(socket)?;
            }
            return Err(error);
        }
        self.guarded = wanted;
        self.check_owner(socket)?;
        if let Tenure::Tried(trial) = &mut self.tenure {
            trial.is_begun = true;
        }
        Ok(kept)
    }

    /// Has the guard stay from now on, if it is tried and its end has not come; `doors` are those in place. If that fails it is tried as before.
    pub(crate) fn confirm(
        &mut self,
        socket: &mut Socket,
        doors: &[GuardDoor],
    ) -> Result<KeptConnections, DoormanError> {
        self.tenure.left(Instant::now())?;
        let before = std::mem::replace(&mut self.tenure, Tenure::ForGood);
        let kept = self.put_up(socket, doors, Release::Later);
        if kept.is_err() {
            self.tenure = before;
        }
        kept
    }

    /// Gives up a guard that is tried, and puts none up any more; false if there is none. One that never was tried stays. One that was confirmed goes
    /// as well: whoever gives it up was not told, and has told people that it goes.
    pub(crate) fn give_up(&mut self, socket: &mut Socket) -> Result<bool, DoormanError> {
        let was_confirmed = match self.tenure {
            Tenure::ForGood if !self.was_tried => return Ok(false),
            Tenure::ForGood => true,
            Tenure::Tried(_) | Tenure::Over => false,
        };
        self.tenure = Tenure::Over;
        let is_tried = Inventory::take(socket)?.is_some_and(|present| {
            let is_ours = self.identity.as_ref().zip(present.identity.as_ref());
            (present.is_tried || was_confirmed) && is_ours.is_none_or(|(ours, theirs)| ours.is(theirs))
        });
        if is_tried { self.remove(socket) } else { Ok(false) }
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

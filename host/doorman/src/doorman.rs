//! Doorman: keeps the doors of the packet filter, and knows which of them are open.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use postern_core::{
    Client, ConfigIdentity, DoorId, Family, GuardDoor, ListedOpening, Listing, NetDoor, OpeningNote, Posture,
    Release, check_doors,
};

use crate::attributes::find_u64;
use crate::check::{CheckedDoor, look_up};
use crate::door_set::DoorSet;
use crate::elements::{self, read_address, read_interface_and_address};
use crate::error::{DoormanError, RulesetMistake};
use crate::guard::Guard;
use crate::kept_connections::KeptConnections;
use crate::owner_socket::OwnerSocket;
use crate::passages::Passages;
use crate::sock_diag::SockDiag;
use crate::socket::Socket;
use crate::table::{TABLE, question, set_question};
use crate::trial::GuardTrial;

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_TABLE_HANDLE: u16 = 4;
const NFTA_SET_HANDLE: u16 = 16;

/// How long the kernel may take to let go of a table whose owner is gone.
const LETS_GO: Duration = Duration::from_secs(1);

/// The kernel's handles of a table and of a set in it.
type Handle = (u64, u64);

/// The doors of one network namespace: that of the thread which called [`Doorman::start`].
///
/// Dropping it opens nothing: the table stays, open doors close on time, and the next doorman takes both over.
pub struct Doorman {
    pub(crate) socket: Socket,
    pub(crate) guard: Guard,
    pub(crate) doors: BTreeMap<DoorId, CheckedDoor>,
    /// The guard doors that were installed last, to restore them.
    guarded: Vec<GuardDoor>,
    /// The handles that the kernel gave to the sets of each door; a set that was made anew under the same name has another handle.
    handles: BTreeMap<DoorId, Vec<Option<Handle>>>,
    /// Opened when a connection is reset for the first time.
    pub(crate) connections: Option<SockDiag>,
    /// None if the guard is not tried.
    pub(crate) passages: Option<Passages>,
}

impl Doorman {
    /// Closes the guarded ports and checks the sets of set doors.
    ///
    /// A table that an earlier doorman left is taken over, with its openings. Without guard doors no table is made; an existing table of the
    /// same configuration is removed if `release` allows it, and any other stays as it is.
    ///
    /// # Errors
    ///
    /// [`DoormanError::Doors`] with every mistake in the doors; [`DoormanError::Owned`] if another daemon guards;
    /// [`DoormanError::OtherConfiguration`] if another configuration's daemon did; and what the kernel refuses.
    pub fn start(
        identity: Option<ConfigIdentity>,
        doors: &[(DoorId, NetDoor)],
        release: Release,
    ) -> Result<(Self, KeptConnections), DoormanError> {
        let socket = OwnerSocket::open().map_err(DoormanError::Unreachable)?;
        let mut doorman = Self::without_doors(socket, identity, None);
        let kept = doorman.set_doors(doors, release)?;
        Ok((doorman, kept))
    }

    /// A doorman that has changed nothing so far, and works with this socket; its guard may be one that is tried.
    pub(crate) fn without_doors(
        socket: OwnerSocket,
        identity: Option<ConfigIdentity>,
        trial: Option<GuardTrial>,
    ) -> Self {
        Self {
            socket: socket.0,
            guard: Guard::new(identity, trial),
            doors: BTreeMap::new(),
            guarded: Vec::new(),
            handles: BTreeMap::new(),
            connections: None,
            passages: trial.map(|_| Passages::default()),
        }
    }

    /// Gives the socket back.
    pub(crate) fn into_socket(self) -> OwnerSocket {
        OwnerSocket(self.socket)
    }

    /// Replaces the doors. A port that is guarded before and after stays closed all the while, and an opening stays open as long as there is a
    /// guard door of the same name. Ports that no door guards any more are released as `release` says.
    ///
    /// # Errors
    ///
    /// As of [`Self::start`]; the doors stay as they were.
    pub fn set_doors(
        &mut self,
        doors: &[(DoorId, NetDoor)],
        release: Release,
    ) -> Result<KeptConnections, DoormanError> {
        let checked = self.check(doors)?;
        let guarded: Vec<_> = doors
            .iter()
            .filter_map(|(_, door)| match door {
                NetDoor::Guard(guard) => Some(guard.clone()),
                NetDoor::Set { .. } => None,
            })
            .collect();
        match self.guard.put_up(&mut self.socket, &guarded, release) {
            Ok(kept) => {
                (self.doors, self.guarded) = (checked, guarded);
                Ok(kept)
            }
            Err(error) => {
                // It may have failed when it was read back, after it was written. The caller may rely on it that an error changed nothing.
                if !self.guarded.is_empty() {
                    let _ = self.guard.put_up(&mut self.socket, &self.guarded, Release::Later);
                }
                Err(error)
            }
        }
    }

    /// Has the guard stay from now on, if it was tried.
    ///
    /// # Errors
    /// What the kernel refuses; the guard is tried as before then.
    pub fn confirm(&mut self) -> Result<KeptConnections, DoormanError> {
        let kept = self.guard.confirm(&mut self.socket, &self.guarded)?;
        self.passages = None;
        Ok(kept)
    }

    /// Removes a guard that is tried, and puts none up from now on; false if there was none. One that stands for good stays.
    ///
    /// # Errors
    /// What the kernel refuses; the guard still goes at its end.
    pub fn give_up(&mut self) -> Result<bool, DoormanError> {
        self.passages = None;
        self.guard.give_up(&mut self.socket)
    }

    /// Those whose door was opened while the guard is tried and who have come in since then, each once.
    pub fn passages(&mut self) -> Vec<(DoorId, Client)> {
        self.passages.as_mut().map(|passages| passages.look(&self.doors)).unwrap_or_default()
    }

    /// How well the guarded ports are protected now.
    #[must_use]
    pub fn posture(&self) -> Posture {
        self.guard.posture()
    }

    /// How the kernel names this doorman in the changes that it makes; for [`crate::Changes`].
    #[must_use]
    pub fn port_id(&self) -> u32 {
        self.socket.port()
    }

    /// Asks the kernel something, to see that it answers and still lets this process ask; nothing is changed.
    ///
    /// # Errors
    ///
    /// [`DoormanError::Unreachable`].
    pub fn probe(&mut self) -> Result<(), DoormanError> {
        let answer = self.socket.ask(Family::Inet, question(TABLE), |_| ());
        answer.map(drop).map_err(|errno| DoormanError::Unreachable(errno.into()))
    }

    /// All openings, also those that another program made. An element without a timeout is not an opening.
    ///
    /// # Errors
    ///
    /// [`DoormanError::Unreachable`]. A table or a set that is gone is no error: nothing is open there.
    pub fn list(&mut self) -> Result<Listing, DoormanError> {
        let mut listing = Listing::default();
        let mut handles = BTreeMap::new();
        for (id, door) in &self.doors {
            let mut numbers = Vec::new();
            for (set, width, has_link) in door.sets() {
                numbers.push(handle(&mut self.socket, set)?);
                for (key, remaining, note) in list_expiring(&mut self.socket, set)? {
                    let client = match has_link {
                        true => read_interface_and_address(&key).and_then(|(name, address)| {
                            Some(Client::on_link(address, self.socket.index_of_link(&name)?))
                        }),
                        false => read_address(&key).map(|address| match width {
                            Some(width) => ipnet::IpNet::new(address, width)
                                .map_or_else(|_| Client::alone(address), Client::prefix),
                            None => Client::alone(address),
                        }),
                    };
                    listing.openings.extend(client.map(|client| ListedOpening {
                        door: *id,
                        client,
                        remaining,
                        note,
                    }));
                }
            }
            if numbers.iter().all(Option::is_some) && self.handles.get(id) == Some(&numbers) {
                listing.lived_on.insert(*id);
            }
            handles.insert(*id, numbers);
        }
        self.handles = handles;
        listing.openings.sort_unstable_by_key(|opening| (opening.door, opening.client));
        Ok(listing)
    }

    /// Has the next listing be the first one: no door has lived on in it.
    pub fn forget_listing(&mut self) {
        self.handles.clear();
    }

    /// Restores the table if another program removed or changed it. Openings in it are lost; the engine must order them again for their
    /// remaining time.
    ///
    /// # Errors
    ///
    /// As of [`Self::start`].
    pub fn restore_table(&mut self) -> Result<(Posture, KeptConnections), DoormanError> {
        let kept = self.guard.put_up(&mut self.socket, &self.guarded, Release::Later)?;
        Ok((self.posture(), kept))
    }

    fn check(&mut self, doors: &[(DoorId, NetDoor)]) -> Result<BTreeMap<DoorId, CheckedDoor>, DoormanError> {
        let plain =
            check_doors(doors).into_iter().map(|(door, mistake)| (door, RulesetMistake::Door(mistake)));
        let (checked, found) = look_up(&mut self.socket, doors);
        let mut mistakes: Vec<_> = plain.chain(found).collect();
        if !mistakes.is_empty() {
            mistakes.sort_by_key(|(door, _): &(DoorId, RulesetMistake)| *door);
            return Err(DoormanError::Doors(mistakes));
        }
        Ok(checked)
    }
}

/// Removes a table that a daemon left, if it was made for this configuration, or for none that is known. **Every port that it guards is open
/// to all from then on**; false if there is none.
///
/// # Errors
///
/// [`DoormanError::Owned`] if the daemon lives, [`DoormanError::OtherConfiguration`] if the table was made for another.
pub fn reset(identity: ConfigIdentity) -> Result<bool, DoormanError> {
    Guard::new(Some(identity), None).release(&mut Socket::open().map_err(DoormanError::Unreachable)?)
}

/// Removes a table that a daemon left which tried the guard of this configuration; false if there is none. A guard that stands for good stays.
/// Waits up to a second for the kernel to let go of the table: that takes a moment after its owner is gone.
///
/// # Errors
/// [`DoormanError::Owned`] if the daemon lives, and what the kernel refuses.
pub fn give_up_trial(identity: ConfigIdentity) -> Result<bool, DoormanError> {
    let over = GuardTrial { until: Instant::now(), is_begun: true };
    let mut socket = Socket::open().map_err(DoormanError::Unreachable)?;
    let mut guard = Guard::new(Some(identity), Some(over));
    when_free(|| guard.give_up(&mut socket))
}

/// As [`reset`], right behind the end of the process that owned the table. **Also a guard that stands for good goes.** Waits as [`give_up_trial`] does.
///
/// # Errors
/// As [`reset`].
pub fn reset_after(identity: &ConfigIdentity) -> Result<bool, DoormanError> {
    when_free(|| reset(identity.clone()))
}

/// Does something with the table, for some time again and again while another process owns it: the kernel lets go of it a moment after that is gone.
fn when_free(mut act: impl FnMut() -> Result<bool, DoormanError>) -> Result<bool, DoormanError> {
    let last = Instant::now() + LETS_GO;
    loop {
        match act() {
            Err(DoormanError::Owned(_)) if Instant::now() < last => sleep(LETS_GO / 100),
            given_up => return given_up,
        }
    }
}

/// The handle by which a set differs from a later one of the same name; none if there is no such set.
fn handle(socket: &mut Socket, set: &DoorSet) -> Result<Option<Handle>, DoormanError> {
    let mut ask = |question, kind| {
        let answer = socket.ask(set.name.family, question, |attributes| find_u64(attributes, kind));
        answer.map(Option::flatten).map_err(|errno| DoormanError::Unreachable(errno.into()))
    };
    let table = ask(question(&set.name.table), NFTA_TABLE_HANDLE)?;
    Ok(table.zip(ask(set_question(&set.name), NFTA_SET_HANDLE)?))
}

fn list_expiring(
    socket: &mut Socket,
    set: &DoorSet,
) -> Result<Vec<(Vec<u8>, Duration, OpeningNote)>, DoormanError> {
    let listed = socket.list(set.name.family, &elements::list(&set.name), elements::read);
    let listed = listed.map_err(|errno| DoormanError::Unreachable(errno.into()))?;
    let expiring = |element: elements::Element| Some((element.key, element.remaining?, element.note));
    Ok(listed.into_iter().filter_map(expiring).collect())
}

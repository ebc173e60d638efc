//! Doorman: keeps the doors of the packet filter, and knows which of them are open.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use postern_core::DoorId;

use crate::check::{Door, check_doors, look_up, ports_of};
use crate::door_set::DoorSet;
use crate::elements::{self, read_address, read_client_port};
use crate::error::Error;
use crate::guard::{Guard, Ports};
use crate::net_door::{GuardProtocol, MAX_GUARDED_PORTS, NetDoor};
use crate::posture::Posture;
use crate::socket::Socket;

/// The doors of one network namespace: that of the thread which called [`Doorman::start`].
///
/// Dropping it opens nothing: the table stays, open doors close on time, and the next doorman takes both over.
pub struct Doorman {
    pub(crate) socket: Socket,
    pub(crate) guard: Guard,
    pub(crate) doors: BTreeMap<DoorId, Door>,
    ports: Ports,
}

/// A door that is open for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Which door.
    pub door: DoorId,
    /// For whom.
    pub client: IpAddr,
    /// For how long from now; if its ports differ, until the first one closes.
    pub remaining: Duration,
    /// Whether all ports of the door are open. Some may be closed because the door got another port since, or because
    /// somebody else closed them.
    pub whole: bool,
}

impl Doorman {
    /// Closes the guarded ports, and looks at the sets of the others.
    ///
    /// The table of a doorman that is gone is taken over, with the doors that are open. Without guard doors no
    /// table is made, but one that is left from before is taken over as well and guards nothing from then on.
    ///
    /// # Errors
    ///
    /// [`Error::Doors`] with every mistake in the doors, [`Error::Owned`] if another daemon runs, and what the kernel refuses.
    pub fn start(doors: &[(DoorId, NetDoor)]) -> Result<(Self, Posture), Error> {
        let socket = Socket::open().map_err(Error::Unreachable)?;
        let (doors_empty, ports_empty) = (BTreeMap::new(), Ports::default());
        let mut doorman = Self { socket, guard: Guard::new(), doors: doors_empty, ports: ports_empty };
        let (doors, ports) = doorman.check(doors)?;
        doorman.guard.put_up(&mut doorman.socket, &ports)?;
        (doorman.doors, doorman.ports) = (doors, ports);
        let posture = doorman.posture();
        Ok((doorman, posture))
    }

    /// Has other doors from now on. A port that was guarded and still is stays closed all the while, and
    /// what is open stays open; openings of doors that are gone end in time.
    ///
    /// # Errors
    ///
    /// As of [`Self::start`]; the doors stay as they were.
    pub fn set_doors(&mut self, doors: &[(DoorId, NetDoor)]) -> Result<(), Error> {
        let (doors, ports) = self.check(doors)?;
        if let Err(error) = self.guard.change(&mut self.socket, &ports) {
            // It may have failed after it was done, when it was read back. Whoever is told that nothing changed may rely on it.
            let _ = self.guard.change(&mut self.socket, &self.ports);
            return Err(error);
        }
        (self.doors, self.ports) = (doors, ports);
        Ok(())
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

    /// What is open now, whoever opened it. A member of a set that stays for ever is not an opening.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`]. A table or a set that is gone is no error: nothing is open there.
    pub fn list(&mut self) -> Result<Vec<Opening>, Error> {
        let mut openings: BTreeMap<(DoorId, IpAddr), (Duration, usize)> = BTreeMap::new();
        let mut add = |door, client, remaining: Duration| {
            let (least, count) = openings.entry((door, client)).or_insert((Duration::MAX, 0));
            *least = remaining.min(*least);
            *count += 1;
        };
        let by_port = self.doors_by_port();
        for set in [&self.guard.sets.open4, &self.guard.sets.open6] {
            for (key, remaining) in list_expiring(&mut self.socket, set)? {
                let Some((client, port)) = read_client_port(&key) else { continue };
                if let Some(door) = by_port.get(&port) {
                    add(*door, client, remaining);
                }
            }
        }
        for (id, door) in &self.doors {
            let Door::Set { v4, v6 } = door else { continue };
            for set in [v4, v6].into_iter().flatten() {
                for (key, remaining) in list_expiring(&mut self.socket, set)? {
                    if let Some(client) = read_address(&key) {
                        add(*id, client, remaining);
                    }
                }
            }
        }
        let opening = |((door, client), (remaining, count))| {
            let whole = match self.doors.get(&door) {
                Some(Door::Guard(ports)) => count == ports.len(),
                _ => true,
            };
            Opening { door, client, remaining, whole }
        };
        Ok(openings.into_iter().map(opening).collect())
    }

    /// Puts the table back, or mends it, if somebody else removed or changed it. What was open in it is lost and must be
    /// opened again for its remaining time.
    ///
    /// # Errors
    ///
    /// As of [`Self::start`].
    pub fn restore_table(&mut self) -> Result<Posture, Error> {
        self.guard.put_up(&mut self.socket, &self.ports)?;
        Ok(self.posture())
    }

    /// Removes the table. **Every guarded port is open to all from then on**; false if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Owned`] if it is another daemon's.
    pub fn remove_table(&mut self) -> Result<bool, Error> {
        self.guard.remove(&mut self.socket)
    }

    fn check(&mut self, doors: &[(DoorId, NetDoor)]) -> Result<(BTreeMap<DoorId, Door>, Ports), Error> {
        let mut mistakes = check_doors(doors);
        let (checked, more) = look_up(&mut self.socket, doors);
        mistakes.extend(more);
        if !mistakes.is_empty() {
            mistakes.sort_by_key(|(door, _)| *door);
            return Err(Error::Doors(mistakes));
        }
        let ports = ports_of(doors);
        if ports.guarded.len() > MAX_GUARDED_PORTS {
            return Err(Error::TooManyPorts(ports.guarded.len()));
        }
        Ok((checked, ports))
    }

    fn doors_by_port(&self) -> BTreeMap<(GuardProtocol, u16), DoorId> {
        let mut by_port = BTreeMap::new();
        for (id, door) in &self.doors {
            if let Door::Guard(ports) = door {
                by_port.extend(ports.iter().map(|port| (*port, *id)));
            }
        }
        by_port
    }
}

/// Removes a table that a daemon left. **Every port that it guards is open to all from then on**; false if there is none.
///
/// # Errors
///
/// [`Error::Owned`] if the daemon lives.
pub fn reset() -> Result<bool, Error> {
    Guard::new().remove(&mut Socket::open().map_err(Error::Unreachable)?)
}

fn list_expiring(socket: &mut Socket, set: &DoorSet) -> Result<Vec<(Vec<u8>, Duration)>, Error> {
    let listed = socket.list(set.name.family, &elements::list(&set.name), elements::read);
    let listed = listed.map_err(|errno| Error::Unreachable(errno.into()))?;
    Ok(listed.into_iter().filter_map(|element| Some((element.key, element.remaining?))).collect())
}

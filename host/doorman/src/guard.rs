//! Guard: puts the table `inet postern` up, keeps its ports as wanted, and proves that it is so.

use std::collections::BTreeSet;

use netlink_packet_netfilter::nftables::TableFlags;
use rustix::io::Errno;

use crate::attributes::{find, find_u32};
use crate::batch::Batch;
use crate::elements;
use crate::error::Error;
use crate::net_door::GuardProtocol;
use crate::posture::{Posture, WhyPlain};
use crate::set_name::{Family, SetName};
use crate::socket::{Failure, Socket};
use crate::table::{self, CHAINS, Sets};

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_TABLE_OWNER: u16 = 7;
const NFTA_RULE_CHAIN: u16 = 2;

/// Never the owner alone: such a table goes with its owner, and every port would be open.
const OWNED: TableFlags = TableFlags::Owner.union(TableFlags::Persisent);

/// The ports to keep closed.
#[derive(Default)]
pub(crate) struct Ports {
    /// All of them.
    pub(crate) guarded: BTreeSet<(GuardProtocol, u16)>,
    /// Those whose connections end with the opening.
    pub(crate) strict: BTreeSet<(GuardProtocol, u16)>,
}

/// The table, as far as we know.
pub(crate) struct Guard {
    pub(crate) sets: Sets,
    posture: Posture,
}

/// A table that exists.
pub(crate) struct Found {
    flags: TableFlags,
    owner: Option<u32>,
}

impl Guard {
    /// Nothing known and nothing done yet.
    pub(crate) fn new() -> Self {
        Self { sets: Sets::new(), posture: Posture::Unguarded }
    }

    pub(crate) fn posture(&self) -> Posture {
        self.posture
    }

    /// Makes the guarded ports those that are wanted, in one step: a port that stays guarded is so all the time.
    /// Openings are left as they are.
    pub(crate) fn change(&mut self, socket: &mut Socket, wanted: &Ports) -> Result<(), Error> {
        if self.posture == Posture::Unguarded || find_table(socket, table::TABLE)?.is_none() {
            return self.put_up(socket, wanted);
        }
        let changes = self.differences(socket, wanted)?;
        let mut batch = socket.begin();
        write_changes(&mut batch, &changes);
        socket.commit(batch).map_err(|failure| refused(&failure, "to change the guarded ports"))?;
        self.check_ports(socket, wanted)
    }

    /// Creates the table, or takes it over from a daemon that is gone, with the openings in it.
    /// Without ports to guard no table is made; one that is left from before is taken over and its ports are released.
    pub(crate) fn put_up(&mut self, socket: &mut Socket, wanted: &Ports) -> Result<(), Error> {
        let found = find_table(socket, table::TABLE)?;
        self.posture = match found {
            None if wanted.guarded.is_empty() => Posture::Unguarded,
            None => match self.install(socket, wanted, OWNED) {
                Ok(()) => Posture::Owned,
                Err(Refusal::Flags) => {
                    self.install(socket, wanted, TableFlags::empty()).map_err(Refusal::into_error)?;
                    Posture::Plain(WhyPlain::Kernel)
                }
                Err(refusal) => return Err(refusal.into_error()),
            },
            Some(found) if found.is_of_another(socket.port()) => {
                if !wanted.guarded.is_empty() {
                    return Err(Error::Owned);
                }
                Posture::Unguarded
            }
            // A table that nobody could own stays so; the kernel refuses to change that.
            Some(found) => {
                let plain = (found.flags & OWNED).is_empty();
                let flags = if plain { TableFlags::empty() } else { OWNED };
                self.install(socket, wanted, flags).map_err(Refusal::into_error)?;
                if plain { Posture::Plain(WhyPlain::Found) } else { Posture::Owned }
            }
        };
        if self.posture == Posture::Unguarded {
            return Ok(());
        }
        self.check_ports(socket, wanted)?;
        check_rules(socket)?;
        self.check_owner(socket)
    }

    /// Removes the table; false if there is none. The guarded ports are open to all from then on.
    pub(crate) fn remove(&mut self, socket: &mut Socket) -> Result<bool, Error> {
        let Some(found) = find_table(socket, table::TABLE)? else { return Ok(false) };
        if found.is_of_another(socket.port()) {
            return Err(Error::Owned);
        }
        let mut batch = socket.begin();
        table::delete(&mut batch);
        socket.commit(batch).map_err(|failure| refused(&failure, "to remove the table inet postern"))?;
        self.posture = Posture::Unguarded;
        Ok(true)
    }

    fn install(&self, socket: &mut Socket, wanted: &Ports, flags: TableFlags) -> Result<(), Refusal> {
        let changes = self.differences(socket, wanted).map_err(Refusal::Other)?;
        let mut batch = socket.begin();
        table::write(&mut batch, flags);
        write_changes(&mut batch, &changes);
        socket.commit(batch).map_err(|failure| match &failure {
            Failure::Messages(failed) => match failed.first() {
                Some((1, Errno::INVAL | Errno::OPNOTSUPP)) if !flags.is_empty() => Refusal::Flags,
                // Somebody was faster.
                Some((1, Errno::PERM)) => Refusal::Other(Error::Owned),
                _ => Refusal::Other(refused(&failure, "to write the table inet postern")),
            },
            Failure::Whole(_) => Refusal::Other(refused(&failure, "to write the table inet postern")),
        })
    }

    fn differences<'a>(&'a self, socket: &mut Socket, wanted: &Ports) -> Result<[Difference<'a>; 2], Error> {
        let mut difference = |set: &'a SetName, wanted: &BTreeSet<_>| -> Result<Difference<'a>, Error> {
            let present = list_keys(socket, set)?;
            let wanted: BTreeSet<_> = wanted.iter().map(|port| elements::port_key(*port)).collect();
            let add = wanted.difference(&present).cloned().collect();
            let remove = present.difference(&wanted).cloned().collect();
            Ok(Difference { set, add, remove })
        };
        Ok([difference(&self.sets.guarded, &wanted.guarded)?, difference(&self.sets.strict, &wanted.strict)?])
    }

    fn check_ports(&self, socket: &mut Socket, wanted: &Ports) -> Result<(), Error> {
        for Difference { set, add, remove } in self.differences(socket, wanted)? {
            if !add.is_empty() || !remove.is_empty() {
                let (missing, extra) = (add.len(), remove.len());
                return Err(Error::NotAsWritten(format!(
                    "the set {} lacks {missing} ports and has {extra} too many",
                    set.name
                )));
            }
        }
        Ok(())
    }

    fn check_owner(&self, socket: &mut Socket) -> Result<(), Error> {
        let found = find_table(socket, table::TABLE)?;
        let found = found.ok_or_else(|| Error::NotAsWritten("it is gone".to_owned()))?;
        let owned = found.flags.contains(OWNED) && found.owner == Some(socket.port());
        if self.posture == Posture::Owned && !owned {
            return Err(Error::NotAsWritten("it has another owner".to_owned()));
        }
        if found.flags.contains(TableFlags::Dormant) {
            return Err(Error::NotAsWritten("it is dormant".to_owned()));
        }
        Ok(())
    }
}

impl Found {
    /// Whether the table has a living owner who is not this socket.
    pub(crate) fn is_of_another(&self, port: u32) -> bool {
        self.flags.contains(TableFlags::Owner) && self.owner != Some(port)
    }
}

/// Looks a table of the family inet up.
pub(crate) fn find_table(socket: &mut Socket, name: &str) -> Result<Option<Found>, Error> {
    find_table_of(socket, Family::Inet, name).map_err(|errno| Error::Unreachable(errno.into()))
}

/// Looks a table up.
pub(crate) fn find_table_of(socket: &mut Socket, family: Family, name: &str) -> Result<Option<Found>, Errno> {
    socket.ask(family, table::question(name), |attributes| Found {
        flags: TableFlags::from_bits_retain(find_u32(attributes, NFTA_TABLE_FLAGS).unwrap_or_default()),
        owner: find_u32(attributes, NFTA_TABLE_OWNER),
    })
}

enum Refusal {
    /// The kernel does not know the flags of the table.
    Flags,
    Other(Error),
}

impl Refusal {
    fn into_error(self) -> Error {
        match self {
            Self::Flags => Error::Refused {
                what: "the flags of the table inet postern".to_owned(),
                source: Errno::OPNOTSUPP.into(),
            },
            Self::Other(error) => error,
        }
    }
}

struct Difference<'a> {
    set: &'a SetName,
    add: Vec<Vec<u8>>,
    remove: Vec<Vec<u8>>,
}

fn write_changes(batch: &mut Batch, changes: &[Difference<'_>]) {
    for Difference { set, add, remove } in changes {
        elements::add_all(batch, set, add);
        elements::remove_all(batch, set, remove);
    }
}

fn list_keys(socket: &mut Socket, set: &SetName) -> Result<BTreeSet<Vec<u8>>, Error> {
    let listed = socket.list(set.family, &elements::list(set), elements::read);
    let listed = listed.map_err(|errno| Error::Unreachable(errno.into()))?;
    Ok(listed.into_iter().map(|element| element.key).collect())
}

fn check_rules(socket: &mut Socket) -> Result<(), Error> {
    for chain in &CHAINS {
        let read = |attributes: &[u8], names: &mut Vec<Vec<u8>>| {
            names.extend(find(attributes, NFTA_RULE_CHAIN).map(<[u8]>::to_vec));
        };
        let found = socket.list(Family::Inet, &table::rules_question(chain), read);
        let found = found.map_err(|errno| Error::Unreachable(errno.into()))?;
        let is_ours = |name: &&Vec<u8>| name.strip_suffix(&[0]) == Some(chain.name.as_bytes());
        let (found, expected) = (found.iter().filter(is_ours).count(), chain.rules().len());
        if found != expected {
            return Err(Error::NotAsWritten(format!(
                "the chain {} has {found} rules instead of {expected}",
                chain.name
            )));
        }
    }
    Ok(())
}

fn refused(failure: &Failure, what: &str) -> Error {
    match failure {
        Failure::Whole(Errno::PERM) => Error::Unreachable(Errno::PERM.into()),
        _ => Error::Refused { what: what.to_owned(), source: failure.first().into() },
    }
}

//! GuardKeeper: puts doors in place, and restores the guard when another program removes it. It has no thread and waits for nothing: whoever
//! owns it says when.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_core::{
    Client, ConfigIdentity, DoorId, Listing, NetDoor, Observer, Posture, Release, Report, What,
};
use postern_text::chain;

use crate::changes::Changes;
use crate::doorman::Doorman;
use crate::error::DoormanError;
use crate::kept_connections::KeptConnections;
use crate::owner_socket::OwnerSocket;
use crate::trial::GuardTrial;

/// How often it is looked whether anybody has come in while the guard is tried: more often than the shortest opening that makes sense ends.
const LOOK: Duration = Duration::from_millis(500);
/// The pause between attempts to restore a guard that is missing.
const RETRY: Duration = Duration::from_secs(1);

/// What there is to know about a doorman besides its doors: for which configuration it guards, and whether its guard is up.
pub struct GuardKeeper {
    observer: Arc<dyn Observer>,
    identity: Option<ConfigIdentity>,
    /// For the first doorman, if it is not to open one itself.
    socket: Option<OwnerSocket>,
    /// What the next doorman's guard is to be; none for good.
    trial: Option<GuardTrial>,
    /// When to look next whether anybody has come in, while the guard is tried.
    look_at: Option<Instant>,
    changes: Option<Changes>,
    /// The guard was removed, and could not be restored so far: when to try again.
    retry_at: Option<Instant>,
}

impl GuardKeeper {
    /// `identity` is the configuration that the guard belongs to; without one nothing is guarded and no table removed.
    #[must_use]
    pub fn new(identity: Option<ConfigIdentity>, observer: Arc<dyn Observer>) -> Self {
        Self { observer, identity, socket: None, trial: None, look_at: None, changes: None, retry_at: None }
    }

    /// As [`GuardKeeper::new`], with the socket that the doorman is to work with.
    #[must_use]
    pub fn with_socket(
        identity: Option<ConfigIdentity>,
        observer: Arc<dyn Observer>,
        socket: OwnerSocket,
    ) -> Self {
        Self { socket: Some(socket), ..Self::new(identity, observer) }
    }

    /// With a guard that is tried.
    #[must_use]
    pub fn on_trial(self, trial: Option<GuardTrial>) -> Self {
        Self { trial, look_at: trial.map(|_| Instant::now()), ..self }
    }

    /// Replaces all doors, as [`Doorman::set_doors`]; there is a doorman from the first success on. Reports what became of connections.
    ///
    /// # Errors
    /// As of [`Doorman::set_doors`]; nothing has changed.
    pub fn set_doors(
        &mut self,
        doorman: &mut Option<Doorman>,
        doors: &[(DoorId, NetDoor)],
        release: Release,
    ) -> Result<Posture, DoormanError> {
        if let Some(doorman) = doorman {
            self.report_kept(&doorman.set_doors(doors, release)?);
            self.retry_at = None;
            return Ok(doorman.posture());
        }
        // Even without doors: a table that an earlier daemon left may have to release its ports.
        let started = self.start(doors, release);
        if started.is_err() && doors.is_empty() {
            return Ok(Posture::Unguarded);
        }
        let (started, kept) = started?;
        self.report_kept(&kept);
        let posture = started.posture();
        self.changes = match Changes::watch(started.port_id()) {
            Ok(changes) => Some(changes),
            Err(error) => {
                let error = error.to_string().into();
                self.observer.report(&Report::new(What::FilterUnwatched { error }));
                None
            }
        };
        *doorman = Some(started);
        Ok(posture)
    }

    /// Readable when another program may have changed the ruleset; none if that cannot be noticed.
    #[must_use]
    pub fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(AsFd::as_fd)
    }

    /// Reads what has changed; whether [`GuardKeeper::look`] must look.
    pub fn drain_changes(&mut self) -> bool {
        self.changes.as_mut().is_some_and(Changes::drain)
    }

    /// After how long [`GuardKeeper::look`] must look although nothing has changed, maybe none: the guard is still to be restored.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        self.retry_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Another program changed the ruleset: restores the guard if it may be gone, and says what is open. None if that cannot be read, which is
    /// reported, or if there is no doorman.
    pub fn look(&mut self, doorman: &mut Option<Doorman>) -> Option<Listing> {
        let doorman = doorman.as_mut()?;
        // No other program can change a table that we own.
        if doorman.posture() != Posture::Owned {
            let restored = doorman.restore_table();
            let was_down = self.retry_at.take().is_some();
            self.retry_at = restored.is_err().then(|| Instant::now() + RETRY);
            match restored {
                Ok((_, kept)) => {
                    if was_down || kept.ports > 0 {
                        self.observer.report(&Report::new(What::GuardRestored { ports: kept.ports }));
                    }
                    self.report_kept(&kept);
                }
                // As it should be.
                Err(DoormanError::TrialOver) => self.retry_at = None,
                Err(error) => {
                    let detail = chain(&error).to_string().into();
                    self.observer.report(&Report::new(What::GuardDown { detail }));
                }
            }
        }
        match doorman.list() {
            Ok(listing) => Some(listing),
            Err(error) => {
                let detail = chain(&error).to_string().into();
                self.observer.report(&Report::new(What::OpeningsUnread { detail }));
                None
            }
        }
    }

    /// After how long to call [`GuardKeeper::passages`]; none if the guard is not tried.
    #[must_use]
    pub fn look_in(&self) -> Option<Duration> {
        self.look_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// As [`Doorman::passages`], if it is time to look.
    pub fn passages(&mut self, doorman: &mut Option<Doorman>) -> Vec<(DoorId, Client)> {
        let now = Instant::now();
        if self.look_at.take_if(|at| *at <= now).is_none() {
            return Vec::new();
        }
        self.look_at = Some(now + LOOK);
        doorman.as_mut().map(Doorman::passages).unwrap_or_default()
    }

    /// As [`Doorman::confirm`], also for a doorman that is still to come.
    ///
    /// # Errors
    /// As there.
    pub fn confirm(&mut self, doorman: &mut Option<Doorman>) -> Result<Posture, DoormanError> {
        let posture = match doorman {
            Some(doorman) => {
                self.report_kept(&doorman.confirm()?);
                doorman.posture()
            }
            None => Posture::Unguarded,
        };
        (self.trial, self.look_at) = (None, None);
        Ok(posture)
    }

    /// As [`Doorman::give_up`], also of a guard that the doorman before left.
    ///
    /// # Errors
    /// As there.
    pub fn give_up(&mut self, doorman: &mut Option<Doorman>) -> Result<(), DoormanError> {
        (self.look_at, self.retry_at) = (None, None);
        if let Some(doorman) = doorman {
            return doorman.give_up().map(drop);
        }
        if self.trial.is_none() {
            return Ok(());
        }
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => OwnerSocket::open().map_err(DoormanError::Unreachable)?,
        };
        let empty = doorman.insert(Doorman::without_doors(socket, self.identity.clone(), self.trial));
        empty.give_up().map(drop)
    }

    fn start(
        &mut self,
        doors: &[(DoorId, NetDoor)],
        release: Release,
    ) -> Result<(Doorman, KeptConnections), DoormanError> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => OwnerSocket::open().map_err(DoormanError::Unreachable)?,
        };
        let mut doorman = Doorman::without_doors(socket, self.identity.clone(), self.trial);
        match doorman.set_doors(doors, release) {
            Ok(kept) => Ok((doorman, kept)),
            Err(error) => {
                self.socket = Some(doorman.into_socket());
                Err(error)
            }
        }
    }

    /// Reports what became of connections whose port became guarded.
    fn report_kept(&self, kept: &KeptConnections) {
        let KeptConnections { connections, cut, failed, .. } = kept;
        if *cut > 0 {
            self.observer.report(&Report::new(What::ConnectionsCut { connections: *cut }));
        }
        if let Some(error) = failed {
            let error = error.to_string().into();
            self.observer.report(&Report::new(What::ConnectionsUntracked { error }));
        } else if *connections > 0 {
            self.observer.report(&Report::new(What::ConnectionsKept { connections: *connections }));
        }
    }
}

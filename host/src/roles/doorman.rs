//! The doorman's process: keeps the doors of the packet filter for an engine that may not touch it. It holds every order to the table that the
//! supervisor gave it, reads no configuration and no packet, and has one thread: an order is carried out by the thread that received it.

mod engine_link;
mod keeping;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_confine::{Capabilities, CapabilitySet, Confinement, SystemCalls};
use postern_core::{GuardDoor, NetDoor, Observer, Report, What};
use postern_doorman::OwnerSocket;
use postern_link::{
    FromDoorman, Hello, MOST_DOORMAN_BYTES, OrderLink, Talk, TalkReceiver, TalkSender, ToDoorman,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::begin::{RoleStart, WhatHolds, confine};
use engine_link::EngineLink;
use keeping::Keeping;

/// For how long the supervisor may leave a message of the doorman's unread before the doorman ends. It has to take a few in its whole life.
const PATIENCE: Duration = Duration::from_secs(30);

/// Is a doorman, until the supervisor at standard input is gone.
///
/// # Errors
/// If the supervisor does not make sense, or nothing can be logged.
pub fn run() -> anyhow::Result<()> {
    let begin = |start: RoleStart<'_>| {
        let kept = Confinement {
            capabilities: Capabilities::Only(CapabilitySet::NET_ADMIN),
            system_calls: Some(SystemCalls::Doorman),
            ..Confinement::default()
        };
        let held = confine(start.account, kept)?;
        Ok((start.observe()?.observer, Some(held)))
    };
    let role = DoormanRole::start(Talk::of_standard_input()?, begin)?;
    role.map_or(Ok(()), DoormanRole::serve)?;
    Ok(())
}

/// The doorman of one supervisor.
pub struct DoormanRole {
    control: TalkReceiver,
    supervisor: TalkSender,
    keeping: Keeping,
    engine: Option<EngineLink>,
    /// Found out at the start: later this process may look at no file.
    hello: Hello,
    observer: Arc<dyn Observer>,
}

impl DoormanRole {
    /// Waits for the supervisor's first message, and takes the table over from the doorman before; none if the supervisor is gone.
    /// `begin` gives up what is not needed, and makes the observer.
    ///
    /// # Errors
    /// If the supervisor says something else, or the observer cannot be made.
    pub fn start(
        control: Talk,
        begin: impl FnOnce(RoleStart<'_>) -> io::Result<(Arc<dyn Observer>, Option<WhatHolds>)>,
    ) -> io::Result<Option<Self>> {
        let (supervisor, mut control) = control.split(Some(PATIENCE))?;
        let Some((message, sockets)) = control.receive(MOST_DOORMAN_BYTES)? else { return Ok(None) };
        let ToDoorman::Start { identity, log_filter, account, trial } = message else {
            return Err(unexpected("the first message does not start it"));
        };
        let mut sockets = sockets.into_iter();
        let reports = sockets.next().ok_or_else(|| unexpected("there is no stream for its reports"))?;
        let hello = Hello::of_this_process()?;
        let socket = match sockets.next() {
            Some(socket) => Some(OwnerSocket::adopt(socket)?),
            // Without nf_tables there may still be no door that needs it; if there is one, that says so.
            None => OwnerSocket::open().ok(),
        };
        let copy = socket.as_ref().map(OwnerSocket::copy).transpose()?;
        let sockets: Vec<_> = copy.iter().map(AsFd::as_fd).collect();
        let (observer, holds) = begin(RoleStart { log_filter: &log_filter, account, reports })?;
        supervisor.send(&FromDoorman::Started, &sockets)?;
        if let Some(WhatHolds { held, missing }) = holds {
            supervisor.send(&FromDoorman::Confined { held, missing }, &[])?;
        }
        let keeping = Keeping::new(identity, socket, Arc::clone(&observer), trial);
        Ok(Some(Self { control, supervisor, keeping, engine: None, hello, observer }))
    }

    /// Keeps the doors until the supervisor is gone. Guarded ports stay so then, and doors close on time.
    ///
    /// # Errors
    /// If the supervisor sends nonsense, or does not listen any more.
    pub fn serve(mut self) -> io::Result<()> {
        loop {
            let Ready { control, engine, filter } = self.wait();
            // Orders first: everything else can wait, and none of them waits for long.
            if engine {
                self.serve_engine()?;
            }
            if filter {
                self.look_at_filter();
            }
            self.look_for_passages();
            if control {
                let Some((message, sockets)) = self.control.receive(MOST_DOORMAN_BYTES)? else {
                    return Ok(());
                };
                self.obey(message, sockets)?;
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Ready {
        let nothing = PollFlags::empty();
        let mut fds = vec![PollFd::new(&self.control, PollFlags::IN)];
        if let Some(engine) = &self.engine {
            fds.push(PollFd::new(engine, engine.wanted()));
        }
        if let Some(changes) = self.keeping.changes() {
            fds.push(PollFd::from_borrowed_fd(changes, PollFlags::IN));
        }
        let pauses = self.keeping.retry_in().into_iter().chain(self.keeping.look_in());
        let timeout = pauses.min().and_then(|pause| Timespec::try_from(pause).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Err(_) => Ready::default(),
            Ok(_) => {
                let mut ready = fds.iter().map(|fd| fd.revents() != nothing);
                let control = ready.next().unwrap_or_default();
                let engine = self.engine.is_some() && ready.next().unwrap_or_default();
                let is_time = self.keeping.retry_in().is_some_and(|pause| pause.is_zero());
                let filter = ready.next().unwrap_or_default() || is_time;
                Ready { control, engine, filter }
            }
        }
    }

    fn serve_engine(&mut self) -> io::Result<()> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let served = engine.serve(&mut self.keeping);
        for table in self.keeping.put_in_place_since() {
            self.supervisor.send(&FromDoorman::InPlace { table }, &[])?;
        }
        if let Err(end) = served {
            self.engine = None;
            if let Some(detail) = end {
                self.observer.report(&Report::new(What::LinkBroken { detail: detail.into() }));
            }
        }
        Ok(())
    }

    fn look_at_filter(&mut self) {
        if let Some(listing) = self.keeping.look()
            && let Some(engine) = &mut self.engine
        {
            engine.changed(&listing);
        }
    }

    /// Tells the engine who has come in, while the guard is tried.
    fn look_for_passages(&mut self) {
        if let Some(engine) = &mut self.engine
            && engine.has_room()
        {
            let passages = self.keeping.passages();
            passages.into_iter().for_each(|(door, client)| engine.came_in(door, client));
        }
    }

    fn obey(&mut self, message: ToDoorman, sockets: Vec<OwnedFd>) -> io::Result<()> {
        let (ticket, outcome) = match message {
            ToDoorman::Start { .. } => return Err(unexpected("it has started already")),
            ToDoorman::Engine => {
                let link = sockets.into_iter().next();
                let link = link.ok_or_else(|| unexpected("the engine has no link"))?;
                self.engine = Some(EngineLink::new(OrderLink::from(link), self.hello));
                return Ok(());
            }
            ToDoorman::Table(table) => {
                let number = table.number;
                // One that is too old is of no use any more; an engine that asks for it is told so.
                let _ = self.keeping.give(table);
                return self.supervisor.send(&FromDoorman::Took { table: number }, &[]);
            }
            ToDoorman::Guard { ticket, doors } => (ticket, self.keeping.guard(doors.into_iter().map(door))),
            ToDoorman::Confirm { ticket } => (ticket, self.keeping.confirm()),
            ToDoorman::GiveUp { ticket } => (ticket, self.keeping.give_up()),
            ToDoorman::PutInPlace { ticket, table, release } => {
                (ticket, self.keeping.put_in_place(table, release, Instant::now()))
            }
        };
        self.supervisor.send(&FromDoorman::Done { ticket, outcome }, &[])
    }
}

/// What there is to do.
#[derive(Default)]
struct Ready {
    control: bool,
    engine: bool,
    /// Another program changed the packet filter, or the guard is to be tried again.
    filter: bool,
}

fn door(guard: GuardDoor) -> NetDoor {
    NetDoor::Guard(guard)
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the supervisor does not make sense to the doorman: {what}"),
    )
}

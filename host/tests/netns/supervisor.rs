//! The supervisor's side of a doorman, as little of it as these tests need.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use postern_core::{ConfigIdentity, DoorsTable, GuardDoor, Posture, Release};
use postern_link::{
    FromDoorman, MOST_DOORMAN_BYTES, NotInPlace, OrderLink, TalkReceiver, TalkSender, ToDoorman,
};

use crate::process::DoormanProcess;

/// A doorman, and what its supervisor holds of it.
pub(crate) struct Supervisor {
    process: DoormanProcess,
    sender: TalkSender,
    receiver: TalkReceiver,
    /// The copy of the owner socket.
    socket: OwnedFd,
    tickets: u64,
}

impl Supervisor {
    /// Starts the first doorman.
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    fn start_with(socket: Option<OwnedFd>) -> Self {
        let (process, talk) = DoormanProcess::start();
        let (sender, mut receiver) = talk.split(None).unwrap();
        let identity = Some(ConfigIdentity::new("00c0ffee", "/etc/postern/postern.toml"));
        let start = ToDoorman::Start { identity, log_filter: "info".to_owned(), account: None, trial: None };
        // The doorman of this test prints its reports.
        let (reports, _) = UnixStream::pair().unwrap();
        let sockets: Vec<_> = [reports.as_fd()].into_iter().chain(socket.iter().map(AsFd::as_fd)).collect();
        sender.send(&start, &sockets).unwrap();
        let (answer, sockets) = receiver.receive::<FromDoorman>(MOST_DOORMAN_BYTES).unwrap().unwrap();
        assert_eq!(answer, FromDoorman::Started);
        let socket = sockets.into_iter().next().unwrap();
        Self { process, sender, receiver, socket, tickets: 0 }
    }

    /// Sends the doorman a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        self.process.signal(signal);
    }

    /// Kills the doorman and does nothing else.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Holds something else from now on that is no socket to nf_tables.
    pub(crate) fn lose_socket(&mut self) {
        self.socket = OrderLink::pair().unwrap().0.into();
    }

    /// Starts another doorman, which adopts the owner socket, and puts a table in place there.
    pub(crate) fn restart(self, table: DoorsTable) -> Self {
        let mut next = Self::start_with(Some(self.socket));
        let number = table.number;
        next.give(table);
        next.put_in_place(number).unwrap();
        next
    }

    /// Closes ports without a table.
    pub(crate) fn guard(&mut self, doors: Vec<GuardDoor>) -> Result<Posture, NotInPlace> {
        self.ask(|ticket| ToDoorman::Guard { ticket, doors })
    }

    /// Gives a table.
    pub(crate) fn give(&mut self, table: DoorsTable) {
        let number = table.number;
        self.sender.send(&ToDoorman::Table(table), &[]).unwrap();
        assert_eq!(self.receive(), FromDoorman::Took { table: number });
    }

    /// Has a table put in place.
    pub(crate) fn put_in_place(&mut self, table: u32) -> Result<Posture, NotInPlace> {
        self.ask(|ticket| ToDoorman::PutInPlace { ticket, table, release: Release::Later })
    }

    /// Which table the engine had put in place, as the doorman says.
    pub(crate) fn hears_of(&mut self) -> u32 {
        match self.receive() {
            FromDoorman::InPlace { table } => table,
            other => panic!("{other:?}"),
        }
    }

    /// A link for another engine.
    pub(crate) fn link(&self) -> OrderLink {
        let (engine, doorman) = OrderLink::pair().unwrap();
        self.sender.send(&ToDoorman::Engine, &[doorman.as_fd()]).unwrap();
        engine
    }

    /// Ends the talk; whether the doorman ends, too.
    pub(crate) fn leave(mut self) -> bool {
        self.sender.end();
        self.process.ends_well()
    }

    fn ask(&mut self, request: impl FnOnce(u64) -> ToDoorman) -> Result<Posture, NotInPlace> {
        self.tickets += 1;
        let asked = self.tickets;
        self.sender.send(&request(asked), &[]).unwrap();
        match self.receive() {
            FromDoorman::Done { ticket, outcome } if ticket == asked => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn receive(&mut self) -> FromDoorman {
        self.receiver.receive(MOST_DOORMAN_BYTES).unwrap().unwrap().0
    }
}

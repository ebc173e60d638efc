//! Hearing: what the supervisor does when one of its processes says something or ends.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use postern_core::What;
use postern_ledger::LedgerRequest;
use postern_link::{FromDoorman, FromRunner};

use super::engine_needs::EngineNeeds;
use super::holders::OF_NEXT_RUNNER;
use super::{Happening, Supervisor};
use crate::ended::Ended;
use crate::exit::Exit;
use crate::kept_socket;
use crate::origin::{Origin as _, mistake_of_strict};
use crate::roles::engine_messages::FromEngine;
use crate::roles::process::FromRole;
use crate::try_run::TryRun;

impl Supervisor {
    pub(super) fn handle(&mut self, happening: Happening) -> Option<Ended> {
        match happening {
            Happening::Doorman(number, FromRole::Ended(how)) if self.doorman.is(number) => {
                self.holders.ended(number);
                self.guards.clear();
                self.role_ended(|this| &mut this.doorman, &how);
            }
            Happening::Doorman(number, FromRole::Message(message, sockets)) if self.doorman.is(number) => {
                return self.heard_doorman(number, message, sockets);
            }
            Happening::Runner(number, FromRole::Ended(how)) if self.runner.is(number) => {
                self.holders.ended(number);
                self.role_ended(|this| &mut this.runner, &how);
            }
            Happening::Runner(number, FromRole::Message(message, descriptors)) if self.runner.is(number) => {
                self.heard_runner(number, message, descriptors);
            }
            Happening::Engine(number, FromRole::Ended(how)) if self.engine.is(number) => {
                if let Some((signal, _)) = self.stopping {
                    return Some(Ended { exit: Exit::Untidy, signal: Some(signal) });
                }
                self.role_ended(|this| &mut this.engine, &how);
            }
            Happening::Engine(number, FromRole::Message(message, _)) if self.engine.is(number) => {
                return self.heard_engine(message);
            }
            Happening::NotWanted => return Some(Ended { exit: Exit::Success, signal: None }),
            // What a process before the one that has the role now said.
            Happening::Doorman(..) | Happening::Runner(..) | Happening::Engine(..) => {}
        }
        None
    }

    pub(super) fn heard_doorman(
        &mut self,
        number: u64,
        message: FromDoorman,
        sockets: Vec<OwnedFd>,
    ) -> Option<Ended> {
        match message {
            FromDoorman::Started => {
                if let Some(socket) = sockets.into_iter().next() {
                    // Without systemd nothing is kept, and that is no failure.
                    let _ = self.manager.store(kept_socket::NAME, socket.as_fd());
                    self.owner = Some(socket);
                }
            }
            FromDoorman::Done { ticket, outcome } => {
                if let Some(waiting) = self.guards.remove(&ticket) {
                    let _ = waiting.send(outcome);
                }
            }
            FromDoorman::InPlace { table } => self.holders.in_place(table),
            FromDoorman::Took { table } => self.holders.took(number, table),
            FromDoorman::Confined { held, missing } => return self.confined("doorman", &held, missing),
        }
        None
    }

    pub(super) fn heard_runner(&mut self, number: u64, message: FromRunner, descriptors: Vec<OwnedFd>) {
        match message {
            FromRunner::Started => self.commands = descriptors.into_iter().next(),
            FromRunner::Took { table } => self.holders.took(number, table),
            FromRunner::Journal { ticket: OF_NEXT_RUNNER, .. } => {
                // There may be none: then the engine is told so with each opening.
                if self.engine.process.is_some()
                    && let Err(error) = self.link_runner()
                {
                    self.report(What::LinkBroken { detail: error.to_string().into() });
                }
            }
            FromRunner::Journal { ticket, is_there, error } => {
                self.holders.journal(ticket, error.map_or(Ok(is_there), Err));
            }
        }
    }

    pub(super) fn heard_engine(&mut self, message: FromEngine) -> Option<Ended> {
        match message {
            FromEngine::Confined { .. } if self.is_engine_confined => {
                self.end_odd_engine("it says twice what it has given up");
            }
            FromEngine::Confined { held, missing } => {
                self.is_engine_confined = true;
                return self.confined("engine", &held, missing);
            }
            FromEngine::Ready => {
                self.has_run = true;
                self.tried_run.iter().filter(|tried| !tried.has_begun()).for_each(TryRun::has_nothing);
                self.manager.ready();
            }
            FromEngine::Reloading => self.manager.reloading(),
            // It is not for the engine to say that the daemon stops.
            FromEngine::Stopping if self.stopping.is_some() => self.manager.stopping(),
            FromEngine::Stopping => {}
            FromEngine::Ledger { make, copy } => self.give_ledger(LedgerRequest { make, copy }),
            FromEngine::Exhausted => {
                // It ends, and the next one opens what it needs.
                if let Some(process) = &self.engine.process {
                    process.kill();
                }
            }
            FromEngine::Alive => self.manager.alive(),
            FromEngine::Confirm(by) => self.tried_run.iter().for_each(|tried| tried.ask(by)),
            FromEngine::Ended { exit, signal } => {
                let exit = Exit::of_number(exit);
                // A configuration that is refused after a restart of the engine may be half written.
                if self.stopping.is_some() || !self.has_run {
                    return Some(Ended {
                        exit,
                        signal: signal.or_else(|| self.stopping.map(|(signal, _)| signal)),
                    });
                }
                self.engine_said_its_last();
            }
            FromEngine::CannotRun(why) => {
                if !self.has_run {
                    self.report(What::Mistake { detail: why.into() });
                    return Some(Ended { exit: Exit::CannotRun, signal: None });
                }
                self.report(What::CaptureNotStarted { detail: why.into() });
                self.engine_said_its_last();
            }
        }
        None
    }

    /// It ends by itself, or is ended: it says nothing more.
    pub(super) fn engine_said_its_last(&self) {
        if let Some(process) = &self.engine.process {
            process.end();
        }
    }

    /// Ends an engine that does what none of ours does.
    pub(super) fn end_odd_engine(&self, what: &str) {
        self.report(What::LinkBroken { detail: format!("engine to supervisor: {what}").into() });
        if let Some(process) = &self.engine.process {
            process.kill();
        }
    }

    /// Notes how a process is held, and ends if that is not enough for a start.
    pub(super) fn confined(&mut self, role: &'static str, held: &str, missing: Vec<String>) -> Option<Ended> {
        self.report(What::Confined { role: role.into(), detail: held.into() });
        for missing in &missing {
            self.report(What::BarrierMissing { role: role.into(), detail: missing.as_str().into() });
        }
        let slot = if role == self.engine.role { &mut self.engine } else { &mut self.doorman };
        held.clone_into(&mut slot.held);
        slot.missing.clone_from(&missing);
        self.tell_processes();
        self.barriers.note(role, missing);
        self.refused_as_strict()
    }

    /// Ends a start that must not be without a barrier, and says which. Later the configuration is refused when it is read: whatever a reload or
    /// another engine wants, ports stay guarded.
    pub(super) fn refused_as_strict(&self) -> Option<Ended> {
        if self.has_run || !self.is_strict {
            return None;
        }
        let mistake = mistake_of_strict(&self.origin.facts().file, &self.barriers.missing())?;
        self.report(What::Mistake { detail: mistake.to_string().into() });
        Some(Ended { exit: Exit::Mistakes, signal: None })
    }

    /// The next engine is started with what was read.
    pub(super) fn read(&mut self, needs: EngineNeeds) -> Option<Ended> {
        self.reading = None;
        self.user = needs.user;
        self.is_strict = needs.is_strict;
        self.needs = Some(needs);
        self.engine.due = Some(Instant::now());
        self.refused_as_strict()
    }
}

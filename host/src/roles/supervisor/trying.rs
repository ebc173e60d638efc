//! Trying: what the supervisor of a run that is tried does with the guard. It decides alone: an engine can ask for a confirmation, and the doorman
//! keeps the guard for as long as it is told.

use std::time::{Duration, Instant};

use postern_core::Posture;
use postern_doorman::reset_after;
use postern_link::{NotInPlace, ToDoorman, TrialStart};
use postern_text::chain;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Supervisor;
use crate::clock::until;
use crate::ended::Ended;
use crate::exit::Exit;
use crate::roles::engine_messages::ToEngine;
use crate::try_run::{ConfirmedBy, TryRun, TryStep, WhyOver};

/// How long the doorman may take for a confirmation.
const CONFIRMING: Duration = Duration::from_secs(5);
/// How long it may take to give the guard up; then it is ended, and the guard is removed without it.
const GIVING_UP: Duration = Duration::from_secs(2);
/// How long it may take to end when it is killed.
const ENDING: Duration = Duration::from_secs(2);

impl Supervisor {
    /// How the guard of the next doorman is tried.
    pub(super) fn trial_start(&self) -> Option<TrialStart> {
        let left = |tried: &TryRun| tried.until().saturating_duration_since(Instant::now());
        self.tried_run.as_ref().map(|tried| TrialStart { left: left(tried), is_begun: tried.has_begun() })
    }

    /// Confirms or gives up, as it was decided.
    pub(super) async fn decide(&mut self, step: TryStep) -> Option<Ended> {
        match step {
            TryStep::Confirm(by) => {
                self.confirm(by).await;
                None
            }
            TryStep::GiveUp(why) => self.give_up_and_stop(why).await,
        }
    }

    async fn confirm(&mut self, by: ConfirmedBy) {
        let done = match timeout(CONFIRMING, self.ask_doorman(|ticket| ToDoorman::Confirm { ticket })).await {
            Ok(done) => done.map(drop).map_err(|error| error.text),
            Err(_) => {
                // What it has not done by now it must not do later: people are told that it is not confirmed. The next one tries the guard as before,
                // whatever this one has made of it.
                if let Some(process) = &self.doorman.process {
                    process.kill();
                }
                Err("the doorman does not answer, and is ended".to_owned())
            }
        };
        match (done, self.tried_run.take()) {
            (Ok(()), Some(tried)) => {
                tried.confirmed(by);
                self.engine.send(&ToEngine::Confirmed, &[]);
            }
            (Err(why), Some(tried)) => {
                tried.not_confirmed(&why);
                self.tried_run = Some(tried);
            }
            (_, None) => {}
        }
    }

    /// Gives the guard up first, and then has the engine stop as it should.
    async fn give_up_and_stop(&mut self, why: WhyOver) -> Option<Ended> {
        self.give_up(why).await;
        // Nobody asked for it, but it ends as if.
        self.stop(rustix::process::Signal::TERM.as_raw())
    }

    /// Gives the guard up, if it is tried; whatever becomes of that, the kernel lets everything pass at the end of the time.
    pub(super) async fn give_up(&mut self, why: WhyOver) {
        let Some(tried) = self.tried_run.take() else { return };
        self.is_given_up = true;
        let mut failed = None;
        if tried.has_begun() {
            let given_up = self.ask_doorman(|ticket| ToDoorman::GiveUp { ticket });
            if !matches!(timeout(GIVING_UP, given_up).await, Ok(Ok(_))) {
                failed = self.give_up_without_doorman().await.err();
            }
        }
        tried.over(why, failed.as_deref());
    }

    /// Removes the guard although the doorman does not answer: without that, and without its socket, nobody owns the table.
    async fn give_up_without_doorman(&mut self) -> Result<(), String> {
        if let Some(process) = &self.doorman.process {
            process.kill();
        }
        let last = Some((Instant::now() + ENDING).into());
        while self.doorman.process.is_some() {
            tokio::select! {
                Some(happening) = self.happenings.recv() => drop(self.handle(happening)),
                () = until(last) => return Err("the doorman does not end".to_owned()),
            }
        }
        self.manager.forget(crate::kept_socket::NAME);
        self.owner = None;
        let Some(identity) = self.facts.identity.clone() else { return Ok(()) };
        // Whatever the doorman made of it last: there was none for good when this began.
        reset_after(&identity).map(drop).map_err(|error| chain(&error).to_string())
    }

    /// How a daemon ends that is not tried any more.
    pub(super) fn verdict(&self, ended: Ended) -> Ended {
        if self.is_given_up { Ended { exit: Exit::NotConfirmed, ..ended } } else { ended }
    }

    /// Asks the doorman for something, and waits for its answer; other processes are watched meanwhile.
    pub(super) async fn ask_doorman(
        &mut self,
        request: impl FnOnce(u64) -> ToDoorman,
    ) -> Result<Posture, NotInPlace> {
        let (sender, mut answer) = oneshot::channel();
        self.last_ticket += 1;
        self.guards.insert(self.last_ticket, sender);
        self.doorman.send(&request(self.last_ticket), &[]);
        loop {
            let due = self.doorman.due;
            tokio::select! {
                answer = &mut answer => {
                    return answer.unwrap_or_else(|_| Err(NotInPlace::failed("the doorman ended")));
                }
                Some(happening) = self.happenings.recv() => drop(self.handle(happening)),
                () = until(due.map(Into::into)) => self.start_due(),
            }
        }
    }
}

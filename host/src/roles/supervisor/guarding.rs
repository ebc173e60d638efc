//! Guarding: before anything else is known of the configuration its guard doors are closed.

use std::panic::resume_unwind;
use std::sync::Arc;

use anyhow::Context;
use postern_core::{GuardDoor, Posture};
use postern_link::{NotInPlace, ToDoorman, WhyNotInPlace};
use postern_text::chain;

use super::Supervisor;
use crate::clock::until;
use crate::guarding::{Attempt, apply_when_free};
use crate::observe::report_posture;
use crate::origin::{FirstLook, LocalPreparation};
use crate::signals::{Hangups, Signals};

impl Supervisor {
    /// Starts the doorman, and has it close what could be read of guard doors, before anything else is known of the configuration; whether there
    /// are any, or the signal that stops the daemon meanwhile.
    pub(super) async fn guard(&mut self, signals: &mut Signals) -> anyhow::Result<Result<bool, i32>> {
        let relay = Arc::clone(&self.relay);
        let Signals { hangup, stop } = signals;
        let mut is_any = false;
        let attempt = apply_when_free(stop, &*relay, async || {
            let FirstLook { guards, user } = self.first_look(hangup).await;
            is_any = !guards.is_empty();
            self.user = user;
            if self.doorman.process.is_none() && self.doorman.due.is_none() {
                self.start_doorman().map_err(|error| {
                    NotInPlace::failed(format!("the doorman cannot be started: {}", chain(&error)))
                })?;
            }
            self.guard_once(guards).await
        });
        match attempt.await.map_err(anyhow::Error::new).context("the doors cannot be set up")? {
            Attempt::Done(posture) => report_posture(posture, &*relay),
            Attempt::Stopped(signal) => return Ok(Err(signal)),
        }
        Ok(Ok(is_any))
    }

    /// Reads what must be known first; processes are watched meanwhile.
    pub(super) async fn first_look(&mut self, hangup: &mut Hangups) -> FirstLook {
        let mut reading = self.patiently(false, LocalPreparation::first_look);
        loop {
            let due = self.doorman.due;
            tokio::select! {
                // What panics here would leave ports unguarded.
                look = reading.done(hangup) => return look.unwrap_or_else(|panic| resume_unwind(panic)),
                Some(happening) = self.happenings.recv() => drop(self.handle(happening)),
                () = until(due.map(Into::into)) => self.start_due(),
            }
        }
    }

    pub(super) async fn guard_once(&mut self, doors: Vec<GuardDoor>) -> Result<Posture, NotInPlace> {
        if doors.is_empty() {
            return Ok(Posture::Unguarded);
        }
        let guarded = self.ask_doorman(|ticket| ToDoorman::Guard { ticket, doors: doors.clone() }).await;
        match (guarded, &mut self.tried_run) {
            (Ok(posture), Some(tried)) => {
                tried.begun(&doors);
                Ok(posture)
            }
            // Whoever tries wants to know, and not to wait.
            (Err(error), Some(_)) => Err(NotInPlace { why: WhyNotInPlace::Failed, ..error }),
            (guarded, None) => guarded,
        }
    }
}

//! Slot: a role, and which process has it now.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::observe::ReportPace;
use crate::roles::process::RoleProcess;
use crate::roles::restart::Restart;

/// A role, and who has it now.
pub(super) struct Slot {
    pub(super) role: &'static str,
    pub(super) process: Option<Arc<RoleProcess>>,
    pub(super) restart: Restart,
    /// When the next one is started.
    pub(super) due: Option<Instant>,
    /// How fast its reports are relayed.
    pub(super) reports: ReportPace,
}

impl Slot {
    pub(super) fn new(role: &'static str) -> Self {
        Self { role, process: None, restart: Restart::default(), due: None, reports: ReportPace::default() }
    }

    pub(super) fn is(&self, number: u64) -> bool {
        self.process.as_ref().is_some_and(|process| process.number == number)
    }

    pub(super) fn send(&self, message: &impl serde::Serialize, descriptors: &[BorrowedFd<'_>]) {
        if let Some(process) = &self.process {
            process.send(message, descriptors);
        }
    }

    /// Notes the end of the process, and when the next is due.
    pub(super) fn ended(&mut self) -> Duration {
        let now = Instant::now();
        let pause =
            self.process.take().map_or(Duration::ZERO, |process| self.restart.ended(process.started, now));
        self.due = Some(now + pause);
        pause
    }
}

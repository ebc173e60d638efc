//! Slot: a role, and which process has it now.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_protocol::{Process, ProcessState};

use crate::observe::ReportPace;
use crate::roles::process::RoleProcess;
use crate::roles::restart::Restart;

/// A role, and who has it now.
pub(super) struct Slot {
    pub(super) role: &'static str,
    pub(super) process: Option<Arc<RoleProcess>>,
    pub(super) restart: Restart,
    /// How many were started.
    starts: u64,
    /// What the one that was started last gave up, and which barriers it lacks.
    pub(super) held: String,
    pub(super) missing: Vec<String>,
    /// When the next one is started.
    pub(super) due: Option<Instant>,
    /// How fast its reports are relayed.
    pub(super) reports: ReportPace,
}

impl Slot {
    pub(super) fn new(role: &'static str) -> Self {
        let (restart, reports) = (Restart::default(), ReportPace::default());
        let (held, missing) = (String::new(), Vec::new());
        Self { role, process: None, restart, starts: 0, held, missing, due: None, reports }
    }

    /// A process has this role now.
    pub(super) fn begin(&mut self, process: Arc<RoleProcess>) {
        self.process = Some(process);
        self.starts += 1;
        self.held.clear();
        self.missing.clear();
    }

    /// How it is, for whoever asks.
    pub(super) fn described(&self) -> Process {
        Process {
            name: self.role.to_owned(),
            state: self.process.as_ref().map_or(ProcessState::Restarting, |_| ProcessState::Running),
            restarts: self.starts.saturating_sub(1),
            held: self.held.clone(),
            missing: self.missing.clone(),
        }
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

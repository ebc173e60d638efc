//! A doorman in a process of its own: this test binary once more, in the network namespace of the thread that starts it.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use postern_core::{DropReason, Observer, Report, TenantId};
use postern_link::Talk;
use posternd::roles::doorman::DoormanRole;

/// Says to a child that it is the doorman.
const IS_DOORMAN: &str = "POSTERN_TEST_IS_DOORMAN";

/// Writes reports for who reads a failed test.
struct Printer;

impl Observer for Printer {
    fn report(&self, report: &Report<'_>) {
        eprintln!("doorman: {report:?}");
    }

    fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
}

/// Not a test but the doorman, if it is started as one.
#[test]
fn this_process_is_a_doorman_if_asked_to() {
    if std::env::var_os(IS_DOORMAN).is_none() {
        return;
    }
    let talk = Talk::of_standard_input().unwrap();
    if let Some(role) = DoormanRole::start(talk, |_| Ok((Arc::new(Printer), None))).unwrap() {
        role.serve().unwrap();
    }
    std::process::exit(0);
}

/// A doorman's process, killed when it is dropped.
pub(crate) struct DoormanProcess(Child);

impl DoormanProcess {
    /// Starts one; the other end of its control link.
    pub(crate) fn start() -> (Self, Talk) {
        let (own, its) = Talk::pair().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "process::this_process_is_a_doorman_if_asked_to", "--nocapture"]);
        command.env(IS_DOORMAN, "1").stdin(OwnedFd::from(its)).stdout(Stdio::null());
        (Self(command.spawn().unwrap()), own)
    }

    /// Whether it ended by itself, and well.
    pub(crate) fn ends_well(&mut self) -> bool {
        self.0.wait().unwrap().success()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), signal).unwrap();
        // On another processor it may do a little more before it stands still.
        let stat = format!("/proc/{}/stat", self.0.id());
        let is_still = || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        };
        while signal == rustix::process::Signal::STOP && !is_still() {
            std::thread::yield_now();
        }
    }

    /// As a lack of memory does it.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for DoormanProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

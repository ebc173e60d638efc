//! The processes that a daemon consists of.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::Daemon;
use crate::deadline::eventually_within;

/// How long the next process of a role may take to run: a second, and what a busy machine adds.
const BACK: Duration = Duration::from_secs(5);

/// What the kernel says of a process.
#[derive(Clone, Debug)]
pub struct ProcessStatus(String);

impl ProcessStatus {
    /// The value of a field of `/proc/PID/status`.
    ///
    /// # Panics
    /// If there is no such field.
    #[must_use]
    #[track_caller]
    pub fn field(&self, name: &str) -> &str {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {name} in {}", self.0)).trim()
    }
}

impl Daemon<'_> {
    /// The process of this role, if there is one now.
    #[must_use]
    pub fn role(&self, role: &str) -> Option<Pid> {
        let wanted = format!("role\0{role}\0");
        let is_it = |pid: i32| {
            let parent =
                status_of(pid).is_some_and(|status| status.field("PPid") == self.child.id().to_string());
            let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            parent && arguments.ends_with(&wanted)
        };
        let processes = fs::read_dir("/proc").expect("procfs is there").flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(|pid| is_it(*pid)).and_then(Pid::from_raw)
    }

    /// What the kernel says of the process of this role.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    #[track_caller]
    pub fn role_status(&self, role: &str) -> ProcessStatus {
        let pid = self.role(role).unwrap_or_else(|| panic!("no {role} runs"));
        status_of(pid.as_raw_nonzero().get()).expect("it runs")
    }

    /// Sends a signal to the process of this role.
    ///
    /// # Panics
    /// If there is none for some seconds.
    #[track_caller]
    pub fn signal_role(&self, role: &str, signal: Signal) -> Pid {
        let pid = eventually_within(BACK, role, || self.role(role));
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
        pid
    }

    /// Waits until another process than this one has the role.
    ///
    /// # Panics
    /// If there is none for some seconds.
    #[track_caller]
    pub fn wait_for_next(&self, role: &str, before: Pid) -> Pid {
        eventually_within(BACK, role, || self.role(role).filter(|pid| *pid != before))
    }
}

fn status_of(pid: i32) -> Option<ProcessStatus> {
    fs::read_to_string(format!("/proc/{pid}/status")).ok().map(ProcessStatus)
}

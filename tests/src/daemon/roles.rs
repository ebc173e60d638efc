//! The processes that a daemon consists of.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::fstat;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open};

use super::Daemon;
use crate::deadline::eventually_within;

/// How long the next process of a role may take to run: a second, and what a busy machine adds.
const BACK: Duration = Duration::from_secs(5);

/// After how long a process counts as one that runs: a second, and a little.
const SETTLED: Duration = Duration::from_millis(1100);

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
        self.find(name).unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

impl Daemon<'_> {
    /// The process of this role, if there is one now.
    #[must_use]
    pub fn role(&self, role: &str) -> Option<Pid> {
        self.roles().into_iter().find_map(|(name, pid)| (name == role).then_some(pid))
    }

    /// The processes that compile at this moment.
    #[must_use]
    pub fn compilers(&self) -> Vec<Pid> {
        let roles = self.roles().into_iter();
        roles.filter_map(|(name, pid)| (name == "compiler").then_some(pid)).collect()
    }

    /// The processes that read for tenants at this moment.
    #[must_use]
    pub fn readers(&self) -> Vec<Pid> {
        let roles = self.roles().into_iter();
        roles.filter_map(|(name, pid)| (name == "reader").then_some(pid)).collect()
    }

    /// The resident memory of all its processes in KiB, the commands of its doors left out. What several of them have in common counts
    /// several times.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    #[track_caller]
    pub fn resident_kib(&self) -> u64 {
        let first = i32::try_from(self.id()).expect("a process number");
        let others = self.roles().into_iter().map(|(_, pid)| pid.as_raw_nonzero().get());
        let of = |pid| -> Option<u64> { status_of(pid)?.find("VmRSS")?.strip_suffix(" kB")?.parse().ok() };
        // One that ends meanwhile has none any more.
        of(first).expect("it runs") + others.filter_map(of).sum::<u64>()
    }

    /// The processes that it has started in a role, and which ones.
    ///
    /// # Panics
    /// Without procfs.
    #[must_use]
    pub fn roles(&self) -> Vec<(String, Pid)> {
        let parent = self.id().to_string();
        let role_of = |pid: Pid| {
            let number = pid.as_raw_nonzero();
            let is_child = status_of(number.get())?.find("PPid")? == parent;
            let arguments = fs::read_to_string(format!("/proc/{number}/cmdline")).ok()?;
            let words: Vec<_> = arguments.split_terminator('\0').collect();
            match words[..] {
                [.., "role", role] if is_child => Some((role.to_owned(), pid)),
                _ => None,
            }
        };
        let processes = fs::read_dir("/proc").expect("procfs is there").flatten();
        let pids = processes.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
        pids.filter_map(role_of).collect()
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

    /// What the kernel says of its first process.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> ProcessStatus {
        let id = self.child.id().try_into().expect("the kernel's numbers are positive");
        status_of(id).expect("it runs")
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

impl Daemon<'_> {
    /// Waits until another process than this one has the role and has run for so long that its end would be no reason to start the next later.
    ///
    /// # Panics
    /// If there is none for some seconds.
    #[track_caller]
    pub fn wait_for_settled(&self, role: &str, before: Pid) -> Pid {
        let next = self.wait_for_next(role, before);
        std::thread::sleep(SETTLED);
        next
    }

    /// How many descriptors the daemon's first process has open.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    #[track_caller]
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").count()
    }

    /// Has the process of this role stand still for good, and takes copies of its UNIX sockets, in the order in which it got them: who has them can say
    /// to the others what that process could.
    ///
    /// # Panics
    /// If there is no such process, or its descriptors cannot be taken.
    #[must_use]
    #[track_caller]
    pub fn take_over(&self, role: &str) -> (Pid, Vec<OwnedFd>) {
        let pid = self.signal_role(role, Signal::STOP);
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
        let links = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).expect("it runs").flatten();
        let mut numbers: Vec<i32> =
            links.filter_map(|link| link.file_name().to_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        let mut known = HashSet::new();
        let is_new_socket = |taken: &OwnedFd| {
            let is_unix = socket_domain(taken).is_ok_and(|domain| domain == AddressFamily::UNIX);
            // A copy is no other socket.
            is_unix && known.insert(fstat(taken).expect("it is open").st_ino)
        };
        let take = |number| {
            let taken = pidfd_getfd(&process, number, PidfdGetfdFlags::empty());
            taken.unwrap_or_else(|error| panic!("descriptor {number} of {role}: {error}"))
        };
        (pid, numbers.into_iter().map(take).filter(is_new_socket).collect())
    }
}

/// Whether a process runs; one that has ended and was not waited for does not.
#[must_use]
pub fn is_running(pid: Pid) -> bool {
    let state =
        status_of(pid.as_raw_nonzero().get()).and_then(|status| Some(status.find("State")?.to_owned()));
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

fn status_of(pid: i32) -> Option<ProcessStatus> {
    fs::read_to_string(format!("/proc/{pid}/status")).ok().map(ProcessStatus)
}

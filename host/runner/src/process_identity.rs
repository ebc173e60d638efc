//! ProcessIdentity: one process of this machine, told from every other that had its number or will have it.

use std::fs;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal, test_kill_process_group,
};

/// A process. Its number is its own until it has been waited for; with its start it is for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProcessIdentity {
    pub(crate) number: u32,
    /// When it was started, as the kernel counts.
    pub(crate) started: u64,
}

/// What came of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signalled {
    Sent,
    /// It has ended.
    Gone,
    /// This process may not.
    NotAllowed,
}

impl ProcessIdentity {
    /// The one that has this number now; none if there is none, or no `/proc`.
    pub(crate) fn of(number: u32) -> Option<Self> {
        Some(Self { number, started: ProcessStat::of(number)?.started })
    }

    /// Whether it runs: one that has ended stays until its parent notices.
    pub(crate) fn is_alive(&self) -> bool {
        ProcessStat::of(self.number).is_some_and(|stat| !stat.is_over && stat.started == self.started)
    }

    /// Sends it a signal, and no other that has its number by now.
    pub(crate) fn signal(&self, signal: Signal) -> Signalled {
        let sent = self.pid().ok_or(Errno::SRCH).and_then(|pid| {
            let process = pidfd_open(pid, PidfdFlags::empty())?;
            // Looked at after it was opened: that is of no later process.
            match Self::of(self.number) {
                Some(of) if of == *self => pidfd_send_signal(process, signal),
                _ => Err(Errno::SRCH),
            }
        });
        match sent {
            Ok(()) => Signalled::Sent,
            Err(Errno::PERM) => Signalled::NotAllowed,
            Err(_) => Signalled::Gone,
        }
    }

    /// Kills the process group that it leads, whether it has ended or not.
    pub(crate) fn kill_group(&self) {
        if let Some(group) = self.group() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Whether there is anything in the process group that it leads, be it what has ended and was not waited for.
    pub(crate) fn has_group(&self) -> bool {
        self.group().is_some_and(|group| test_kill_process_group(group) != Err(Errno::SRCH))
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        i32::try_from(self.number).ok().and_then(Pid::from_raw)
    }

    fn group(&self) -> Option<Pid> {
        // A group keeps its number as long as anything is in it, so one without its leader is not another.
        let is_it = Self::of(self.number).is_none_or(|of| of == *self);
        self.pid().filter(|_| is_it)
    }
}

/// What the kernel says of a process, as far as it is needed.
pub(crate) struct ProcessStat {
    /// It has ended, with all its threads.
    pub(crate) is_over: bool,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) started: u64,
}

impl ProcessStat {
    pub(crate) fn of(number: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        // Its name is in parentheses, and may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        // The first thread may have ended while others run.
        let is_over = ["Z", "X"].contains(fields.first()?) && fields.get(17)?.parse::<u32>().ok()? <= 1;
        Some(Self {
            is_over,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

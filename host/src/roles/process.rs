//! RoleProcess: one process of the daemon, as the supervisor sees it: what it says, and its end.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use postern_link::TalkSender;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::pace::Pace;
use crate::role::{OwnProgram, Role};

/// What a role may send, and how long it may leave unread what it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    /// Most bytes of a message.
    pub(super) most: usize,
    /// After so long with a message unread it is ended: it stands still.
    pub(super) patience: Duration,
}

/// No role has so much to say: one that does is left to wait.
const PACE: Pace = Pace::per_second(200, 2000);

/// A process that was started. It is killed when this is dropped, and reaped by a thread.
#[derive(Debug)]
pub(super) struct RoleProcess {
    /// Counts those that the supervisor started: what an earlier one of the role said last is told from what this one says.
    pub(super) number: u64,
    pub(super) started: Instant,
    pid: Option<Pid>,
    sender: TalkSender,
}

/// What comes from a process.
#[derive(Debug)]
pub(super) enum FromRole<M> {
    Message(M, Vec<OwnedFd>),
    /// It has ended and was reaped.
    Ended(String),
}

impl RoleProcess {
    /// Starts the program as `role`. What it says and its end go to `events` with the number; it is called on a thread of its own, and may wait
    /// there: then the role waits.
    ///
    /// # Errors
    /// If the system has no process or no thread for it.
    pub(super) fn start<M: DeserializeOwned + 'static>(
        program: &OwnProgram,
        role: Role,
        number: u64,
        Manners { most, patience }: Manners,
        events: impl Fn(u64, FromRole<M>) + Send + 'static,
    ) -> io::Result<Self> {
        let (mut command, talk) = program.command(role)?;
        // A terminal's signals are the supervisor's. Dropping the command closes our copy of the role's end, so the talk ends with the role.
        let child = command.stdout(Stdio::null()).process_group(0).spawn()?;
        drop(command);
        let (sender, mut receiver) = talk.split(Some(patience))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let process = Self { number, started: Instant::now(), pid, sender: sender.clone() };
        if let Some(pid) = pid {
            let (process, sender) = (pidfd_open(pid, PidfdFlags::empty())?, sender.clone());
            // Somebody else may have its end of the talk, which goes on then.
            thread::Builder::new().name(format!("end-of-{}", role.name())).spawn(move || {
                while poll(&mut [PollFd::new(&process, PollFlags::IN)], None) == Err(Errno::INTR) {}
                sender.end();
            })?;
        }
        thread::Builder::new().name(format!("from-{}", role.name())).spawn(move || {
            let mut child = child;
            let mut pace = PACE;
            // A message that is none ends the talk as well: whoever sends it is not what it should be.
            while let Ok(Some((message, descriptors))) = receiver.receive(most) {
                thread::sleep(pace.take(1, Instant::now()));
                events(number, FromRole::Message(message, descriptors));
            }
            sender.end();
            events(number, FromRole::Ended(reap(&mut child)));
        })?;
        Ok(process)
    }

    /// Sends it a message; if it cannot be sent the process ends, and that is told.
    pub(super) fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) {
        if self.sender.send(message, descriptors).is_err() {
            self.kill();
        }
    }

    /// Asks it to end: its talk does.
    pub(super) fn end(&self) {
        self.sender.end();
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        self.sender.end();
        if let Some(pid) = self.pid {
            // It may have ended, but is not reaped before its talk has.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Waits for the end of a process whose talk has ended; it is killed if it does not come.
fn reap(child: &mut Child) -> String {
    let until = Instant::now() + LAST;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return how(status),
            Err(error) => return error.to_string(),
            Ok(None) if Instant::now() >= until => {
                let _ = child.kill();
                return child.wait().map_or_else(|error| error.to_string(), how);
            }
            Ok(None) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// How long a process has to end when its talk has ended.
const LAST: Duration = Duration::from_secs(3);

fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(31), _) => "killed for a system call that is not on its list".to_owned(),
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("status {code}"),
        (None, None) => status.to_string(),
    }
}

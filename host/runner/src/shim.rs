//! Shim: stands between a runner and a command, notes that this begins and how it ends, and ends with it. It lives on if the runner is killed.
//!
//! It is this very binary as a small role. The command is its child, in a process group of its own: what that does to its group, such as `kill 0`,
//! it does not do to its shim. As a child subreaper it becomes the parent of what
//! the command starts and leaves, in whatever session: while it lives all that came from the command is beneath it, and can be found and ended
//! ([`crate::tree`]). When the command ends by itself the shim does, and what that left behind goes on without it.
//!
//! It keeps no time: the runner does, and the next one if that is killed. If none is left that does, it ends the command itself a little later.

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use postern_text::terminal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, getpid, pidfd_open, set_child_subreaper, wait};

use crate::left_running::LeftRunning;
use crate::notes::{Note, NotedPhase, ShimNote};
use crate::process_identity::ProcessIdentity;
use crate::tree;

/// How its command line begins.
const ROLE: [&str; 2] = ["role", "shim"];
/// Its exit code if it ran nothing; shells have the same.
const NOT_EXECUTED: u8 = 126;
/// How much longer than its time a command is let run if nobody ends it.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked for children that have ended, besides the command.
const LOOK: Duration = Duration::from_secs(1);

/// A command line of this role.
#[derive(Debug, PartialEq, Eq)]
pub struct ShimCommand {
    slot: u32,
    ticket: u32,
    limit: Duration,
    command: Vec<OsString>,
}

/// A command that has another run by a shim, which is what `shim` executes; further arguments are added behind. It may run for so long. The standard
/// output is taken: the command has none.
pub(crate) fn command(shim: &Path, note: &Note, limit: Duration, of: &Command) -> io::Result<Command> {
    let (slot, ticket) = note.place();
    let numbers = [u64::from(slot), u64::from(ticket), u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)];
    let mut command = Command::new(shim);
    command.arg0(format!("posternd: {}", of.get_program().display()));
    command.args(ROLE).args(numbers.map(|number| number.to_string()));
    command.arg(of.get_program()).args(of.get_args()).stdout(note.memory()?);
    Ok(command)
}

impl ShimCommand {
    /// What is to be run, if a command line is that of this role; it comes without the name of the program.
    pub fn of(arguments: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut arguments = arguments.into_iter();
        let is_role = ROLE.iter().all(|word| arguments.next().is_some_and(|argument| argument == *word));
        let mut number = || arguments.next()?.to_str()?.parse::<u64>().ok().filter(|_| is_role);
        let (slot, ticket, limit) = (number()?, number()?, number()?);
        let [slot, ticket] = [u32::try_from(slot).ok()?, u32::try_from(ticket).ok()?];
        Some(Self { slot, ticket, limit: Duration::from_millis(limit), command: arguments.collect() })
    }

    /// Runs it to its end: the exit code, that of the command as shells count.
    #[must_use]
    pub fn run(&self) -> u8 {
        let failed = |what: &dyn Display| {
            drop(terminal::err(what));
            NOT_EXECUTED
        };
        let Some((program, arguments)) = self.command.split_first() else {
            return failed(&"there is no command");
        };
        let memory = match given_memory() {
            Ok(memory) => memory,
            Err(error) => return failed(&error),
        };
        let note = ShimNote::new(memory.into(), self.slot, self.ticket);
        let Some(running) = LeftRunning::this_process(self.limit) else {
            return failed(&"there is no /proc");
        };
        // Before there is anything that could lose its parent.
        if let Err(error) = set_child_subreaper(Some(getpid())) {
            return failed(&error);
        }
        if !note.begin(running) {
            return failed(&"the runner that asked for it has ended");
        }
        let mut command = Command::new(program);
        let child = match command.args(arguments).stdout(Stdio::null()).process_group(0).spawn() {
            Ok(child) => child,
            Err(error) => {
                note.end(NotedPhase::NotStarted(error.raw_os_error().unwrap_or_default()));
                return failed(&error);
            }
        };
        if let Some(command) = ProcessIdentity::of(child.id()) {
            note.started(command);
        }
        let status = match wait_for(running.shim, child.id(), self.limit.saturating_add(GRACE)) {
            Ok(status) => ExitStatus::from_raw(status),
            // Nobody else waits for it.
            Err(error) => return failed(&error),
        };
        if !note.end(NotedPhase::Ended(status.into_raw())) {
            // It is being ended with all that it left, which is to be found beneath this process until then.
            while wait(WaitOptions::empty()).is_ok() {}
        }
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
    }
}

/// What the runner gave as the standard output.
#[expect(clippy::disallowed_methods, reason = "no text is written there")]
fn given_memory() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}

/// Waits until a child has ended, and for all that has become a child and ends meanwhile. After so long all of it is ended. How the child ended.
fn wait_for(this: ProcessIdentity, child: u32, most: Duration) -> io::Result<i32> {
    let child = i32::try_from(child).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let (ended, until) = (pidfd_open(child, PidfdFlags::empty())?, Instant::now() + most);
    loop {
        while let Some((process, status)) = wait(WaitOptions::NOHANG)? {
            if process == child {
                return Ok(status.as_raw());
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tree::end_beneath(this, GRACE);
        }
        let pause = Timespec::try_from(left.min(LOOK)).ok();
        match poll(&mut [PollFd::new(&ended, PollFlags::IN)], pause.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::notes::{NotedAct, Notes};

    #[test]
    fn the_command_line_says_which_note_how_long_and_what() {
        let notes = Notes::new().unwrap();
        let note = notes.asked(None, NotedAct::Open).unwrap();
        let mut lamp = Command::new("/bin/lamp");
        lamp.arg("--on");
        let mut command = command(Path::new("/posternd"), &note, Duration::from_secs(3), &lamp).unwrap();
        command.arg("{ip}");
        let line = || command.get_args().map(OsStr::to_owned);
        let expected = ShimCommand {
            slot: 1,
            ticket: 1,
            limit: Duration::from_secs(3),
            command: ["/bin/lamp", "--on", "{ip}"].map(OsString::from).to_vec(),
        };
        assert_eq!(ShimCommand::of(line()), Some(expected));
        for odd in [&["run"][..], &["role", "runner"], &["role", "shim"], &["role", "shim", "1", "x", "2"]] {
            assert_eq!(ShimCommand::of(odd.iter().map(OsString::from)), None, "{odd:?}");
        }
        assert_eq!(ShimCommand::of(line().skip(1)), None);
    }
}

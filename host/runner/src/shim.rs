//! Shim: stands between a runner and a command, notes that this begins and how it ends, and ends with it. It lives on if the runner is killed.
//!
//! It is this very binary as a small role. The command is its child, in the same process group. It decides nothing, and keeps no time: the
//! runner does, and the next one if that is killed.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use postern_text::terminal;

use crate::left_running::LeftRunning;
use crate::notes::{Note, NotedPhase, ShimNote};

/// How its command line begins.
const ROLE: [&str; 2] = ["role", "shim"];
/// Its exit code if it ran nothing; shells have the same.
const NOT_EXECUTED: u8 = 126;

/// A command line of this role.
#[derive(Debug, PartialEq, Eq)]
pub struct ShimCommand {
    slot: u32,
    ticket: u32,
    limit: Duration,
    command: Vec<OsString>,
}

/// A command that has `program` run by a shim, which is what `shim` executes; the program's arguments are added behind. It may run for so long.
pub(crate) fn command(shim: &Path, note: &Note, limit: Duration, program: &OsStr) -> io::Result<Command> {
    let (slot, ticket) = note.place();
    let numbers = [u64::from(slot), u64::from(ticket), u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)];
    let mut command = Command::new(shim);
    command.arg0(format!("posternd: {}", program.display()));
    command.args(ROLE).args(numbers.map(|number| number.to_string())).arg(program).stdin(note.memory()?);
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
        let memory = match io::stdin().as_fd().try_clone_to_owned() {
            Ok(memory) => memory,
            Err(error) => return failed(&error),
        };
        let note = ShimNote::new(memory.into(), self.slot, self.ticket);
        let Some(running) = LeftRunning::this_process(self.limit) else {
            return failed(&"there is no /proc");
        };
        if !note.begin(running) {
            return failed(&"the runner that asked for it has ended");
        }
        let mut command = Command::new(program);
        match command.args(arguments).stdin(Stdio::null()).status() {
            Ok(status) => {
                note.end(NotedPhase::Ended(status.into_raw()));
                let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
                code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
            }
            Err(error) => {
                note.end(NotedPhase::NotStarted(error.raw_os_error().unwrap_or_default()));
                failed(&error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::{NotedAct, Notes};

    #[test]
    fn the_command_line_says_which_note_how_long_and_what() {
        let notes = Notes::new().unwrap();
        let note = notes.asked(None, NotedAct::Open).unwrap();
        let mut command =
            command(Path::new("/posternd"), &note, Duration::from_secs(3), OsStr::new("/bin/lamp")).unwrap();
        command.arg("--on");
        let line = || command.get_args().map(OsStr::to_owned);
        let expected = ShimCommand {
            slot: 1,
            ticket: 1,
            limit: Duration::from_secs(3),
            command: vec!["/bin/lamp".into(), "--on".into()],
        };
        assert_eq!(ShimCommand::of(line()), Some(expected));
        for odd in [&["run"][..], &["role", "runner"], &["role", "shim"], &["role", "shim", "1", "x", "2"]] {
            assert_eq!(ShimCommand::of(odd.iter().map(OsString::from)), None, "{odd:?}");
        }
        assert_eq!(ShimCommand::of(line().skip(1)), None);
    }
}

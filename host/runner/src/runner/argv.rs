//! A command of Postern's own configuration: a program and its arguments, without a shell, in a clean environment.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command as StdCommand, ExitStatus, Stdio};
use std::time::Duration;

use postern_core::{Act, CommandDoor, PLACEHOLDERS};
use postern_text::duration;
use rustix::fs::{MemfdFlags, SealFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Call;
use crate::journal::Close;
use crate::notes::{Note, NotedPhase};
use crate::{as_user, shim};

/// Bytes that are kept of a failed command's standard error.
const MAX_WORDS: usize = 400;
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a door is closed for the client of a call; none if there is nothing to run.
pub(super) fn close(door: &CommandDoor, call: &Call<'_>) -> Option<Close> {
    let ArgvCommand { argv, values, limit, user } = ArgvCommand::new(door, Act::Close, call);
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    (!argv.is_empty()).then(|| Close::Argv { argv, values: values.to_vec(), limit, user })
}

/// What carries out `act` at a door for a call: a program and its arguments, filled in; nothing if there is nothing to run.
#[must_use]
pub fn filled(door: &CommandDoor, act: Act, call: &Call<'_>) -> Vec<String> {
    let command = ArgvCommand::new(door, act, call);
    // As `perform` has it: the program is what is written.
    command
        .argv
        .iter()
        .enumerate()
        .map(|(n, part)| if n == 0 { part.clone() } else { command.fill(part) })
        .collect()
}

/// One run of a command.
pub(super) struct ArgvCommand {
    argv: Vec<String>,
    values: [String; PLACEHOLDERS.len()],
    limit: Duration,
    /// The account; none: this process's own user.
    user: Option<String>,
}

impl ArgvCommand {
    /// The command that carries out `act` at the door of a call.
    pub(super) fn new(door: &CommandDoor, act: Act, call: &Call<'_>) -> Self {
        let (argv, seconds) = match act {
            Act::Open(lasts) => (door.open.clone(), lasts.as_secs().max(1)),
            Act::Close | Act::Expire => (door.close.clone(), 0),
            // The engine itself keeps the time of such a door, so extending it runs nothing.
            Act::Extend(_) => (Vec::new(), 0),
        };
        let rule = call.rule.map_or_else(String::new, |rule| rule.to_string());
        let values = [call.client.to_string(), call.door.to_owned(), rule, seconds.to_string()];
        Self { argv, values, limit: door.timeout, user: door.user.clone() }
    }

    /// A command that an earlier daemon recorded.
    pub(super) fn recorded(argv: &[String], values: &[String], limit: u64, user: Option<String>) -> Self {
        let value = |n: usize| values.get(n).cloned().unwrap_or_default();
        let limit = Duration::from_millis(limit);
        Self { argv: argv.to_vec(), values: std::array::from_fn(value), limit, user }
    }

    /// Whether there is nothing to run.
    pub(super) const fn is_nothing(&self) -> bool {
        self.argv.is_empty()
    }

    /// Runs it to its end, by a shim if there is one: a program, and the note in which that says what becomes of the command.
    pub(super) async fn perform(&self, shim: Option<(&Path, &Note)>) -> Result<(), String> {
        let Some((program, arguments)) = self.argv.split_first() else { return Ok(()) };
        let not_started = |error: &io::Error| format!("{program} cannot be started: {error}");
        let words = StderrBuffer::new();
        let mut command = self.command(program, shim).map_err(|error| not_started(&error))?;
        command
            .args(arguments.iter().map(|argument| self.fill(argument)))
            .env_clear()
            .env("PATH", PATH)
            .stdout(Stdio::null())
            .stderr(words.as_ref().map_or_else(Stdio::null, StderrBuffer::writer))
            // Its own group, so that what it starts can be ended with it.
            .process_group(0)
            .kill_on_drop(true);
        for (name, value) in PLACEHOLDERS.iter().zip(&self.values) {
            command.env(format!("POSTERN_{}", name.to_ascii_uppercase()), value);
        }
        let mut child = command.spawn().map_err(|error| not_started(&error))?;
        let mut group = GroupGuard(group_of(&child));
        let ended = timeout(self.limit, child.wait()).await;
        if ended.is_err() {
            drop(group);
            drop(child.kill().await);
        } else {
            group.0 = None;
        }
        let status = match (shim.map(|(_, note)| note.phase()), ended) {
            // Also if its time was over at the same moment: the next runner would believe the note.
            (Some(NotedPhase::Ended(status)), _) => ExitStatus::from_raw(status),
            (Some(NotedPhase::NotStarted(error)), _) => {
                return Err(not_started(&io::Error::from_raw_os_error(error)));
            }
            (_, Err(_)) => {
                let limit = duration::show(self.limit);
                return Err(format!("{program} ran longer than {limit} and was killed"));
            }
            (_, Ok(Err(error))) => return Err(format!("{program} cannot be waited for: {error}")),
            (Some(NotedPhase::Running(left)), Ok(Ok(status))) => {
                left.end().await;
                return Err(format!("{program} was killed with the process that watches it ({status})"));
            }
            // With a note, the shim's, which ran nothing and said why.
            (None | Some(NotedPhase::Recorded | NotedPhase::Asked), Ok(Ok(status))) => status,
        };
        if status.success() {
            return Ok(());
        }
        let words = words.map(StderrBuffer::read).unwrap_or_default();
        let separator = if words.is_empty() { "" } else { ": " };
        Err(format!("{program} failed ({status}){separator}{words}"))
    }

    /// What runs `program`, as whom and by whom it is to be run; its arguments are added behind.
    fn command(&self, program: &str, shim: Option<(&Path, &Note)>) -> io::Result<Command> {
        let command = match &self.user {
            None => StdCommand::new(program),
            Some(user) => as_user::command(user, program),
        };
        let Some((shim, note)) = shim else {
            let mut command = Command::from(command);
            command.stdin(Stdio::null());
            return Ok(command);
        };
        let mut with_shim = shim::command(shim, note, self.limit, command.get_program())?;
        with_shim.args(command.get_args());
        Ok(with_shim.into())
    }

    /// Fills the placeholders in, once: a value is never looked at again.
    fn fill(&self, argument: &str) -> String {
        let mut filled = String::with_capacity(argument.len());
        let mut rest = argument;
        while let Some(at) = rest.find('{') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            let found = PLACEHOLDERS.iter().zip(&self.values).find_map(|(name, value)| {
                let after = rest.strip_prefix('{')?.strip_prefix(name)?.strip_prefix('}')?;
                Some((value, after))
            });
            match found {
                Some((value, after)) => {
                    filled.push_str(value);
                    rest = after;
                }
                None => {
                    filled.push('{');
                    rest = &rest[1..];
                }
            }
        }
        filled.push_str(rest);
        filled
    }
}

/// The standard error of a command: a sealed memory file of fixed size; further writes fail. Unlike a pipe it needs no reader, and does not
/// break processes that the command leaves running.
pub(crate) struct StderrBuffer(File);

impl StderrBuffer {
    pub(crate) fn new() -> Option<Self> {
        let memory = memfd_create("words", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).ok()?;
        rustix::fs::ftruncate(&memory, MAX_WORDS as u64).ok()?;
        rustix::fs::fcntl_add_seals(&memory, SealFlags::GROW | SealFlags::SHRINK).ok()?;
        Some(Self(memory.into()))
    }

    pub(crate) fn writer(&self) -> Stdio {
        self.0.try_clone().map_or_else(|_| Stdio::null(), Stdio::from)
    }

    /// What was written, without the line feed at its end.
    pub(crate) fn read(self) -> String {
        let mut bytes = [0; MAX_WORDS];
        let length = self.0.read_at(&mut bytes, 0).unwrap_or(0);
        let written = bytes[..length].split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(written).trim().to_owned()
    }
}

/// Kills a command and everything in its process group when it is dropped, if that is before the command has ended.
pub(crate) struct GroupGuard(pub(crate) Option<Pid>);

impl Drop for GroupGuard {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

pub(crate) fn group_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once() {
        let values = ["2001:db8::1", "lamp", "{ip}", "60"].map(str::to_owned);
        let run = ArgvCommand { argv: vec![], values, limit: Duration::ZERO, user: None };
        assert_eq!(run.fill("--from={ip} {door}/{rule} {seconds}s"), "--from=2001:db8::1 lamp/{ip} 60s");
        assert_eq!(run.fill("{other} {{ip} {"), "{other} {2001:db8::1 {");
    }
}

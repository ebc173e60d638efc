//! A command of Postern's own configuration: a program and its arguments, without a shell, in a clean environment.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{Act, CommandDoor, PLACEHOLDERS};
use postern_text::duration;
use rustix::fs::{MemfdFlags, SealFlags, memfd_create};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Call;
use crate::as_user;
use crate::journal::Close;
use crate::running::RunningCommands;

/// Bytes that are kept of a failed command's standard error.
const MAX_WORDS: usize = 400;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a door is closed for the client of a call; none if there is nothing to run.
pub(super) fn close(door: &CommandDoor, call: &Call<'_>) -> Option<Close> {
    let ArgvCommand { argv, values, limit, user } = ArgvCommand::new(door, Act::Close, call);
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    (!argv.is_empty()).then(|| Close::Argv { argv, values: values.to_vec(), limit, user })
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

    /// Runs it to its end, and notes it there meanwhile.
    pub(super) async fn perform(&self, running: Option<&Arc<RunningCommands>>) -> Result<(), String> {
        let Some((program, arguments)) = self.argv.split_first() else { return Ok(()) };
        let words = StderrBuffer::new();
        let mut command = match &self.user {
            None => Command::new(program),
            Some(user) => as_user::command(user, program).into(),
        };
        command
            .args(arguments.iter().map(|argument| self.fill(argument)))
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(words.as_ref().map_or_else(Stdio::null, StderrBuffer::writer))
            // Its own group, so that what it starts can be ended with it.
            .process_group(0)
            .kill_on_drop(true);
        for (name, value) in PLACEHOLDERS.iter().zip(&self.values) {
            command.env(format!("POSTERN_{}", name.to_ascii_uppercase()), value);
        }
        let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
        let _note = running.zip(child.id()).and_then(|(running, process)| running.note(process));
        let status = match timeout(self.limit, child.wait()).await {
            Ok(status) => status.map_err(|error| format!("{program} cannot be waited for: {error}"))?,
            Err(_) => {
                end(&mut child).await;
                let limit = duration::show(self.limit);
                return Err(format!("{program} ran longer than {limit} and was killed"));
            }
        };
        if status.success() {
            return Ok(());
        }
        let words = words.map(StderrBuffer::read).unwrap_or_default();
        let separator = if words.is_empty() { "" } else { ": " };
        Err(format!("{program} failed ({status}){separator}{words}"))
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
struct StderrBuffer(File);

impl StderrBuffer {
    fn new() -> Option<Self> {
        let memory = memfd_create("words", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).ok()?;
        rustix::fs::ftruncate(&memory, MAX_WORDS as u64).ok()?;
        rustix::fs::fcntl_add_seals(&memory, SealFlags::GROW | SealFlags::SHRINK).ok()?;
        Some(Self(memory.into()))
    }

    fn writer(&self) -> Stdio {
        self.0.try_clone().map_or_else(|_| Stdio::null(), Stdio::from)
    }

    /// What was written, without the line feed at its end.
    fn read(self) -> String {
        let mut bytes = [0; MAX_WORDS];
        let length = self.0.read_at(&mut bytes, 0).unwrap_or(0);
        let written = bytes[..length].split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(written).trim().to_owned()
    }
}

/// Kills a command and everything in its process group.
async fn end(child: &mut Child) {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    drop(child.kill().await);
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

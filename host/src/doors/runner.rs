//! Runner: runs the commands of command doors, one after the other for each door and client.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_core::{Act, DoorId, Order, Receipt, RuleId};
use rustix::fs::{MemfdFlags, SealFlags, memfd_create};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::{CommandDoor, PLACEHOLDERS, show_duration};
use crate::happening::{Happening, Teller};

/// Commands at once.
const PARALLEL: usize = 32;
/// What is kept of a failed command's standard error, in bytes.
const MAX_WORDS: usize = 400;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs commands. As many wait as the engine gives orders, which the engine bounds.
#[derive(Clone)]
pub(super) struct Runner {
    /// For each opening with a command under way, what comes after it.
    lines: Arc<Mutex<Lines>>,
    slots: Arc<Semaphore>,
    teller: Teller,
}

type Lines = HashMap<(DoorId, IpAddr, u64), VecDeque<Job>>;

struct Job {
    serial: u64,
    argv: Vec<String>,
    values: [String; PLACEHOLDERS.len()],
    limit: Duration,
}

impl Runner {
    pub(super) fn new(teller: Teller) -> Self {
        Self { lines: Arc::default(), slots: Arc::new(Semaphore::new(PARALLEL)), teller }
    }

    pub(super) fn run(&self, door: Arc<CommandDoor>, order: Order, rule: Option<&RuleId>, name: &str) {
        let (argv, seconds) = match order.act {
            Act::Open(lasts) => (&door.open, lasts.as_secs().max(1)),
            Act::Close => (&door.close, 0),
            // The engine extends a door that does not keep the time by itself.
            Act::Extend(_) => (&Vec::new(), 0),
        };
        let rule = rule.map_or_else(String::new, |rule| rule.name.to_string());
        let values = [order.client.to_string(), name.to_owned(), rule, seconds.to_string()];
        let job = Job { serial: order.serial, argv: argv.clone(), values, limit: door.timeout };
        let line = (order.door, order.client, order.turn);
        {
            let mut lines = self.lines();
            if let Some(waiting) = lines.get_mut(&line) {
                return waiting.push_back(job);
            }
            lines.insert(line, VecDeque::new());
        }
        let runner = self.clone();
        tokio::spawn(async move {
            let mut next = Some(job);
            while let Some(job) = next {
                let outcome = runner.perform(&job).await;
                let answer = Happening::Answered(Receipt { serial: job.serial, outcome });
                if runner.teller.send(answer).is_err() {
                    return;
                }
                let mut lines = runner.lines();
                next = lines.get_mut(&line).and_then(VecDeque::pop_front);
                if next.is_none() {
                    lines.remove(&line);
                }
            }
        });
    }

    async fn perform(&self, job: &Job) -> Result<(), String> {
        let Some((program, arguments)) = job.argv.split_first() else { return Ok(()) };
        let Ok(_slot) = self.slots.acquire().await else { return Err("the daemon is stopping".to_owned()) };
        let words = Words::new();
        let mut command = Command::new(program);
        command
            .args(arguments.iter().map(|argument| job.fill(argument)))
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(words.as_ref().map_or_else(Stdio::null, Words::writer))
            // Its own group, so that what it starts can be ended with it.
            .process_group(0)
            .kill_on_drop(true);
        for (name, value) in PLACEHOLDERS.iter().zip(&job.values) {
            command.env(format!("POSTERN_{}", name.to_ascii_uppercase()), value);
        }
        let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
        let status = match timeout(job.limit, child.wait()).await {
            Ok(status) => status.map_err(|error| format!("{program} cannot be waited for: {error}"))?,
            Err(_) => {
                end(&mut child).await;
                let limit = show_duration(job.limit);
                return Err(format!("{program} ran longer than {limit} and was killed"));
            }
        };
        if status.success() {
            return Ok(());
        }
        let words = words.map(Words::read).unwrap_or_default();
        let separator = if words.is_empty() { "" } else { ": " };
        Err(format!("{program} failed ({status}){separator}{words}"))
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The standard error of a command: a piece of memory that is full when it is full. Unlike a pipe it is no trouble to whatever
/// the command leaves running, and nobody needs to read along.
struct Words(File);

impl Words {
    fn new() -> Option<Self> {
        let memory = memfd_create("words", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).ok()?;
        rustix::fs::ftruncate(&memory, MAX_WORDS as u64).ok()?;
        rustix::fs::fcntl_add_seals(&memory, SealFlags::GROW | SealFlags::SHRINK).ok()?;
        Some(Self(memory.into()))
    }

    fn writer(&self) -> Stdio {
        self.0.try_clone().map_or_else(|_| Stdio::null(), Stdio::from)
    }

    /// What was written, in one line.
    fn read(self) -> String {
        let mut bytes = [0; MAX_WORDS];
        let length = self.0.read_at(&mut bytes, 0).unwrap_or(0);
        let written = bytes[..length].split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(written).replace(char::is_control, " ").trim().to_owned()
    }
}

impl Job {
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
        let job = Job { serial: 1, argv: vec![], values, limit: Duration::ZERO };
        assert_eq!(job.fill("--from={ip} {door}/{rule} {seconds}s"), "--from=2001:db8::1 lamp/{ip} 60s");
        assert_eq!(job.fill("{other} {{ip} {"), "{other} {2001:db8::1 {");
    }
}

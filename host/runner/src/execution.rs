//! Execution: one run of a program without a shell, in a clean environment, to its end or to the end of its time.
//!
//! What a program that has ended by itself leaves running is its own affair. Of one whose time is over, or that nobody waits for any more, all
//! that came from it is ended, whatever groups and sessions that made for itself: its shim keeps that together ([`crate::shim`]). Without a shim,
//! for want of memory for notes, that is its process group alone.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command as StdCommand, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use postern_text::duration;
use rustix::fs::{MemfdFlags, SealFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::notes::{Note, NotedPhase};
use crate::process_identity::ProcessIdentity;
use crate::shims::Shims;
use crate::{as_user, shim};

/// Bytes of a program's standard error that it can write; what it writes beyond fails. More than it says at once: such a write would fail as a whole.
const MAX_WRITTEN: u64 = 16 << 10;
/// Bytes of these that are reported of one that failed.
const MAX_WORDS: usize = 400;
/// How long a shim may take to end when its program has.
const PATIENCE: Duration = Duration::from_secs(2);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is run.
pub(crate) struct Execution<'a> {
    pub(crate) program: &'a str,
    pub(crate) arguments: Vec<String>,
    /// The account; none: this process's own user.
    pub(crate) user: Option<&'a str>,
    /// Besides a `PATH`.
    pub(crate) environment: Vec<(String, String)>,
    /// What it reads.
    pub(crate) input: Stdio,
    pub(crate) limit: Duration,
    /// By what it is started, and where what becomes of it is noted.
    pub(crate) shim: Option<(&'a Arc<Shims>, &'a Note)>,
}

impl Execution<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// If it cannot be run, fails or takes too long: the rest of a sentence that begins with the program.
    pub(crate) async fn run(self) -> Result<(), String> {
        let Self { program, arguments, user, environment, input, limit, shim } = self;
        let not_started = |error: &io::Error| format!("cannot be started: {error}");
        let words = StderrBuffer::new();
        let command = match user {
            None => StdCommand::new(program),
            Some(user) => as_user::command(user, program),
        };
        let mut command = match shim {
            // Its standard output is the note.
            Some((shims, note)) => Command::from(
                shim::command(&shims.program, note, limit, &command).map_err(|error| not_started(&error))?,
            ),
            None => {
                let mut command = Command::from(command);
                command.stdout(Stdio::null()).kill_on_drop(true);
                command
            }
        };
        command
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .envs(environment)
            .stdin(input)
            .stderr(words.as_ref().map_or_else(Stdio::null, StderrBuffer::writer))
            // Its own group, so that a signal to the daemon's does not reach it.
            .process_group(0);
        let mut child = command.spawn().map_err(|error| not_started(&error))?;
        let mut tree = RunningTree::new(&child, shim.map(|(shims, _)| shims));
        let in_time = timeout(limit, child.wait()).await;
        let ended = match in_time {
            Ok(ended) => Ok(ended),
            // From here on it is too late to end by itself.
            Err(_) if shim.is_none_or(|(_, note)| note.expire()) => Err(tree.end().await),
            // It has ended at the same moment, and its shim does now.
            Err(_) => Ok(timeout(PATIENCE, child.wait())
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))),
        };
        tree.group = None;
        if child.id().is_some() {
            drop(child.kill().await);
        }
        let status = match (shim.map(|(_, note)| note.phase()), ended) {
            (_, Err(left)) => {
                let but =
                    if left == 0 { String::new() } else { format!(", all but {left} of its processes") };
                return Err(format!("ran longer than {} and was killed{but}", duration::show(limit)));
            }
            (Some(NotedPhase::Ended(status)), Ok(_)) => ExitStatus::from_raw(status),
            (Some(NotedPhase::NotStarted(error)), Ok(_)) => {
                return Err(not_started(&io::Error::from_raw_os_error(error)));
            }
            (_, Ok(Err(error))) => return Err(format!("cannot be waited for: {error}")),
            (Some(NotedPhase::Running(left)), Ok(Ok(status))) => {
                left.end().await;
                return Err(format!("was killed with the process that watches it ({status})"));
            }
            // With a note, the shim's, which ran nothing and said why.
            (None | Some(NotedPhase::Recorded | NotedPhase::Asked), Ok(Ok(status))) => status,
        };
        if status.success() {
            return Ok(());
        }
        let words = words.map(StderrBuffer::read).unwrap_or_default();
        let separator = if words.is_empty() { "" } else { ": " };
        Err(format!("failed ({status}){separator}{words}"))
    }
}

/// A program that runs, with all that came from it: ended when this is dropped, if that is before the program has ended.
struct RunningTree {
    /// Its process group; none once it has ended.
    group: Option<Pid>,
    /// Its leader: the shim, if there is one.
    root: Option<ProcessIdentity>,
    shims: Option<Arc<Shims>>,
}

impl RunningTree {
    fn new(child: &Child, shims: Option<&Arc<Shims>>) -> Self {
        let number = child.id();
        Self {
            group: number.and_then(|number| Pid::from_raw(number.try_into().ok()?)),
            root: number.and_then(ProcessIdentity::of),
            shims: shims.cloned(),
        }
    }

    /// Ends it; how many processes could not be ended.
    async fn end(&mut self) -> usize {
        let left = match self.begin_end() {
            Some(left) => left.await.unwrap_or_default(),
            None => 0,
        };
        self.group = None;
        left
    }

    /// What says how many processes could not be ended, unless that was done at once.
    fn begin_end(&self) -> Option<oneshot::Receiver<usize>> {
        let (group, shims) = (self.group?, self.shims.as_ref());
        if let Some((shims, root)) = shims.zip(self.root) {
            return Some(shims.trees.end(root));
        }
        let _ = kill_process_group(group, Signal::KILL);
        None
    }
}

impl Drop for RunningTree {
    fn drop(&mut self) {
        drop(self.begin_end());
    }
}

/// The standard error of a command: a sealed memory file of fixed size; further writes fail. Unlike a pipe it needs no reader, and does not
/// break processes that the command leaves running.
struct StderrBuffer(File);

impl StderrBuffer {
    fn new() -> Option<Self> {
        let memory = memfd_create("words", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).ok()?;
        rustix::fs::ftruncate(&memory, MAX_WRITTEN).ok()?;
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

//! CompilerProcess: starts a process that compiles one module, waits for it, and ends it.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _, pipe};
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use postern_link::{Talk, TalkReceiver};
use postern_sandbox::CodeKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags, SealFlags, fcntl_add_seals, fcntl_setfl, memfd_create};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::compile_limits::CompileLimits;
use super::death::Death;
use super::job::{Answer, Job, MOST_REPLY, Refusal, Reply};
use crate::role::{OwnProgram, Role};

/// How often is asked whether anybody still waits.
const LOOK: Duration = Duration::from_millis(100);
/// How long each part of an exchange may take: a compiler that has begun to answer is done.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of what it writes to its standard error.
const MOST_WORDS: u64 = 4096;

/// Compiled code in a file that nobody can write any more.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) kind: CodeKind,
    pub(super) code: File,
    /// Bytes of it.
    pub(super) length: u64,
}

/// Why there is no code.
#[derive(Debug)]
pub(super) enum NotCompiled {
    /// The module is no rule.
    Refused(Refusal),
    /// What ended the process.
    Died(Death),
    /// Nobody waits for it any more.
    Unwanted,
}

/// Compiles a module in a process of its own, as long as `is_wanted`. `on_missing` is told which barriers were not around it.
///
/// # Errors
/// If no process can be started.
pub(super) fn compile(
    program: &OwnProgram,
    module: &[u8],
    limits: CompileLimits,
    is_wanted: &dyn Fn() -> bool,
    on_missing: &dyn Fn(Vec<String>),
) -> io::Result<Result<Compiled, NotCompiled>> {
    let (input, code) = (sealed(module)?, empty_file()?);
    let (mut command, link) = program.command(Role::Compiler)?;
    let (words, its_words) = pipe()?;
    // A process that writes without end must neither wait for us nor be waited for.
    fcntl_setfl(&its_words, OFlags::NONBLOCK)?;
    fcntl_setfl(&words, OFlags::NONBLOCK)?;
    let child = command.stdout(Stdio::null()).stderr(its_words).spawn()?;
    // Ours would keep the link and the pipe open.
    drop(command);
    let mut process = CompilerProcess { child, words };
    let said = process.ask(link, &[input.as_fd(), code.as_fd()], limits, is_wanted);
    // Whatever it said, it does nothing more; it has no descriptor of the code after this.
    let death = process.end();
    let Reply { missing, answer } = match said {
        Ok(Said::Reply(reply)) => reply,
        Ok(Said::Nothing) => return Ok(Err(NotCompiled::Died(death))),
        Ok(Said::TooSlow) => return Ok(Err(NotCompiled::Died(Death::TooSlow))),
        Ok(Said::Unwanted) => return Ok(Err(NotCompiled::Unwanted)),
        Err(_) => return Ok(Err(NotCompiled::Died(Death::Nonsense))),
    };
    on_missing(missing);
    let (kind, length) = match answer {
        Answer::Compiled { kind, length } => (CodeKind::of_number(kind), length),
        Answer::Refused(Refusal { what, remedy }) => {
            return Ok(Err(NotCompiled::Refused(Refusal::new(&what, &remedy))));
        }
        Answer::NoMemory => return Ok(Err(NotCompiled::Died(Death::NoMemory))),
    };
    let is_whole = code.metadata()?.len() == length;
    let Some(kind) = kind.filter(|_| is_whole) else {
        return Ok(Err(NotCompiled::Died(Death::Nonsense)));
    };
    fcntl_add_seals(&code, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(Ok(Compiled { kind, code, length }))
}

/// What came over the link.
enum Said {
    Reply(Reply),
    /// The link ended.
    Nothing,
    TooSlow,
    Unwanted,
}

/// A process at work; killed when dropped.
struct CompilerProcess {
    child: Child,
    words: PipeReader,
}

impl CompilerProcess {
    /// Hands the job over and waits for the answer.
    ///
    /// # Errors
    /// If it answers what no compiler answers.
    fn ask(
        &self,
        link: Talk,
        files: &[std::os::fd::BorrowedFd<'_>],
        limits: CompileLimits,
        is_wanted: &dyn Fn() -> bool,
    ) -> io::Result<Said> {
        let deadline = Instant::now() + limits.wall();
        let (sender, mut receiver) = link.split(Some(PATIENCE))?;
        set_socket_timeout(&receiver, Timeout::Recv, Some(PATIENCE))?;
        if sender.send(&Job { limits }, files).is_err() {
            // It died before it could read.
            return Ok(Said::Nothing);
        }
        while !is_readable_within(&receiver, LOOK)? {
            if !is_wanted() {
                return Ok(Said::Unwanted);
            }
            if Instant::now() >= deadline {
                return Ok(Said::TooSlow);
            }
        }
        let reply = receiver.receive::<Reply>(MOST_REPLY)?;
        Ok(reply.map_or(Said::Nothing, |(reply, _)| Said::Reply(reply)))
    }

    /// Ends it; how it ended, if it had already.
    fn end(&mut self) -> Death {
        // One that is ending by itself keeps its status.
        let _ = self.child.kill();
        let mut words = Vec::new();
        let status = self.child.wait();
        let _ = (&self.words).take(MOST_WORDS).read_to_end(&mut words);
        let words = String::from_utf8_lossy(&words).into_owned();
        status.map_or(Death::Nonsense, |status| Death::Ended { status, words })
    }
}

impl Drop for CompilerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_readable_within(receiver: &TalkReceiver, time: Duration) -> io::Result<bool> {
    let mut polled = [PollFd::new(receiver, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
    match poll(&mut polled, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A file of these bytes that nobody can change.
fn sealed(bytes: &[u8]) -> io::Result<File> {
    let mut file = empty_file()?;
    file.write_all(bytes)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

fn empty_file() -> io::Result<File> {
    Ok(memfd_create("postern-module", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into())
}

//! CompilerRole: what a compiler's process does. It gets one module, answers, and ends.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use postern_confine::{Account, Confinement, Limits, SystemCalls};
use postern_link::{Talk, TalkReceiver};
use postern_sandbox::{Artifact, ArtifactCode, Compiler, LoadError, MAX_MODULE};
use postern_text::{chain, clean, terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, nice, set_parent_process_death_signal};

use super::compile_limits::CompileLimits;
use super::job::{Answer, Job, MOST_BARRIER, Refusal, Reply};

/// How deep a module's types and blocks may be nested is a matter of this, in bytes.
const STACK: usize = 8 << 20;
/// How long the other end may take to read the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much less of a busy processor compilers get, of 19.
const BEHIND_OTHERS: i32 = 10;
/// Who compiles where root starts it: the user who owns nothing.
const NOBODY: Account = Account { uid: 65_534, gid: 65_534 };
/// Most bytes of a job.
const MOST_JOB: usize = 1024;

/// Compiles the module that comes over standard input.
pub(crate) fn run() -> ExitCode {
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The other process reads it; if it is gone there is nobody to tell.
            drop(terminal::err(chain(&*error)));
            ExitCode::FAILURE
        }
    }
}

fn compile() -> anyhow::Result<()> {
    // Whoever waits for the answer is a thread of that process.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let (sender, mut receiver) = Talk::of_standard_input()?.split(Some(PATIENCE))?;
    let Some((limits, module, code)) = receive(&mut receiver)? else { return Ok(()) };
    limits.impose()?;
    // Who judges comes first; a start has nobody to wait for. Without it things go on as well.
    let _ = nice(BEHIND_OTHERS);
    // Nothing of the module was looked at so far, and no thread was started.
    let held = confinement().apply()?;
    let missing = held.missing().iter().map(|missing| clean(&missing.to_string(), MOST_BARRIER).into_owned());
    let missing = missing.collect();
    // If that process ended before the signal of its death was asked for, which a change of user forgets, there is none.
    if is_over(&receiver)? {
        return Ok(());
    }
    let mut bytes = Vec::new();
    module.take(MAX_MODULE).read_to_end(&mut bytes)?;
    let thread = thread::Builder::new().name("compiler".to_owned()).stack_size(STACK);
    let work = move || answer(&bytes, code);
    let Ok(answer) = thread.spawn(work)?.join() else { anyhow::bail!("the compiler panicked") };
    Ok(sender.send(&Reply { missing, answer: answer? }, &[])?)
}

/// What a compiler keeps: its descriptors, memory and threads.
fn confinement() -> Confinement {
    let own = Account::own();
    let account = if own.uid == 0 { NOBODY } else { own };
    Confinement {
        account,
        system_calls: Some(SystemCalls::Compiler),
        limits: Limits::AS_THEY_ARE,
        ..Confinement::default()
    }
}

/// Whether the other end of the link is gone: nothing more is sent over it.
fn is_over(receiver: &TalkReceiver) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(receiver, PollFlags::IN)], Some(&now))? > 0)
}

fn receive(receiver: &mut TalkReceiver) -> anyhow::Result<Option<(CompileLimits, File, File)>> {
    let Some((job, descriptors)) = receiver.receive::<Job>(MOST_JOB)? else { return Ok(None) };
    let mut files = descriptors.into_iter().map(File::from);
    let (Some(module), Some(code)) = (files.next(), files.next()) else {
        anyhow::bail!("a file is missing");
    };
    Ok(Some((job.limits, module, code)))
}

fn answer(bytes: &[u8], mut code: File) -> anyhow::Result<Answer> {
    let Artifact { kind, code: compiled } = match Compiler::new()?.compile(bytes) {
        Ok(artifact) => artifact,
        Err(error) if is_for_want_of_memory(&error) => return Ok(Answer::NoMemory),
        Err(error) => return Ok(Answer::Refused(Refusal::new(&error.to_string(), &error.remedy()))),
    };
    let ArtifactCode::Bytes(compiled) = compiled else { anyhow::bail!("the code is in a file already") };
    code.write_all(&compiled)?;
    Ok(Answer::Compiled { kind: kind.number(), length: u64::try_from(compiled.len())? })
}

/// Whether the system refused memory; an allocation that fails ends the process.
fn is_for_want_of_memory(error: &LoadError) -> bool {
    let errno = rustix::io::Errno::NOMEM.raw_os_error();
    matches!(error, LoadError::Compile(what) if what.contains(&format!("(os error {errno})")))
}

//! RunningCommands: which commands run, in memory that outlives this process.
//!
//! A runner that is killed leaves its commands running, and nobody keeps their time any more. The next runner ends them before it closes what they
//! were opening: else a door could be opened after it was closed. The memory is a file without a name that the supervisor holds on to and
//! gives to the next runner; it never looks into it.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use postern_text::panic::PastPanic;
use rustix::fs::{MemfdFlags, SealFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};

/// Commands that are noted at once, which is more than run ([`crate::Runner`]'s bounds) unless there are a thousand doors.
const SLOTS: usize = 4096;
/// Bytes of one: the process as `u32`, four of zero, and when it was started as `u64`, as the kernel counts.
const SLOT: usize = 16;
/// How long the end of all commands may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Notes of commands that run. Each leads a process group of its own.
#[derive(Debug)]
pub struct RunningCommands {
    memory: File,
    is_used: Mutex<Vec<bool>>,
}

/// Keeps a note as long as it lives.
#[derive(Debug)]
pub(crate) struct RunningNote {
    commands: Arc<RunningCommands>,
    slot: usize,
}

impl RunningCommands {
    /// Without any note.
    ///
    /// # Errors
    /// If the system has no memory for it.
    pub fn new() -> io::Result<Self> {
        let memory = memfd_create("commands", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&memory, (SLOTS * SLOT) as u64)?;
        rustix::fs::fcntl_add_seals(&memory, SealFlags::GROW | SealFlags::SHRINK)?;
        Ok(Self { memory: memory.into(), is_used: Mutex::new(vec![false; SLOTS]) })
    }

    /// What another process noted, which has ended.
    #[must_use]
    pub fn of_descriptor(memory: OwnedFd) -> Self {
        Self { memory: memory.into(), is_used: Mutex::new(vec![false; SLOTS]) }
    }

    /// The memory, to be held on to.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.memory.try_clone()?.into())
    }

    /// Kills every command that is noted, with its process group, and waits, at most two seconds, until they have ended. How many still
    /// ran.
    pub fn end_all(&self) -> usize {
        let noted = (0..SLOTS).filter_map(|slot| {
            let (process, started) = self.read(slot)?;
            self.write(slot, [0; SLOT]);
            // A group keeps its number as long as anything is in it, so one without its leader is not another.
            (start_of(process).is_none_or(|start| start == started)).then_some((process, started))
        });
        let mut ended = Vec::new();
        for (process, started) in noted {
            let group = i32::try_from(process).ok().and_then(Pid::from_raw);
            if group.is_some_and(|group| kill_process_group(group, Signal::KILL).is_ok()) {
                ended.push((process, started));
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while ended.iter().any(|(process, started)| is_alive(*process, *started)) && Instant::now() < deadline
        {
            thread::sleep(Duration::from_millis(2));
        }
        ended.len()
    }

    /// Notes a command that has just been started and is not waited for yet; none if there is no room.
    pub(crate) fn note(self: &Arc<Self>, process: u32) -> Option<RunningNote> {
        let started = start_of(process)?;
        let slot = {
            let mut is_used = self.is_used.lock().past_panic();
            let slot = is_used.iter().position(|is_used| !is_used)?;
            is_used[slot] = true;
            slot
        };
        let mut bytes = [0; SLOT];
        bytes[..4].copy_from_slice(&process.to_ne_bytes());
        bytes[8..].copy_from_slice(&started.to_ne_bytes());
        self.write(slot, bytes);
        Some(RunningNote { commands: Arc::clone(self), slot })
    }

    fn read(&self, slot: usize) -> Option<(u32, u64)> {
        let mut bytes = [0; SLOT];
        self.memory.read_exact_at(&mut bytes, (slot * SLOT) as u64).ok()?;
        let [a, b, c, d, _, _, _, _, started @ ..] = bytes;
        let process = u32::from_ne_bytes([a, b, c, d]);
        (process != 0).then_some((process, u64::from_ne_bytes(started)))
    }

    fn write(&self, slot: usize, bytes: [u8; SLOT]) {
        // Memory that was there when it was made.
        let _ = self.memory.write_all_at(&bytes, (slot * SLOT) as u64);
    }
}

impl Drop for RunningNote {
    fn drop(&mut self) {
        self.commands.write(self.slot, [0; SLOT]);
        self.commands.is_used.lock().past_panic()[self.slot] = false;
    }
}

/// When a process was started; none if there is none of this number.
fn start_of(process: u32) -> Option<u64> {
    fields(process)?.get(19)?.parse().ok()
}

fn is_alive(process: u32, started: u64) -> bool {
    fields(process).is_some_and(|fields| {
        // One that has ended stays until its parent notices.
        let is_running = fields.first().is_some_and(|state| !["Z", "X"].contains(&state.as_str()));
        is_running && fields.get(19).and_then(|start| start.parse().ok()) == Some(started)
    })
}

/// What the kernel says of a process, from its state on.
fn fields(process: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Its name is in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").process_group(0).spawn().unwrap()
    }

    #[test]
    fn what_another_process_left_running_is_ended_and_nothing_else() {
        let first = Arc::new(RunningCommands::new().unwrap());
        let (mut left, mut done, mut other) = (sleeper(), sleeper(), sleeper());
        let note = first.note(left.id()).unwrap();
        drop(first.note(done.id()).unwrap());
        // The number belongs to another process now.
        let stale = first.note(other.id()).unwrap();
        let mut bytes = [0; SLOT];
        bytes[..4].copy_from_slice(&other.id().to_ne_bytes());
        first.write(stale.slot, bytes);
        let next = RunningCommands::of_descriptor(first.descriptor().unwrap());
        assert_eq!(next.end_all(), 1);
        assert_eq!(next.end_all(), 0);
        assert!(left.wait().unwrap().code().is_none(), "it was killed");
        for child in [&mut done, &mut other] {
            assert!(child.try_wait().unwrap().is_none(), "it was not noted");
            child.kill().unwrap();
            child.wait().unwrap();
        }
        drop((note, stale));
    }
}

//! Notes: which commands run for which openings and how far they have come, in memory that outlives this process.
//!
//! A runner that is killed leaves its commands running. The next one learns here, and not from the journal, what was recorded and is not open,
//! what is being opened or closed, and what is closed though its record is still there. The memory is a file without a name that the
//! supervisor holds on to and gives to the next runner; the supervisor never looks into it. It costs no flush, and is gone with the
//! supervisor or the machine: then the journal alone counts, and what may be open is closed.
//!
//! A slot changes under a lock of the file, since the shim of a command ([`crate::shim`]) writes in it as well. Each use of a slot has a
//! ticket of its own: a shim that begins when its slot has another runs nothing.

mod slot;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use postern_text::panic::PastPanic;
use rustix::fs::{MemfdFlags, SealFlags, memfd_create};

use self::slot::{NoteSlot, SLOT, UsedSlot};
use crate::left_running::LeftRunning;
use crate::process_identity::ProcessIdentity;

/// Slots, the first of which is the header. More than there are commands and records under way, unless the disk hangs for long or the configuration
/// allows many thousand openings; what has no slot is closed by the journal's rule.
const SLOTS: u32 = 1 << 16;
/// Where the header has the number of the journal, in four bytes; before it is that of the next record, in eight.
const AT_JOURNAL: u64 = 8;
/// How long a lock that another process has is waited for: it is held for microseconds, unless that process is stopped meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// The notes of a runner, or of the one before it.
#[derive(Debug)]
pub struct Notes {
    /// Opened by this process alone: a lock of one before ended with that.
    memory: File,
    slots: Mutex<Slots>,
}

/// Which slots are free.
#[derive(Debug)]
struct Slots {
    /// Below `fresh`.
    free: BTreeSet<u32>,
    /// From here on all are.
    fresh: u32,
    /// The number of the next record.
    next_record: u64,
}

/// What a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotedAct {
    /// It opens for an opening.
    Open,
    /// It closes.
    Close,
    /// It is a hook's, whose number stands in the place of a record's.
    Hook,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotedPhase {
    /// The opening is in the journal, or is about to be, and its command has not begun.
    Recorded,
    /// A command is to begin.
    Asked,
    /// It has begun.
    Running(LeftRunning),
    /// It has ended, with this status as `wait` has it.
    Ended(i32),
    /// It could not be started, for this error of the system.
    NotStarted(i32),
}

/// What became of a command that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// It has ended by itself.
    Ended,
    /// Its shim was killed, and it with that.
    LostShim,
    /// Its time was over, and it was killed.
    TookTooLong,
}

/// One slot. It is free again when this is dropped, and not when this process is killed.
#[derive(Debug)]
pub(crate) struct Note {
    notes: Arc<Notes>,
    slot: u32,
    ticket: u32,
    record: u64,
    act: NotedAct,
}

/// The end of a slot that a shim has.
#[derive(Debug)]
pub(crate) struct ShimNote {
    memory: File,
    slot: u32,
    ticket: u32,
}

impl Notes {
    /// Without any note.
    ///
    /// # Errors
    /// If the system has no memory for it, or there is no `/proc`.
    pub fn new() -> io::Result<Arc<Self>> {
        let memory = memfd_create("commands", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&memory, u64::from(SLOTS) * SLOT as u64)?;
        rustix::fs::fcntl_add_seals(&memory, SealFlags::GROW | SealFlags::SHRINK)?;
        let memory = open_anew(&File::from(memory))?;
        // So that it is none of those that another memory numbered, which may be in the same journal.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let next_record = u64::try_from(since.as_micros()).unwrap_or(1).max(1);
        write_number(&memory, next_record)?;
        let slots = Slots { free: BTreeSet::new(), fresh: 1, next_record };
        Ok(Arc::new(Self { memory, slots: Mutex::new(slots) }))
    }

    /// Those of another process, which has ended. What it had not begun does not begin any more.
    ///
    /// # Errors
    /// If it is no memory of notes, or there is no `/proc`.
    pub fn inherit(memory: OwnedFd) -> io::Result<(Arc<Self>, InheritedNotes)> {
        let memory = open_anew(&File::from(memory))?;
        let mut number = [0; 8];
        memory.read_exact_at(&mut number, 0)?;
        let slots = Slots { free: BTreeSet::new(), fresh: 1, next_record: u64::from_ne_bytes(number) };
        let notes = Arc::new(Self { memory, slots: Mutex::new(slots) });
        let mut inherited = Vec::new();
        let mut slots = notes.lock();
        alone(&notes.memory, || {
            for slot in 1..SLOTS {
                let NoteSlot { ticket, used } = edit(&notes.memory, slot, |kept| {
                    if let Some(UsedSlot { phase: NotedPhase::Recorded | NotedPhase::Asked, .. }) = kept.used
                    {
                        kept.ticket = after(kept.ticket);
                    }
                    *kept
                })?;
                if ticket == NEVER_USED {
                    break;
                }
                slots.fresh = slot + 1;
                match used {
                    Some(UsedSlot { record, act, .. }) => {
                        inherited.push(Note { notes: Arc::clone(&notes), slot, ticket, record, act });
                    }
                    None => drop(slots.free.insert(slot)),
                }
            }
            io::Result::Ok(())
        })?;
        drop(slots);
        Ok((notes, InheritedNotes(inherited)))
    }

    /// The memory, to be held on to. A lock that this process has ends with this process, whoever holds that.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(open_anew(&self.memory)?.into())
    }

    /// The number of the journal in which the records of these notes are; none if there is none.
    #[must_use]
    pub fn journal(&self) -> Option<u32> {
        let mut number = [0; 4];
        self.memory.read_exact_at(&mut number, AT_JOURNAL).ok()?;
        Some(u32::from_ne_bytes(number)).filter(|number| *number != 0)
    }

    /// Notes in which journal records are from now on.
    pub fn note_journal(&self, number: u32) {
        // Memory that was there when it was made.
        let _ = self.memory.write_all_at(&number.to_ne_bytes(), AT_JOURNAL);
    }

    /// Notes that an opening is about to be recorded, and is not open; none if there is no room.
    pub(crate) fn recorded(self: &Arc<Self>) -> Option<Note> {
        let record = {
            let mut slots = self.lock();
            let record = slots.next_record;
            // Before it is used: the next process begins there.
            write_number(&self.memory, record + 1).ok()?;
            slots.next_record = record + 1;
            record
        };
        self.note(UsedSlot { record, act: NotedAct::Open, phase: NotedPhase::Recorded })
    }

    /// Notes that a command is to begin, for the opening that this record is of, if any; none if there is no room.
    pub(crate) fn asked(self: &Arc<Self>, record: Option<u64>, act: NotedAct) -> Option<Note> {
        self.note(UsedSlot { record: record.unwrap_or(0), act, phase: NotedPhase::Asked })
    }

    /// Notes that a command of this hook is to begin; none if there is no room.
    pub(crate) fn hook(self: &Arc<Self>, hook: u32) -> Option<Note> {
        self.note(UsedSlot { record: hook.into(), act: NotedAct::Hook, phase: NotedPhase::Asked })
    }

    fn note(self: &Arc<Self>, used: UsedSlot) -> Option<Note> {
        let mut slots = self.lock();
        let slot = match slots.free.pop_first() {
            Some(slot) => slot,
            None if slots.fresh < SLOTS => {
                slots.fresh += 1;
                slots.fresh - 1
            }
            None => return None,
        };
        let changed = change(&self.memory, slot, |kept| {
            *kept = NoteSlot { ticket: after(kept.ticket), used: Some(used) };
            kept.ticket
        });
        let ticket = changed.ok()?;
        Some(Note { notes: Arc::clone(self), slot, ticket, record: used.record, act: used.act })
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().past_panic()
    }
}

/// What the runner before left, in no order.
#[derive(Debug, Default)]
pub struct InheritedNotes(Vec<Note>);

impl InheritedNotes {
    /// Ends, with all that came from it, each command that runs for a door and for no record, and waits for that, some seconds at most: nothing
    /// says what they would open after that was closed. How many still ran.
    pub fn end_unrecorded(&mut self) -> usize {
        let is_kept = |note: &Note| note.record != 0 || note.act == NotedAct::Hook;
        let (kept, rest): (Vec<_>, Vec<_>) = self.0.drain(..).partition(is_kept);
        self.0 = kept;
        end_all(&rest)
    }

    /// Takes out the commands of hooks that run, each with its hook's number.
    pub(crate) fn take_hooks(&mut self) -> Vec<(u32, Note)> {
        let (hooks, rest): (Vec<_>, Vec<_>) = self.0.drain(..).partition(|note| note.act == NotedAct::Hook);
        self.0 = rest;
        let running = hooks.into_iter().filter(|note| note.running().is_some());
        running.map(|note| (u32::try_from(note.record).unwrap_or(u32::MAX), note)).collect()
    }

    /// Those of records, each with the record's number.
    pub(crate) fn into_recorded(self) -> impl Iterator<Item = (u64, Note)> {
        let recorded = self.0.into_iter().filter(|note| note.act != NotedAct::Hook);
        recorded.map(|note| (note.record, note))
    }
}

/// Ends those of these commands that run, within some seconds: how many.
pub(crate) fn end_all<'a>(notes: impl IntoIterator<Item = &'a Note>) -> usize {
    LeftRunning::end_all(&notes.into_iter().filter_map(Note::running).collect::<Vec<_>>())
}

impl Note {
    /// The number of the record that it is for; 0 if it is for none.
    pub(crate) const fn record(&self) -> u64 {
        self.record
    }

    /// How far it is.
    pub(crate) fn phase(&self) -> NotedPhase {
        let _slots = self.notes.lock();
        let kept = change(&self.notes.memory, self.slot, |kept| *kept);
        // Memory that was there when it was made; else it is as if the command had not ended.
        kept.ok().and_then(|kept| kept.used).map_or(NotedPhase::Asked, |used| used.phase)
    }

    /// Its command, if that runs.
    pub(crate) fn running(&self) -> Option<LeftRunning> {
        match self.phase() {
            NotedPhase::Running(running) => Some(running),
            _ => None,
        }
    }

    /// Its time is over: from now on it does not begin, and how it ends counts no more. False if it has ended before.
    pub(crate) fn expire(&self) -> bool {
        let _slots = self.notes.lock();
        let expired = change(&self.notes.memory, self.slot, |kept| {
            let NoteSlot { ticket, used: Some(UsedSlot { phase, .. }) } = kept else { return true };
            match phase {
                NotedPhase::Recorded | NotedPhase::Asked => *ticket = after(*ticket),
                NotedPhase::Running(running) => running.until = 0,
                NotedPhase::Ended(_) | NotedPhase::NotStarted(_) => return false,
            }
            true
        });
        // Memory that was there when it was made.
        expired.unwrap_or(true)
    }

    /// Waits for a command that a runner before left running, and ends it with all that came from it when its time is over or its shim was killed.
    pub(crate) async fn wait_or_end(&self) -> Waited {
        let Some(running) = self.running() else { return Waited::Ended };
        let is_shim_gone = running.ended().await;
        if !self.expire() {
            return Waited::Ended;
        }
        running.end().await;
        if is_shim_gone { Waited::LostShim } else { Waited::TookTooLong }
    }

    /// Whether a close has succeeded: then only its record is left to be erased.
    pub(crate) fn is_closed(&self) -> bool {
        self.act == NotedAct::Close && self.phase() == NotedPhase::Ended(0)
    }

    /// Which slot and ticket a shim is told.
    pub(crate) const fn place(&self) -> (u32, u32) {
        (self.slot, self.ticket)
    }

    /// The memory for a shim, which has its own lock of it.
    pub(crate) fn memory(&self) -> io::Result<File> {
        open_anew(&self.notes.memory)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let mut slots = self.notes.lock();
        let freed = change(&self.notes.memory, self.slot, |kept| kept.used = None);
        if freed.is_ok() {
            slots.free.insert(self.slot);
        }
    }
}

impl ShimNote {
    /// A slot in this memory.
    pub(crate) const fn new(memory: File, slot: u32, ticket: u32) -> Self {
        Self { memory, slot, ticket }
    }

    /// Notes that the command begins, and until when it may run; false if it must not: the runner that asked for it has ended.
    pub(crate) fn begin(&self, running: LeftRunning) -> bool {
        self.update(|phase| match phase {
            NotedPhase::Recorded | NotedPhase::Asked => Some(NotedPhase::Running(running)),
            _ => None,
        })
    }

    /// Notes which process the command is; false if it is ended already.
    pub(crate) fn started(&self, command: ProcessIdentity) -> bool {
        self.update(|phase| match phase {
            NotedPhase::Running(running) => {
                Some(NotedPhase::Running(LeftRunning { command: Some(command), ..running }))
            }
            _ => None,
        })
    }

    /// Notes how it ended; false if that counts no more, since its time was over before.
    pub(crate) fn end(&self, how: NotedPhase) -> bool {
        self.update(|phase| match phase {
            NotedPhase::Running(LeftRunning { until: 1.., .. }) => Some(how),
            _ => None,
        })
    }

    fn update(&self, next: impl FnOnce(NotedPhase) -> Option<NotedPhase>) -> bool {
        let changed = change(&self.memory, self.slot, |kept| {
            let used = kept.used.as_mut().filter(|_| kept.ticket == self.ticket);
            let next = used.and_then(|used| Some((next(used.phase)?, used)));
            next.map(|(next, used)| used.phase = next).is_some()
        });
        changed.unwrap_or(false)
    }
}

/// The ticket of a slot that was never used; so are all behind it.
const NEVER_USED: u32 = 0;

fn after(ticket: u32) -> u32 {
    ticket.wrapping_add(1).max(NEVER_USED + 1)
}

/// Another description of the same file, so that its lock is this one's alone.
fn open_anew(file: &File) -> io::Result<File> {
    File::options().read(true).write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn write_number(memory: &File, next_record: u64) -> io::Result<()> {
    memory.write_all_at(&next_record.to_ne_bytes(), 0)
}

/// Changes a slot while no other process does. In a process one thread at a time may call this.
fn change<T>(memory: &File, slot: u32, change: impl FnOnce(&mut NoteSlot) -> T) -> io::Result<T> {
    alone(memory, || edit(memory, slot, change))
}

/// Does something while no other process changes a slot.
fn alone<T>(memory: &File, act: impl FnOnce() -> T) -> T {
    let until = Instant::now() + PATIENCE;
    // Whoever has it is stopped, and has a slot of its own.
    while memory.try_lock().is_err() && Instant::now() < until {
        thread::sleep(Duration::from_micros(50));
    }
    let done = act();
    let _ = memory.unlock();
    done
}

fn edit<T>(memory: &File, slot: u32, change: impl FnOnce(&mut NoteSlot) -> T) -> io::Result<T> {
    let (at, mut bytes) = (u64::from(slot) * SLOT as u64, [0; SLOT]);
    memory.read_exact_at(&mut bytes, at)?;
    let before = NoteSlot::decode(&bytes);
    let mut after = before;
    let answer = change(&mut after);
    if after != before {
        memory.write_all_at(&after.encode(), at)?;
    }
    Ok(answer)
}

#[cfg(test)]
mod tests;

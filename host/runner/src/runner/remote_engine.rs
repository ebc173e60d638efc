//! What a runner does for an engine in another process: either may die at any moment, and the other goes on with what the journal says.
//!
//! An opening has a key by which its engine closes it. An engine that comes anew is handed what is open under keys that only the runner
//! gives out, in the upper half of all door numbers. A runner that comes anew finds in the journal under which key the living engine knows
//! an opening, and in the notes of the runner before it how far that came with it: see [`Notes`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use postern_core::{Act, DoorId, OpeningKey};
use postern_text::panic::PastPanic;

use super::{Job, JobCommand, Runner};
use crate::journal::{JournalRecord, OrderedBy};
use crate::notes::{InheritedNotes, Note, NotedPhase, end_all};
use crate::shims::Shims;

/// From here on door numbers are those of openings that were handed over.
const HANDED_OVER: u32 = 1 << 31;

/// Whether a door number is that of an opening that a runner handed over.
#[must_use]
pub const fn is_handed_over(door: DoorId) -> bool {
    door.0 >= HANDED_OVER
}

/// The key of a record of the journal that the engine did not order itself. The same record has it as long as it is in the same file, so
/// that an engine is not handed it twice.
fn key_of(row: u64, record: &JournalRecord) -> OpeningKey {
    let number = u32::try_from(row & u64::from(HANDED_OVER - 1)).unwrap_or_default();
    OpeningKey { door: DoorId(HANDED_OVER | number), client: record.client, occurrence: 0 }
}

impl Runner {
    /// Serves this engine from now on; its number is none that another engine ever had, and not 0.
    pub fn serve(&self, engine: u64) {
        self.engine.store(engine, Ordering::Relaxed);
    }

    /// Has commands started by these shims, in whose notes the next runner finds what became of openings and commands. What the runner before left
    /// goes on when the journal says what it is for. Without effect if it was said before by what commands are started.
    pub fn succeed(&self, shims: Arc<Shims>, inherited: InheritedNotes) {
        if self.shims.set(shims).is_ok() {
            self.is_followed.store(true, Ordering::Relaxed);
            self.inherited.lock().past_panic().extend(inherited.into_recorded());
        }
    }

    /// Ends the commands that the runner before left running for openings that are not in the journal that was opened, or if none was: they are
    /// somebody else's to close now, and must not be opened after that.
    pub fn end_unknown(&self) {
        end_all(self.inherited.lock().past_panic().values());
    }

    /// How many openings the journal says there are.
    #[must_use]
    pub fn recorded(&self) -> usize {
        self.records().len()
    }

    /// Takes over what the journal says is open, when it has just been opened. What the engine that is served ordered itself keeps its key.
    /// What the notes say is closed is erased.
    pub fn take_over(&self, rows: Vec<(u64, JournalRecord)>) {
        let engine = self.engine.load(Ordering::Relaxed);
        for (row, record) in rows {
            let inherited = record.noted.and_then(|noted| self.inherited.lock().past_panic().remove(&noted));
            let note = match (inherited, self.journal.get()) {
                (Some(note), Some(journal)) if note.is_closed() => {
                    journal.erase(row, Some(note));
                    continue;
                }
                (note, _) => note,
            };
            let (key, engine) = match record.of.filter(|of| of.engine == engine && engine != 0) {
                Some(OrderedBy { door, occurrence, .. }) => {
                    (OpeningKey { door: DoorId(door), client: record.client, occurrence }, engine)
                }
                None => (key_of(row, &record), 0),
            };
            let (unbegun, adopted) = match note.as_ref().map(Note::phase) {
                Some(NotedPhase::Recorded) => (note, None),
                Some(NotedPhase::Running(_)) => (None, note),
                // A command that has ended may have opened it, or not have closed it; one that had not begun never does.
                _ => (None, None),
            };
            self.records().adopt(key, row, record, engine, unbegun);
            if let Some(adopted) = adopted {
                self.enqueue(key, Job::Adopted(adopted));
            }
        }
        self.end_unknown();
        self.inherited.lock().past_panic().clear();
    }

    /// Waits for a command that the runner before left running: what it opens is closed when it has ended, and what it closes is closed.
    pub(super) async fn wait_for_adopted(&self, key: &OpeningKey, note: Note) {
        note.wait_or_end().await;
        if note.is_closed()
            && let Some(journal) = self.journal.get()
        {
            self.records().closed(key, journal, Some(note));
        }
    }

    /// What is open that the engine does not know, each with the key that it has from now on; and whether that is all. What a command runs for
    /// is left out until that has ended: it may be closed then. What no command was begun for is erased.
    #[must_use]
    pub fn hand_over(&self) -> (Vec<(OpeningKey, JournalRecord)>, bool) {
        let engine = self.engine.load(Ordering::Relaxed);
        let queues = self.queues();
        self.records().hand_over(engine, |key| queues.contains_key(key), key_of, self.journal.get())
    }

    /// Closes what is due, if no command runs for it: nobody else does while there is no engine. Nobody is told of the outcome; what does not
    /// close is still there.
    pub fn close_due(&self, serial: u64) {
        let due = self.records().due();
        let queues = self.queues();
        let idle: Vec<_> = due.into_iter().filter(|key| !queues.contains_key(key)).collect();
        drop(queues);
        idle.into_iter().for_each(|key| self.close_recorded(serial, key));
    }

    /// Closes an opening as the journal says, whatever its door is now. One that is not in the journal is closed: its record went with the
    /// end of the command that closed it, whose receipt was lost.
    pub fn close_recorded(&self, serial: u64, key: OpeningKey) {
        self.enqueue(key, Job::CloseRecorded { serial });
    }

    /// As the journal says at this moment: what came before may have closed it.
    pub(super) async fn perform_recorded(&self, key: &OpeningKey) -> Result<(), String> {
        let record = self.records().get(key).cloned();
        let Some(record) = record else { return Ok(()) };
        let door = record.door.as_str().into();
        self.perform(key, Act::Close, &JobCommand::Recorded(record.into()), &door).await
    }

    /// Whether the journal says that something is open under this key.
    #[must_use]
    pub fn is_recorded(&self, key: &OpeningKey) -> bool {
        self.records().get(key).is_some()
    }

    /// Notes that an opening was ordered that the journal knows of: from now on only a close erases its record.
    pub fn ordered(&self, key: &OpeningKey) {
        self.records().ordered(key);
    }

    /// For how long the journal says that an opening lasts; zero if it knows none.
    #[must_use]
    pub fn remaining(&self, key: &OpeningKey) -> Duration {
        self.records().get(key).map_or(Duration::ZERO, JournalRecord::remaining)
    }

    /// Notes in a record which opening it is to the engine that is served.
    pub(super) fn sign(&self, key: OpeningKey, record: Option<&mut JournalRecord>) {
        let engine = self.engine.load(Ordering::Relaxed);
        if let Some(record) = record.filter(|_| engine != 0) {
            record.of = Some(OrderedBy { engine, door: key.door.0, occurrence: key.occurrence });
        }
    }
}

#[cfg(test)]
mod tests;

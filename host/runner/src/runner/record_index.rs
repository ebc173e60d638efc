//! RecordIndex: which opening has which record in the journal, and which engine knows it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use postern_core::{Observer, OpeningKey, OpeningNote, Report, What};

use crate::journal::{Journal, JournalRecord};
use crate::notes::Note;

/// A record whose times are off by no more than this is not rewritten: a rewrite costs a flush.
const NEAR: Duration = Duration::from_secs(1);
/// Records that are kept of openings that could not be closed; the oldest is dropped for a further one.
const MOST_ABANDONED: usize = 1024;

/// The records that are in the journal, with their numbers there.
#[derive(Debug, Default)]
pub(super) struct RecordIndex {
    open: HashMap<OpeningKey, IndexedRecord>,
    /// Of openings that could not be closed: for the operator, and for the next start.
    abandoned: VecDeque<(u64, JournalRecord)>,
}

#[derive(Debug)]
struct IndexedRecord {
    row: u64,
    record: JournalRecord,
    /// The engine that knows it under its key; 0 if it is this process's own, or nobody does.
    engine: u64,
    /// Whether it was ordered, or may be open as far as this process knows.
    is_ordered: bool,
    /// That its command has not begun; none if it has, or nobody knows.
    unbegun: Option<Note>,
}

impl RecordIndex {
    /// Notes that an opening is in the journal under this number, and that this engine knows of it. It was not ordered so far; with a note
    /// that survives this process.
    pub(super) fn insert(
        &mut self,
        key: OpeningKey,
        row: u64,
        record: JournalRecord,
        engine: u64,
        unbegun: Option<Note>,
    ) {
        self.open.insert(key, IndexedRecord { row, record, engine, is_ordered: false, unbegun });
    }

    /// Notes that it may be open from now on, if it is in the journal.
    pub(super) fn ordered(&mut self, key: &OpeningKey) {
        if let Some(known) = self.open.get_mut(key) {
            known.is_ordered = true;
        }
    }

    /// Notes that an opening of an earlier runner is in the journal under this number. It may be open, unless a note says otherwise.
    pub(super) fn adopt(
        &mut self,
        key: OpeningKey,
        row: u64,
        record: JournalRecord,
        engine: u64,
        unbegun: Option<Note>,
    ) {
        let is_ordered = unbegun.is_none();
        self.open.insert(key, IndexedRecord { row, record, engine, is_ordered, unbegun });
    }

    /// Its command is about to begin: its note, if it has one, goes on with that.
    pub(super) fn begin(&mut self, key: &OpeningKey) -> Option<Note> {
        self.open.get_mut(key)?.unbegun.take()
    }

    /// Whether an opening is known not to be open: its command has not begun.
    pub(super) fn is_unbegun(&self, key: &OpeningKey) -> bool {
        self.open.get(key).is_some_and(|known| known.unbegun.is_some())
    }

    /// How many openings it knows, but for those that were given up.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// The record of an opening.
    pub(super) fn get(&self, key: &OpeningKey) -> Option<&JournalRecord> {
        self.open.get(key).map(|known| &known.record)
    }

    /// Gives all that this engine does not know a key of its own by `key_of`, but for what `is_busy`: these, with their records, and whether
    /// there was nothing busy among them. What was not ordered is erased: the engine that would have has ended.
    pub(super) fn hand_over(
        &mut self,
        engine: u64,
        is_busy: impl Fn(&OpeningKey) -> bool,
        key_of: impl Fn(u64, &JournalRecord) -> OpeningKey,
        journal: Option<&Journal>,
    ) -> (Vec<(OpeningKey, JournalRecord)>, bool) {
        let is_new = |(_, known): &(&OpeningKey, &IndexedRecord)| known.engine != engine;
        let new = self.open.iter().filter(is_new).map(|(key, _)| *key);
        let (busy, new): (Vec<_>, Vec<_>) = new.partition(is_busy);
        let mut handed = Vec::new();
        for old in new {
            let Some(known) = self.open.remove(&old) else { continue };
            if let (true, Some(journal)) = (known.unbegun.is_some(), journal) {
                journal.erase(known.row, known.unbegun);
                continue;
            }
            let key = key_of(known.row, &known.record);
            handed.push((key, known.record.clone()));
            // The engine that could have said that it is not has ended.
            self.open.insert(key, IndexedRecord { engine, is_ordered: true, ..known });
        }
        // As they are closed: the first first.
        handed.sort_by_key(|(_, record)| record.remaining());
        (handed, busy.is_empty())
    }

    /// What is to be closed by now.
    pub(super) fn due(&self) -> Vec<OpeningKey> {
        let due = self.open.iter().filter(|(_, known)| known.record.remaining().is_zero());
        due.map(|(key, _)| *key).collect()
    }

    /// Writes another record in the place of that of an opening; false if there is none.
    pub(super) fn replace(
        &mut self,
        key: &OpeningKey,
        record: &JournalRecord,
        engine: u64,
        journal: &Journal,
    ) -> bool {
        let Some(known) = self.open.get_mut(key) else { return false };
        let noted = known.record.noted;
        known.record.clone_from(record);
        known.record.noted = noted;
        known.engine = engine;
        journal.rewrite(known.row, &known.record);
        true
    }

    /// Updates until when an opening lasts and whose it is, if it is in the journal.
    pub(super) fn note(&mut self, key: &OpeningKey, lasts: Duration, note: OpeningNote, journal: &Journal) {
        if let Some(IndexedRecord { row, record, .. }) = self.open.get_mut(key)
            && (record.remaining().abs_diff(lasts) > NEAR || !record.note.is_like(&note, NEAR))
        {
            record.keep_for(lasts);
            record.note = note;
            journal.rewrite(*row, record);
        }
    }

    /// Erases the record of an opening that was closed or never opened, and those of given-up openings that the same command closes if it was
    /// run. The note that it is not open survives this process until the record is erased on the disk.
    pub(super) fn closed(&mut self, key: &OpeningKey, journal: &Journal, note: Option<Note>) {
        let Some(IndexedRecord { row, record, unbegun, .. }) = self.open.remove(key) else { return };
        if unbegun.is_some() {
            return journal.erase(row, unbegun);
        }
        journal.erase(row, note);
        self.abandoned.retain(|(row, other)| {
            let is_closed = other.closes_as(&record);
            if is_closed {
                journal.erase(*row, None);
            }
            !is_closed
        });
    }

    /// An opening was recorded and is not ordered. What was ordered stays: it must be closed, whatever an engine says.
    pub(super) fn strike_out(&mut self, key: &OpeningKey, journal: &Journal) {
        if self.open.get(key).is_some_and(|known| known.is_ordered) {
            return;
        }
        if let Some(IndexedRecord { row, unbegun, .. }) = self.open.remove(key) {
            journal.erase(row, unbegun);
        }
    }

    /// Nobody tries to close an opening any more; its record stays. One is enough for what the same command would close.
    pub(super) fn abandon(&mut self, key: &OpeningKey, journal: &Journal, observer: &dyn Observer) {
        let Some(IndexedRecord { row, record, .. }) = self.open.remove(key) else { return };
        if self.abandoned.iter().any(|(_, other)| other.closes_as(&record)) {
            return journal.erase(row, None);
        }
        if self.abandoned.len() >= MOST_ABANDONED
            && let Some((oldest, JournalRecord { door, client, .. })) = self.abandoned.pop_front()
        {
            observer.report(&Report::of_door(&door, What::JournalFull).with_client(client));
            journal.erase(oldest, None);
        }
        self.abandoned.push_back((row, record));
    }

    /// How many openings were given up and are still open.
    pub(super) fn abandoned(&self) -> usize {
        self.abandoned.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use postern_core::{Client, DoorId};

    use super::*;
    use crate::journal::Close;

    fn record(client: Client) -> JournalRecord {
        JournalRecord::new("lamp", client, Duration::from_secs(1), Close::Shell { line: b"off".to_vec() })
    }

    #[test]
    fn what_is_given_up_stays_once_until_it_is_closed_and_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
        let put = |client| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(journal.put(&record(client), None)).unwrap().0
        };
        let clients: Vec<Client> =
            (0..).take(MOST_ABANDONED + 1).map(|n: u32| Client::alone(IpAddr::V4(n.into()))).collect();
        let mut records = RecordIndex::default();
        let key = |occurrence, client| OpeningKey { door: DoorId(1), client, occurrence };
        for occurrence in 0..3 {
            records.insert(key(occurrence, clients[0]), put(clients[0]), record(clients[0]), 0, None);
            records.abandon(&key(occurrence, clients[0]), &journal, &());
        }
        assert_eq!(records.abandoned(), 1);
        // Closed by what closes a later opening of the same door and client.
        records.insert(key(7, clients[0]), put(clients[0]), record(clients[0]), 0, None);
        records.closed(&key(7, clients[0]), &journal, None);
        assert_eq!(records.abandoned(), 0);
        for client in &clients {
            records.insert(key(0, *client), put(*client), record(*client), 0, None);
            records.abandon(&key(0, *client), &journal, &());
        }
        assert_eq!(records.abandoned(), MOST_ABANDONED);
        journal.flush();
        drop(journal);
        let left = crate::journal::tests::open(dir.path(), "postern").1;
        let left: Vec<_> = left.iter().map(|(_, record)| record.client).collect();
        assert_eq!(left, clients[1..]);
    }
}

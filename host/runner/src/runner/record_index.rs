//! RecordIndex: which opening has which record in the journal.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use postern_core::{Observer, OpeningKey, Report, What};

use crate::journal::{Journal, JournalRecord};

/// A record whose time is off by no more than this is not rewritten: a rewrite costs a flush.
const NEAR: Duration = Duration::from_secs(1);
/// Records that are kept of openings that could not be closed; the oldest is dropped for a further one.
const MOST_ABANDONED: usize = 1024;

/// The records that are in the journal, with their numbers there.
#[derive(Debug, Default)]
pub(super) struct RecordIndex {
    open: HashMap<OpeningKey, (u64, JournalRecord)>,
    /// Of openings that could not be closed: for the operator, and for the next start.
    abandoned: VecDeque<(u64, JournalRecord)>,
}

impl RecordIndex {
    /// Notes that an opening is in the journal under this number.
    pub(super) fn insert(&mut self, key: OpeningKey, row: u64, record: JournalRecord) {
        self.open.insert(key, (row, record));
    }

    /// Writes another record in the place of that of an opening; false if there is none.
    pub(super) fn replace(&mut self, key: &OpeningKey, record: &JournalRecord, journal: &Journal) -> bool {
        let Some((row, known)) = self.open.get_mut(key) else { return false };
        known.clone_from(record);
        journal.rewrite(*row, record);
        true
    }

    /// Updates until when an opening lasts, if it is in the journal.
    pub(super) fn note(&mut self, key: &OpeningKey, lasts: Duration, journal: &Journal) {
        if let Some((row, record)) = self.open.get_mut(key)
            && record.remaining().abs_diff(lasts) > NEAR
        {
            record.keep_for(lasts);
            journal.rewrite(*row, record);
        }
    }

    /// Erases the record of an opening that was closed, and those of given-up openings that the same command closes.
    pub(super) fn closed(&mut self, key: &OpeningKey, journal: &Journal) {
        let Some((row, record)) = self.open.remove(key) else { return };
        journal.erase(row);
        self.abandoned.retain(|(row, other)| {
            let is_closed = other.closes_as(&record);
            if is_closed {
                journal.erase(*row);
            }
            !is_closed
        });
    }

    /// An opening was recorded and is not ordered.
    pub(super) fn strike_out(&mut self, key: &OpeningKey, journal: &Journal) {
        if let Some((row, _)) = self.open.remove(key) {
            journal.erase(row);
        }
    }

    /// Nobody tries to close an opening any more; its record stays. One is enough for what the same command would close.
    pub(super) fn abandon(&mut self, key: &OpeningKey, journal: &Journal, observer: &dyn Observer) {
        let Some((row, record)) = self.open.remove(key) else { return };
        if self.abandoned.iter().any(|(_, other)| other.closes_as(&record)) {
            return journal.erase(row);
        }
        if self.abandoned.len() >= MOST_ABANDONED
            && let Some((oldest, JournalRecord { door, client, .. })) = self.abandoned.pop_front()
        {
            observer.report(&Report::of_door(&door, What::JournalFull).with_client(client));
            journal.erase(oldest);
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
            runtime.block_on(journal.put(&record(client))).unwrap()
        };
        let clients: Vec<Client> =
            (0..).take(MOST_ABANDONED + 1).map(|n: u32| Client::alone(IpAddr::V4(n.into()))).collect();
        let mut records = RecordIndex::default();
        let key = |occurrence, client| OpeningKey { door: DoorId(1), client, occurrence };
        for occurrence in 0..3 {
            records.insert(key(occurrence, clients[0]), put(clients[0]), record(clients[0]));
            records.abandon(&key(occurrence, clients[0]), &journal, &());
        }
        assert_eq!(records.abandoned(), 1);
        // Closed by what closes a later opening of the same door and client.
        records.insert(key(7, clients[0]), put(clients[0]), record(clients[0]));
        records.closed(&key(7, clients[0]), &journal);
        assert_eq!(records.abandoned(), 0);
        for client in &clients {
            records.insert(key(0, *client), put(*client), record(*client));
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

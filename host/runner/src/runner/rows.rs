//! Rows: which opening has which record in the journal.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use postern_core::{Key, Observer, Report, What};

use crate::journal::{Journal, Record};

/// A record this near the truth is not written again: most commands take no time, and the disk does.
const NEAR: Duration = Duration::from_secs(1);
/// Records that are kept of what did not close; the oldest goes when one more comes.
const MOST_ABANDONED: usize = 1024;

/// The records that are in the journal, with their numbers there.
#[derive(Debug, Default)]
pub(super) struct Rows {
    open: HashMap<Key, (u64, Record)>,
    /// Of openings that were given up: for the operator, and for the next start.
    abandoned: VecDeque<(u64, Record)>,
}

impl Rows {
    /// Knows that an opening is in the journal under this number.
    pub(super) fn insert(&mut self, key: Key, row: u64, record: Record) {
        self.open.insert(key, (row, record));
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.open.contains_key(key)
    }

    /// Writes another record in the place of that of an opening; false if there is none.
    pub(super) fn replace(&mut self, key: &Key, record: &Record, journal: &Journal) -> bool {
        let Some((row, known)) = self.open.get_mut(key) else { return false };
        known.clone_from(record);
        journal.rewrite(*row, record);
        true
    }

    /// Corrects until when an opening lasts, if it is in the journal.
    pub(super) fn note(&mut self, key: &Key, lasts: Duration, journal: &Journal) {
        if let Some((row, record)) = self.open.get_mut(key)
            && record.remaining().abs_diff(lasts) > NEAR
        {
            record.keep_for(lasts);
            journal.rewrite(*row, record);
        }
    }

    /// An opening was closed, and with it whatever the same command was to close.
    pub(super) fn closed(&mut self, key: &Key, journal: &Journal) {
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

    /// Nobody tries to close an opening any more; its record stays. One is enough for what the same command would close.
    pub(super) fn abandon(&mut self, key: &Key, journal: &Journal, observer: &dyn Observer) {
        let Some((row, record)) = self.open.remove(key) else { return };
        if self.abandoned.iter().any(|(_, other)| other.closes_as(&record)) {
            return journal.erase(row);
        }
        if self.abandoned.len() >= MOST_ABANDONED
            && let Some((oldest, Record { door, client, .. })) = self.abandoned.pop_front()
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

    fn record(client: Client) -> Record {
        Record::new("lamp", client, Duration::from_secs(1), Close::Shell { line: b"off".to_vec() })
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
        let mut rows = Rows::default();
        let key = |turn, client| Key { door: DoorId(1), client, turn };
        for turn in 0..3 {
            rows.insert(key(turn, clients[0]), put(clients[0]), record(clients[0]));
            rows.abandon(&key(turn, clients[0]), &journal, &());
        }
        assert_eq!(rows.abandoned(), 1);
        // Closed by what closes a later opening of the same door and client.
        rows.insert(key(7, clients[0]), put(clients[0]), record(clients[0]));
        rows.closed(&key(7, clients[0]), &journal);
        assert_eq!(rows.abandoned(), 0);
        for client in &clients {
            rows.insert(key(0, *client), put(*client), record(*client));
            rows.abandon(&key(0, *client), &journal, &());
        }
        assert_eq!(rows.abandoned(), MOST_ABANDONED);
        journal.flush();
        drop(journal);
        let left = crate::journal::tests::open(dir.path(), "postern").1;
        let left: Vec<_> = left.iter().map(|(_, record)| record.client).collect();
        assert_eq!(left, clients[1..]);
    }
}

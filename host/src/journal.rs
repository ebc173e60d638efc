//! Journal: what must be closed by a command, on the disk before it is opened.
//!
//! If the daemon is killed, or the machine loses power, the next start finds here what is still open and closes it on time. Doors in
//! the packet filter need none of this: the kernel keeps their time.

mod client_text;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use postern_core::Client;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::clock;

/// By number, in the order in which they were written; a record as JSON.
const OPENINGS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("openings");
/// The whole file is a few pages.
const CACHE: usize = 1 << 20;

/// Something that a command has opened, or is about to, and how to close it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The door's name.
    pub(crate) door: String,
    /// For whom.
    #[serde(with = "client_text")]
    pub(crate) client: Client,
    /// For how long, in milliseconds.
    lasts: u64,
    /// Until when, in milliseconds since 1970 by the machine's clock.
    until: u64,
    /// What closes it.
    pub(crate) close: Close,
}

/// What closes an opening, with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Close {
    /// A program and its arguments, the values in its environment, and its time limit in milliseconds.
    Argv { argv: Vec<String>, values: Vec<String>, limit: u64 },
    /// A line for `/bin/sh`, as bytes.
    Shell { line: Vec<u8> },
}

impl Record {
    pub(crate) fn new(door: &str, client: Client, lasts: Duration, close: Close) -> Self {
        let mut record = Self { door: door.to_owned(), client, lasts: 0, until: 0, close };
        record.keep_for(lasts);
        record
    }

    /// Has it stay open for so long from now.
    pub(crate) fn keep_for(&mut self, lasts: Duration) {
        self.lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        self.until = clock::wall().saturating_add(self.lasts);
    }

    /// How long it stays open from now. A clock that was set back gives no more than there was.
    pub(crate) fn remaining(&self) -> Duration {
        Duration::from_millis(self.until.saturating_sub(clock::wall()).min(self.lasts))
    }
}

/// Why there is no journal.
#[derive(Debug, Error)]
pub(crate) enum JournalError {
    #[error("the folder {} cannot be made", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    #[error("the journal {} cannot be opened", .0.display())]
    Open(PathBuf, #[source] redb::DatabaseError),
    #[error("the journal {} cannot be read", .0.display())]
    Read(PathBuf, #[source] redb::Error),
    #[error("the journal's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// A way to the thread that writes. What comes while it writes is written together, so that many openings cost what one does.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    messages: Sender<Message>,
    next: Arc<AtomicU64>,
}

enum Message {
    Put(u64, Vec<u8>, oneshot::Sender<Result<(), String>>),
    Rewrite(u64, Vec<u8>),
    Erase(u64),
}

impl Journal {
    /// Opens the journal at `path`, or makes it; what an earlier run left open is in it. A damaged file is moved aside.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<(u64, Record)>), JournalError> {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        // Ours alone, whatever the umask: what is in it is run with our rights.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| JournalError::Folder(folder.to_owned(), error))?;
        let mut database = match create(path) {
            // Nobody can read it, so nobody knows what is open; it is kept for whoever looks into it.
            Err(redb::DatabaseError::Storage(error)) if is_damage(&error) => {
                let aside = path.with_extension("damaged");
                tracing::error!(event = "journal", detail = %error, "the journal is damaged: {error}; it is kept as {}; close by hand what commands have opened", aside.display());
                let _ = fs::rename(path, &aside);
                create(path)
            }
            created => created,
        }
        .map_err(|error| JournalError::Open(path.to_owned(), error))?;
        let read = |error| JournalError::Read(path.to_owned(), error);
        database.check_integrity().map_err(|error| JournalError::Open(path.to_owned(), error))?;
        let records = records(&database).map_err(read)?;
        let next = records.last().map_or(1, |(id, _)| id + 1);
        let (messages, queue) = unbounded();
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write(&database, &queue))
            .map_err(JournalError::Thread)?;
        Ok((Self { messages, next: Arc::new(AtomicU64::new(next)) }, records))
    }

    /// Writes a record down, and comes back when it is on the disk, with its number.
    pub(crate) async fn put(&self, record: &Record) -> Result<u64, String> {
        let bytes = serde_json::to_vec(record).map_err(|error| error.to_string())?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (done, written) = oneshot::channel();
        let ended = || "the journal's thread has ended".to_owned();
        self.messages.send(Message::Put(id, bytes, done)).map_err(|_| ended())?;
        written.await.map_err(|_| ended())??;
        Ok(id)
    }

    /// Writes something else under a number that [`Journal::put`] gave. If that is lost in a crash, what was there stays.
    pub(crate) fn rewrite(&self, id: u64, record: &Record) {
        // It was JSON before, so it is again.
        if let Ok(bytes) = serde_json::to_vec(record) {
            let _ = self.messages.send(Message::Rewrite(id, bytes));
        }
    }

    /// Strikes a record out. If that is lost in a crash, something is closed twice.
    pub(crate) fn erase(&self, id: u64) {
        let _ = self.messages.send(Message::Erase(id));
    }
}

/// Whether it is the file that is wrong, and not the disk or our permission.
fn is_damage(error: &redb::StorageError) -> bool {
    match error {
        redb::StorageError::Corrupted(_) => true,
        redb::StorageError::Io(error) => {
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

fn create(path: &Path) -> Result<Database, redb::DatabaseError> {
    Database::builder().set_cache_size(CACHE).create(path)
}

fn records(database: &Database) -> Result<Vec<(u64, Record)>, redb::Error> {
    // So that there is a table to read.
    let transaction = database.begin_write()?;
    transaction.open_table(OPENINGS)?;
    transaction.commit()?;
    let mut records = Vec::new();
    for row in database.begin_read()?.open_table(OPENINGS)?.iter()? {
        let (id, bytes) = row?;
        match serde_json::from_slice(bytes.value()) {
            Ok(record) => records.push((id.value(), record)),
            Err(error) => {
                tracing::error!(event = "journal", detail = %error, "a record of the journal makes no sense: {error}; close by hand what it was for");
            }
        }
    }
    Ok(records)
}

/// Writes until nobody is left who could give it something.
fn write(database: &Database, queue: &Receiver<Message>) {
    while let Ok(first) = queue.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(queue.try_iter()).collect();
        let written = commit(database, &batch).map_err(|error| error.to_string());
        if let Err(error) = &written {
            tracing::error!(event = "journal", detail = error, "the journal cannot be written: {error}");
        }
        for message in batch {
            if let Message::Put(_, _, done) = message {
                let _ = done.send(written.clone());
            }
        }
    }
}

fn commit(database: &Database, batch: &[Message]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(OPENINGS)?;
        for message in batch {
            match message {
                Message::Put(id, bytes, _) | Message::Rewrite(id, bytes) => {
                    drop(table.insert(id, bytes.as_slice())?);
                }
                Message::Erase(id) => drop(table.remove(id)?),
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn record(door: &str) -> Record {
        let close = Close::Shell { line: b"echo \xff".to_vec() };
        Record::new(door, Client::alone([192, 0, 2, 1].into()), Duration::from_secs(60), close)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// Opens a journal whose last writer may still be letting go of it.
    fn open(path: &Path) -> (Journal, Vec<(u64, Record)>) {
        for _ in 0..500 {
            match Journal::open(path) {
                Ok(opened) => return opened,
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
        panic!("{} stays locked", path.display());
    }

    #[test]
    fn what_was_put_and_not_erased_is_there_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/journal.redb");
        let (journal, records) = Journal::open(&path).unwrap();
        assert_eq!(records, []);
        let mode = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "nobody else can write what we run");
        let (a, b) = block_on(async {
            (journal.put(&record("a")).await.unwrap(), journal.put(&record("z")).await.unwrap())
        });
        journal.erase(a);
        journal.rewrite(b, &record("b"));
        drop(journal);
        let (journal, records) = open(&path);
        assert_eq!(records.iter().map(|(id, r)| (*id, r.door.as_str())).collect::<Vec<_>>(), [(b, "b")]);
        assert_eq!(records[0].1.close, record("b").close);
        assert!(block_on(journal.put(&record("c"))).unwrap() > b, "numbers are not used again");
    }

    #[test]
    fn a_client_stands_in_a_record_as_people_write_it() {
        for (text, client) in [
            // What every version wrote.
            ("192.0.2.1", Client::alone([192, 0, 2, 1].into())),
            ("fe80::1", Client::alone("fe80::1".parse().unwrap())),
            ("fe80::1%3", Client::on_link("fe80::1".parse().unwrap(), 3)),
            ("2001:db8::/64", Client::prefix("2001:db8::/64".parse().unwrap())),
        ] {
            let written = Record { client, ..record("a") };
            let json = serde_json::to_string(&written).unwrap();
            assert!(json.contains(&format!(r#""client":"{text}""#)), "{json}");
            assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), written);
        }
    }

    #[test]
    fn a_clock_that_was_set_back_gives_no_more_time_and_one_set_forward_gives_none() {
        let fresh = record("a");
        assert!(fresh.remaining() <= Duration::from_secs(60) && fresh.remaining() > Duration::from_secs(50));
        let set_back = Record { until: fresh.until + 86_400_000, ..fresh.clone() };
        assert_eq!(set_back.remaining(), Duration::from_secs(60));
        let set_forward = Record { until: fresh.until - 86_400_000, ..fresh };
        assert_eq!(set_forward.remaining(), Duration::ZERO);
    }

    #[test]
    fn a_damaged_journal_is_kept_aside_and_a_new_one_begun() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.redb");
        fs::write(&path, vec![0x5a; 8192]).unwrap();
        let (_, records) = Journal::open(&path).unwrap();
        assert_eq!(records, []);
        assert_eq!(fs::read(dir.path().join("journal.damaged")).unwrap(), vec![0x5a; 8192]);
    }
}

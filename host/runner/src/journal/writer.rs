//! Writer: the thread that writes the journal, and what it does while the disk fails.
//!
//! After an error the database accepts nothing until it is opened again. The writer retries with the next record, and every second as long as
//! changes are pending. Pending changes of existing records are kept in memory (the backlog), so that none is lost.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use postern_core::{Observer, Report, What};
use redb::Database;

use super::journal_file::{JournalFile, OPENINGS, OpenDatabase};
use super::queue::{Batch, Change, JournalQueue, NewRecord};
use crate::notes::Note;

/// The pause between attempts while changes are pending.
const RETRY: Duration = Duration::from_secs(1);
/// Notes that are kept of records that were not written. Whatever else of them is on the disk is closed if the runner is killed before the disk is
/// written again.
const MOST_FAILED: usize = 1024;
/// The shortest time between two attempts, however many records come.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);

/// A record to be written, and its number.
type Put = (u64, NewRecord);

pub(super) struct Writer {
    path: PathBuf,
    observer: Arc<dyn Observer>,
    /// None after an error, until it is opened again.
    database: Option<Database>,
    open: OpenDatabase,
    next: u64,
    /// Pending changes by number. Only of records that exist or were taken over, which bounds it.
    backlog: BTreeMap<u64, Change>,
    /// The first and the last number of the records that were reported as not written. Some may be on the disk nevertheless, so they are
    /// removed with the next commit.
    failed: Option<(u64, u64)>,
    /// That they are not open.
    failed_notes: Vec<Note>,
    /// Files of dead daemons, to be removed once the backlog, with their records, is written.
    superfluous: Vec<JournalFile>,
    trouble: Option<Trouble>,
}

/// Why the journal cannot be written, and when that was tried last.
struct Trouble {
    words: String,
    tried: Instant,
}

impl Writer {
    /// `next` is the first free number. If there is no database, it is opened as after an error.
    pub(super) fn new(
        path: PathBuf,
        database: Option<Database>,
        next: u64,
        open: OpenDatabase,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            path,
            observer,
            database,
            open,
            next,
            backlog: BTreeMap::new(),
            failed: None,
            failed_notes: Vec::new(),
            superfluous: Vec::new(),
            trouble: None,
        }
    }

    /// Takes over a record of another journal; it is written with the next commit.
    pub(super) fn adopt(&mut self, bytes: Vec<u8>) -> u64 {
        let id = self.number();
        self.backlog.insert(id, Change { bytes: Some(bytes), _note: None });
        id
    }

    /// Has another file removed once the records taken over from it are on the disk.
    pub(super) fn replaces(&mut self, file: JournalFile) {
        self.superfluous.push(file);
    }

    /// Writes pending changes.
    pub(super) fn settle(&mut self) {
        if !self.is_settled() {
            self.write(Batch::default());
        }
    }

    /// Starts the thread, which ends when nothing more comes.
    pub(super) fn start(mut self) -> io::Result<Arc<JournalQueue>> {
        let queue = Arc::new(JournalQueue::default());
        let asked = Arc::clone(&queue);
        thread::Builder::new().name("journal".to_owned()).spawn(move || self.run(&asked))?;
        Ok(queue)
    }

    fn run(&mut self, queue: &JournalQueue) {
        while let Some(batch) = queue.next((!self.is_settled()).then_some(RETRY)) {
            self.write(batch);
        }
        self.settle();
    }

    fn is_settled(&self) -> bool {
        self.database.is_some()
            && self.trouble.is_none()
            && self.backlog.is_empty()
            && self.superfluous.is_empty()
    }

    fn write(&mut self, batch: Batch) {
        let puts: Vec<Put> = batch.new.into_iter().map(|new| (self.number(), new)).collect();
        self.backlog.extend(batch.changes);
        let written = self.try_commit(&puts);
        match &written {
            Ok(()) => self.succeeded(),
            Err(_) => {
                if let (Some((first, _)), Some((last, _))) = (puts.first(), puts.last()) {
                    self.failed = Some((self.failed.map_or(*first, |(first, _)| first), *last));
                }
            }
        }
        for (id, NewRecord { done, note, .. }) in puts {
            let _ = match &written {
                Ok(()) => done.send(Ok((id, note))),
                Err(error) => {
                    self.failed_notes.extend(note);
                    done.send(Err(error.clone()))
                }
            };
        }
        self.failed_notes.truncate(MOST_FAILED);
        for done in batch.flushes {
            let _ = done.send(());
        }
    }

    fn succeeded(&mut self) {
        self.backlog.clear();
        self.failed = None;
        self.failed_notes.clear();
        mem::take(&mut self.superfluous).into_iter().for_each(JournalFile::remove);
        if self.trouble.take().is_some() {
            self.observer.report(&Report::new(What::JournalWritable { path: self.path.as_path().into() }));
        }
    }

    fn try_commit(&mut self, puts: &[Put]) -> Result<(), String> {
        if let Some(trouble) = &self.trouble
            && trouble.tried.elapsed() < SHORTEST_RETRY
        {
            return Err(trouble.words.clone());
        }
        let committed = match self.database.take() {
            Some(database) => self.commit(&database, puts).map(|()| database),
            None => (self.open)()
                .map_err(redb::Error::from)
                .and_then(|database| self.commit(&database, puts).map(|()| database)),
        };
        match committed {
            Ok(database) => {
                self.database = Some(database);
                Ok(())
            }
            // The database was taken out above and is closed: it must be opened again after a failure.
            Err(error) => Err(self.note_trouble(&error)),
        }
    }

    fn note_trouble(&mut self, error: &dyn Display) -> String {
        let words = format!("the journal {} cannot be written: {error}", self.path.display());
        if self.trouble.is_none() {
            let (path, error) = (self.path.as_path().into(), error.to_string().into());
            self.observer.report(&Report::new(What::JournalUnwritable { path, error }));
        }
        self.trouble = Some(Trouble { words: words.clone(), tried: Instant::now() });
        words
    }

    /// Writes everything in one transaction. Records of failed writes are removed first; their numbers are never used again.
    fn commit(&self, database: &Database, puts: &[Put]) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(OPENINGS)?;
            if let Some((first, last)) = self.failed {
                table.retain_in(first..=last, |_, _| false)?;
            }
            for (id, change) in &self.backlog {
                match &change.bytes {
                    Some(bytes) => drop(table.insert(id, bytes.as_slice())?),
                    None => drop(table.remove(id)?),
                }
            }
            for (id, new) in puts {
                table.insert(id, new.bytes.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }
}

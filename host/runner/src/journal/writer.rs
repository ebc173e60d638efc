//! Writer: the thread that writes the journal, and what it does while it cannot.
//!
//! After an error of the disk the database takes nothing until it is opened again. That is tried with the next record, and every second
//! as long as something waits to be written. What cannot be written is kept here, so that nothing of what the journal holds is lost.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use postern_core::{Observer, Report, What};
use redb::Database;
use tokio::sync::oneshot;

use super::journal_file::{JournalFile, OPENINGS, OpenDatabase};

/// How often writing is tried while something waits to be written.
const RETRY: Duration = Duration::from_secs(1);
/// However many records come while it cannot be written, it is tried no more often.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum JournalRequest {
    /// Write a record; its number, or why it is not on the disk.
    Put(Vec<u8>, oneshot::Sender<Result<u64, String>>),
    Rewrite(u64, Vec<u8>),
    Erase(u64),
    /// Answer when what came before was tried.
    Flush(Sender<()>),
}

/// A record that is to be written, with its number, and who waits for that.
type Put = (u64, Vec<u8>, oneshot::Sender<Result<u64, String>>);

pub(super) struct Writer {
    path: PathBuf,
    observer: Arc<dyn Observer>,
    /// None after an error, until it is opened again.
    database: Option<Database>,
    open: OpenDatabase,
    next: u64,
    /// What to write under which number, or none to strike it out; of rows that are there or taken over only, which bounds it.
    backlog: BTreeMap<u64, Option<Vec<u8>>>,
    /// The first and the last of the records that were said not to be on the disk, all of a row: a part may be there nevertheless.
    failed: Option<(u64, u64)>,
    /// Files that are superfluous once the backlog is written.
    superfluous: Vec<JournalFile>,
    trouble: Option<Trouble>,
}

/// Why it cannot be written, and when it was tried last.
struct Trouble {
    words: String,
    tried: Instant,
}

impl Writer {
    /// `next` is the first number that is free. Without a database it is opened as after an error.
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
            superfluous: Vec::new(),
            trouble: None,
        }
    }

    /// Takes a record over; it is written with what comes next.
    pub(super) fn adopt(&mut self, bytes: Vec<u8>) -> u64 {
        let id = self.number();
        self.backlog.insert(id, Some(bytes));
        id
    }

    /// Removes another file once all that was taken over is on the disk.
    pub(super) fn replaces(&mut self, file: JournalFile) {
        self.superfluous.push(file);
    }

    /// Writes what waits to be written.
    pub(super) fn settle(&mut self) {
        if !self.is_settled() {
            self.write(Vec::new());
        }
    }

    /// Has a thread write until nobody is left who could give it something.
    pub(super) fn start(mut self) -> io::Result<Sender<JournalRequest>> {
        let (messages, queue) = unbounded();
        thread::Builder::new().name("journal".to_owned()).spawn(move || self.run(&queue))?;
        Ok(messages)
    }

    fn run(&mut self, queue: &Receiver<JournalRequest>) {
        loop {
            let first = if self.is_settled() {
                queue.recv().map(Some).map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                match queue.recv_timeout(RETRY) {
                    Err(RecvTimeoutError::Timeout) => Ok(None),
                    received => received.map(Some),
                }
            };
            let Ok(first) = first else { return self.settle() };
            self.write(first.into_iter().chain(queue.try_iter()).collect());
        }
    }

    fn is_settled(&self) -> bool {
        self.database.is_some()
            && self.trouble.is_none()
            && self.backlog.is_empty()
            && self.superfluous.is_empty()
    }

    fn write(&mut self, batch: Vec<JournalRequest>) {
        let (mut puts, mut waiting) = (Vec::new(), Vec::new());
        for message in batch {
            match message {
                JournalRequest::Put(bytes, done) => puts.push((self.number(), bytes, done)),
                JournalRequest::Rewrite(id, bytes) => drop(self.backlog.insert(id, Some(bytes))),
                JournalRequest::Erase(id) => drop(self.backlog.insert(id, None)),
                JournalRequest::Flush(done) => waiting.push(done),
            }
        }
        let written = self.try_commit(&puts);
        match &written {
            Ok(()) => self.succeeded(),
            Err(_) => {
                if let (Some((first, ..)), Some((last, ..))) = (puts.first(), puts.last()) {
                    self.failed = Some((self.failed.map_or(*first, |(first, _)| first), *last));
                }
            }
        }
        for (id, _, done) in puts {
            let _ = done.send(written.clone().map(|()| id));
        }
        for done in waiting {
            let _ = done.send(());
        }
    }

    fn succeeded(&mut self) {
        self.backlog.clear();
        self.failed = None;
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
            // The database is closed with what it holds of the failure.
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

    /// In this order: a number that was given to a record that failed is given to none that counts.
    fn commit(&self, database: &Database, puts: &[Put]) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(OPENINGS)?;
            if let Some((first, last)) = self.failed {
                table.retain_in(first..=last, |_, _| false)?;
            }
            for (id, bytes) in &self.backlog {
                match bytes {
                    Some(bytes) => drop(table.insert(id, bytes.as_slice())?),
                    None => drop(table.remove(id)?),
                }
            }
            for (id, bytes, _) in puts {
                table.insert(id, bytes.as_slice())?;
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

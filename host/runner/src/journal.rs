//! Journal: how to close what commands open, on the disk before it is opened.
//!
//! If the daemon is killed, or the machine loses power, the next start finds here what is still open and closes it on time. Doors in the
//! packet filter need no journal: the kernel removes their elements. Each running daemon has a file of its own, see `journal/folder.rs`, and never
//! writes into another's.

mod client_text;
mod folder;
mod journal_file;
mod note_bytes;
mod queue;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::bounded;
use postern_core::{Client, Observer, OpeningNote, Report, What};
use postern_state::{StateError, is_damage};
use postern_text::chain;
use redb::DatabaseError;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;

use self::folder::JournalFolder;
use self::queue::{Change, JournalQueue, NewRecord};
use self::writer::Writer;
use crate::notes::Note;

pub use self::folder::is_any;

/// How long a stopping daemon waits until its last changes are on the disk.
const FLUSH: Duration = Duration::from_secs(2);

/// Something that a command has opened, or is about to, and how to close it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRecord {
    /// The door's name.
    pub door: String,
    /// For whom.
    #[serde(with = "client_text")]
    pub client: Client,
    /// For how long, in milliseconds.
    lasts: u64,
    /// Until when, in milliseconds since 1970 by the machine's clock.
    until: u64,
    /// What closes it.
    pub(crate) close: Close,
    /// Which opening it is to the engine that ordered it; none if this process holds that engine itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<OrderedBy>,
    /// Its number in the runner's [`crate::Notes`]; none if it has none there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) noted: Option<u64>,
    /// Whose the opening is, for the next engine; empty in a record of an earlier version.
    #[serde(default, skip_serializing_if = "OpeningNote::is_empty", with = "note_bytes")]
    pub note: OpeningNote,
}

/// Which engine ordered an opening, and as what, so that the next runner knows what that engine means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrderedBy {
    /// The engine's number, which no other ever has.
    pub(crate) engine: u64,
    /// As in [`postern_core::OpeningKey`].
    pub(crate) door: u32,
    /// As in [`postern_core::OpeningKey`].
    pub(crate) occurrence: u64,
}

/// What closes an opening, with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Close {
    /// A program and its arguments, the values in its environment, its time limit in milliseconds, and the account that it runs as.
    Argv {
        argv: Vec<String>,
        values: Vec<String>,
        limit: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
    },
    /// A line for `/bin/sh`, as bytes.
    Shell { line: Vec<u8> },
}

impl JournalRecord {
    pub(crate) fn new(door: &str, client: Client, lasts: Duration, close: Close) -> Self {
        let mut record = Self {
            door: door.to_owned(),
            client,
            lasts: 0,
            until: 0,
            close,
            of: None,
            noted: None,
            note: OpeningNote::default(),
        };
        record.keep_for(lasts);
        record
    }

    /// Sets its time to so long from now.
    pub(crate) fn keep_for(&mut self, lasts: Duration) {
        self.lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        self.until = wall().saturating_add(self.lasts);
    }

    /// How long it stays open from now; at most as long as it was opened for, even if the clock was set back.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.until.saturating_sub(wall()).min(self.lasts))
    }

    /// Whether closing the one closes the other.
    pub(crate) fn closes_as(&self, other: &Self) -> bool {
        self.door == other.door && self.client == other.client && self.close == other.close
    }
}

/// Why there is no journal.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The state folder cannot be used.
    #[error(transparent)]
    Folder(#[from] StateError),
    /// Every journal that there may be in the folder is held by a running daemon.
    #[error(
        "the {} journals in {} are all held by other daemons that run; stop one, or give this one a folder of its own, by STATE_DIRECTORY",
        folder::MAX_JOURNALS,
        .0.display()
    )]
    AllHeld(PathBuf),
    /// The file cannot be opened.
    #[error("the journal {} cannot be opened", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The database in it cannot be opened.
    #[error("the journal {} cannot be opened", .0.display())]
    Open(PathBuf, #[source] DatabaseError),
    /// The database cannot be read.
    #[error("the journal {} cannot be read", .0.display())]
    Read(PathBuf, #[source] redb::Error),
    /// The system has no thread for it.
    #[error("the journal's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// A handle of the thread that writes. Requests that come while it writes are written together, so many openings cost one flush.
#[derive(Clone, Debug)]
pub struct Journal {
    handle: Arc<Handle>,
    number: u32,
}

/// Has the thread end when it is dropped.
#[derive(Debug)]
struct Handle(Arc<JournalQueue>);

impl Journal {
    /// Takes the first journal called after `stem` in `folder` that no living daemon holds, or makes one, and takes over what dead
    /// daemons left in others. What is still open comes back with its numbers. A damaged file is moved aside. That, and every
    /// failure of the disk, is reported to `observer`.
    ///
    /// On a disk that is full it may begin without being able to write: see `put`.
    ///
    /// # Errors
    /// If the folder or the file is not fit, or 16 living daemons hold the journals that there may be.
    pub fn open(
        folder: &Path,
        stem: &str,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, Vec<(u64, JournalRecord)>), JournalError> {
        Self::open_after(None, folder, stem, observer)
    }

    /// As [`Journal::open`], for a process that goes on for one that has ended: it takes the journal that this had, by its
    /// [`Journal::number`], and waits for it for a moment if it must.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_after(
        left: Option<u32>,
        folder: &Path,
        stem: &str,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, Vec<(u64, JournalRecord)>), JournalError> {
        let folder = JournalFolder::enter(folder)?;
        let (mut number, mut own) = folder.claim(stem, left, &*observer)?;
        let (database, rows) = match own.read() {
            Ok(read) => read,
            Err(JournalError::Open(path, error)) if is_damage(&error) => {
                // It cannot be read, so what it held open is not known. The file is kept for the operator.
                folder::set_aside(&path, &error, &*observer)
                    .map_err(|error| JournalError::File(path, error))?;
                drop(own);
                (number, own) = folder.claim(stem, left, &*observer)?;
                own.read()?
            }
            Err(error) => return Err(error),
        };
        let next = rows.last().map_or(1, |(id, _)| id + 1);
        let mut writer =
            Writer::new(own.path().to_owned(), database, next, own.opener(), Arc::clone(&observer));
        let mut all: Vec<(u64, Vec<u8>)> = rows;
        for orphan in folder.orphans(&own, &*observer) {
            let rows = match orphan.read() {
                // It is closed again before its rows are written elsewhere and the file goes.
                Ok((_, rows)) => rows,
                Err(error) => {
                    let is_damaged = matches!(&error, JournalError::Open(_, error) if is_damage(error));
                    let detail = chain(&error).to_string();
                    if !is_damaged || folder::set_aside(orphan.path(), &detail, &*observer).is_err() {
                        observer.report(&Report::new(What::JournalUnread { detail: detail.into() }));
                    }
                    continue;
                }
            };
            for (_, bytes) in rows {
                // It may have been written before a crash kept the file from going.
                if !all.iter().any(|(_, known)| *known == bytes) {
                    all.push((writer.adopt(bytes.clone()), bytes));
                }
            }
            writer.replaces(orphan);
        }
        let records = all.iter().filter_map(|(id, bytes)| Some((*id, parse(bytes, &*observer)?))).collect();
        writer.settle();
        Ok((Self::write_by(writer, number).map_err(JournalError::Thread)?, records))
    }

    fn write_by(writer: Writer, number: u32) -> io::Result<Self> {
        Ok(Self { handle: Arc::new(Handle(writer.start()?)), number })
    }

    /// Which of the journals that there may be in the folder it is, from 1 on.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Writes a record, and returns its number when it is on the disk. A note that it is not open is kept until then and comes back; if it is not on
    /// the disk, until it is sure that it never will be.
    ///
    /// # Errors
    /// In words, if it is not on the disk, or too many wait for that; it never will be then. A later call may succeed: a disk that was
    /// full may not be any more.
    pub(crate) async fn put(
        &self,
        record: &JournalRecord,
        note: Option<Note>,
    ) -> Result<(u64, Option<Note>), String> {
        let bytes = serde_json::to_vec(record).map_err(|error| error.to_string())?;
        let (done, written) = oneshot::channel();
        self.queue().put(NewRecord { bytes, done, note })?;
        written.await.map_err(|_| "the journal's thread has ended".to_owned())?
    }

    /// Replaces the record of this number, which [`Journal::put`] gave. If that is lost in a crash, the old record stays.
    pub(crate) fn rewrite(&self, id: u64, record: &JournalRecord) {
        // It was JSON before, so it is again.
        if let Ok(bytes) = serde_json::to_vec(record) {
            self.queue().change(id, Change { bytes: Some(bytes), _note: None });
        }
    }

    /// Erases a record. A note that it is not open is kept until that is on the disk. If the erasure is lost in a crash, and there is none, the
    /// next start closes its door once more.
    pub(crate) fn erase(&self, id: u64, note: Option<Note>) {
        self.queue().change(id, Change { bytes: None, _note: note });
    }

    /// Waits, at most two seconds, until all earlier requests were tried.
    pub(crate) fn flush(&self) {
        let (done, tried) = bounded(1);
        self.queue().flush(done);
        let _ = tried.recv_timeout(FLUSH);
    }

    fn queue(&self) -> &JournalQueue {
        &self.handle.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The machine's clock, in milliseconds since 1970; it may be wrong, and may step. Records outlive the daemon, so no other clock will do.
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn parse(bytes: &[u8], observer: &dyn Observer) -> Option<JournalRecord> {
    let record = serde_json::from_slice(bytes);
    if let Err(error) = &record {
        let error = error.to_string().into();
        observer.report(&Report::new(What::JournalBadRecord { error }));
    }
    record.ok()
}

#[cfg(test)]
pub(crate) mod tests;

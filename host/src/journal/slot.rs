//! Slot: one journal file that this daemon holds, and the database in it.
//!
//! The lock on the file is ours and not the database's, so that the database can be closed and opened again without letting go of it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, StorageError, TableDefinition,
    TableError,
};

use super::JournalError;

/// By number, in the order in which they were written; a record as JSON.
pub(super) const OPENINGS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("openings");
/// The whole file is a few pages.
const CACHE: usize = 1 << 20;

/// What a journal holds, by number, as it is written.
pub(super) type Rows = Vec<(u64, Vec<u8>)>;

/// Opens the database of a slot.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// A journal file that this daemon has locked.
#[derive(Debug)]
pub(super) struct Slot {
    path: PathBuf,
    file: Arc<File>,
}

impl Slot {
    pub(super) fn new(path: PathBuf, file: File) -> Self {
        Self { path, file: Arc::new(file) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it, checked, and the database; none if the file is new and cannot be written yet.
    pub(super) fn read(&self) -> Result<(Option<Database>, Rows), JournalError> {
        let opening = |error| JournalError::Open(self.path.clone(), error);
        let length =
            self.file.metadata().map_err(|error| JournalError::File(self.path.clone(), error))?.len();
        let mut database = match open(&self.file) {
            Err(error) if length == 0 && !is_damage(&error) => return Ok((None, Vec::new())),
            opened => opened.map_err(opening)?,
        };
        match database.check_integrity() {
            Ok(_) => {}
            Err(error) if is_damage(&error) => return Err(opening(error)),
            // A disk that takes nothing can still be read.
            Err(_) => {
                drop(database);
                database = open(&self.file).map_err(opening)?;
            }
        }
        let rows = rows(&database).map_err(|error| JournalError::Read(self.path.clone(), error))?;
        Ok((Some(database), rows))
    }

    /// Opens the database again after it was closed; the file stays ours meanwhile.
    pub(super) fn opener(&self) -> Opener {
        let file = Arc::clone(&self.file);
        Box::new(move || open(&file))
    }

    /// Removes the file: what was in it is elsewhere now.
    pub(super) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether it is the file that is wrong, and not the disk or our permission.
pub(super) fn is_damage(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

fn open(file: &Arc<File>) -> Result<Database, DatabaseError> {
    let is_new = file.metadata()?.len() == 0;
    let opened =
        Database::builder().set_cache_size(CACHE).create_with_backend(Disk { file: Arc::clone(file) });
    if is_new && opened.is_err() {
        // Half of a beginning is nothing that could be opened later.
        let _ = file.set_len(0);
    }
    opened
}

pub(super) fn rows(database: &Database) -> Result<Rows, redb::Error> {
    let table = match database.begin_read()?.open_table(OPENINGS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (id, bytes) = row?;
        rows.push((id.value(), bytes.value().to_vec()));
    }
    Ok(rows)
}

/// The file as the database sees it: without locks, since whoever opens it has the one that counts.
#[derive(Debug)]
struct Disk {
    file: Arc<File>,
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}

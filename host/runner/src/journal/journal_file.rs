//! JournalFile: one journal file that this daemon has locked, and reading it.

use std::path::Path;

use postern_state::{StateFile, is_damage};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::JournalError;

/// Records as JSON, by number, in the order in which they were written.
pub(super) const OPENINGS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("openings");
/// The database's cache in bytes; the whole file is a few pages.
const CACHE: usize = 1 << 20;

/// The records of a journal as bytes, by number.
pub(super) type JournalRows = Vec<(u64, Vec<u8>)>;

/// Opens the database of a journal file.
pub(super) type OpenDatabase = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// A journal file that this daemon has locked.
#[derive(Debug)]
pub(super) struct JournalFile(StateFile);

impl JournalFile {
    pub(super) const fn new(file: StateFile) -> Self {
        Self(file)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// What is in it, checked, and the database; none if the file is new and cannot be written yet.
    pub(super) fn read(&self) -> Result<(Option<Database>, JournalRows), JournalError> {
        let opening = |error| JournalError::Open(self.path().to_owned(), error);
        let is_new = self.0.is_empty().map_err(|error| JournalError::File(self.path().to_owned(), error))?;
        let mut database = match self.0.open(CACHE) {
            Err(error) if is_new && !is_damage(&error) => return Ok((None, Vec::new())),
            opened => opened.map_err(opening)?,
        };
        match database.check_integrity() {
            Ok(_) => {}
            Err(error) if is_damage(&error) => return Err(opening(error)),
            // The check fails on a disk that cannot be written; its file can still be read.
            Err(_) => {
                drop(database);
                database = self.0.open(CACHE).map_err(opening)?;
            }
        }
        let rows = rows(&database).map_err(|error| JournalError::Read(self.path().to_owned(), error))?;
        Ok((Some(database), rows))
    }

    /// Opens the database again after it was closed; the file stays ours meanwhile.
    pub(super) fn opener(&self) -> OpenDatabase {
        let file = self.0.clone();
        Box::new(move || file.open(CACHE))
    }

    /// Removes the file: what was in it is elsewhere now.
    pub(super) fn remove(self) {
        self.0.remove();
    }
}

pub(super) fn rows(database: &Database) -> Result<JournalRows, redb::Error> {
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

//! A database in a file that was open before.

use std::fs::File;

use postern_confine::SystemCalls;
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::confine;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("tokens");

/// Opened, grown, committed, closed, opened again.
pub(crate) fn commit() -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(folder.path().join("ledger.redb"))
        .unwrap();
    // Under the root, which nobody can list any more; it goes with the namespace.
    let _ = folder.keep();
    confine(SystemCalls::Engine);
    let database = open(file.try_clone().unwrap());
    for number in 0..50 {
        let write = database.begin_write().unwrap();
        write.open_table(TABLE).unwrap().insert(number, &[7; 40_000][..]).unwrap();
        write.commit().unwrap();
    }
    drop(database);
    let database = open(file);
    let read = database.begin_read().unwrap();
    let table = read.open_table(TABLE).unwrap();
    let value = table.get(49).unwrap().unwrap();
    if value.value() == [7; 40_000] { "kept" } else { "lost" }.to_owned()
}

fn open(file: File) -> Database {
    Database::builder().create_with_backend(FileBackend::new(file).unwrap()).unwrap()
}

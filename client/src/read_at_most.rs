//! Reading files that a person names, however long they are.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The bytes of a file; none if there are more than so many, such as of one that has no end.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn read_at_most(path: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= most).then_some(bytes))
}

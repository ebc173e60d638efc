//! Files: reads the files of a configuration, bounded in bytes. It knows nothing of what is in them.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::mistake::Mistake;

/// More is taken for a mistake, or an attack on the reader.
const MAX_FILE: u64 = 1 << 20;

/// The rule files in a folder: `*.toml`, but not those whose name begins with a dot.
pub(super) fn rule_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok(files)
}

pub(super) fn read_file(file: &Path, mistakes: &mut Vec<Mistake>) -> Option<String> {
    let whole = |what: String| Mistake { file: file.to_owned(), line: None, key: String::new(), what };
    let bytes = match read_regular(file, MAX_FILE) {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(what)) => {
            mistakes.push(whole(what));
            return None;
        }
        Err(error) => {
            mistakes.push(whole(format!("cannot be read: {error}")));
            return None;
        }
    };
    let text = String::from_utf8(bytes).map_err(|_| mistakes.push(whole("is not UTF-8 text".to_owned())));
    text.ok()
}

/// The bytes of a file, or what is wrong with it: a pipe would be waited for, and a device may never end.
pub(crate) fn read_regular(file: &Path, most: u64) -> io::Result<Result<Vec<u8>, String>> {
    if !fs::metadata(file)?.is_file() {
        return Ok(Err("is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Ok(Err(format!("is longer than {most} bytes")));
    }
    Ok(Ok(bytes))
}

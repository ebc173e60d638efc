//! Files: reads the files of a configuration, bounded in bytes. It knows nothing of what is in them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use postern_text::{Mistake, size};

use crate::activity::Activity;
use crate::trust::{OpenError, Trust, TrustedFolder};

/// Most bytes of a file; a longer one is a mistake, or an attack on the reader.
pub(crate) const MAX_FILE: u64 = 1 << 20;

/// The names of the rule files in a folder: `*.toml`, but not those whose name begins with a dot.
pub(crate) fn rule_files(dir: &TrustedFolder) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = dir.names()?;
    names.retain(|name| is_rule_file(name));
    Ok(names)
}

/// Whether a file of this name is a rule file.
#[must_use]
pub fn is_rule_file(name: &OsStr) -> bool {
    let is_hidden = name.as_encoded_bytes().starts_with(b".");
    !is_hidden && Path::new(name).extension().is_some_and(|extension| extension == "toml")
}

/// The text of the file named `path`, opened by `open`; a mistake if it cannot be read.
pub(crate) fn text(
    path: &Path,
    open: impl FnOnce() -> Result<File, OpenError>,
    mistakes: &mut Vec<Mistake>,
    activity: &Activity,
) -> Option<String> {
    let what = match activity.read(path, || read(open()?, MAX_FILE)) {
        Ok(Ok(bytes)) => match String::from_utf8(bytes) {
            Ok(text) => return Some(text),
            Err(_) => "is not UTF-8 text".to_owned(),
        },
        Ok(Err(what)) => what,
        Err(error) => {
            mistakes.push(unreadable(path, error));
            return None;
        }
    };
    mistakes.push(whole(path, what));
    None
}

/// What can be read of a file, with a replacement character for what is no UTF-8.
pub(crate) fn lossy_text(file: File) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is kept.
    let _ = file.take(MAX_FILE).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is wrong with a file or folder that could not be opened.
pub(crate) fn unreadable(path: &Path, error: OpenError) -> Mistake {
    match error {
        OpenError::Io(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::NotFound => "; write it, or name another",
                io::ErrorKind::PermissionDenied => "; ask as root, or as a user who may read it",
                _ => "",
            };
            whole(path, format!("cannot be read: {error}{remedy}"))
        }
        OpenError::NotRegular => whole(path, NOT_REGULAR.to_owned()),
        OpenError::Unanswered => whole(path, UNANSWERED.to_owned()),
        OpenError::Distrust(distrust) => distrust.into(),
    }
}

/// The bytes of a file, or what is wrong with it.
pub fn read_regular(
    file: &Path,
    most: u64,
    trust: Trust,
    activity: &Activity,
) -> Result<Result<Vec<u8>, String>, OpenError> {
    activity.read(file, || read(trust.open(file)?, most))
}

/// What is wrong with a folder, a pipe, a device.
pub const NOT_REGULAR: &str = "is not a regular file";
/// The mistake of a file that is not read because other reads of it hang.
pub const UNANSWERED: &str =
    "is not read: who tried before still waits for it; take it away, or see to the disk that it is on";

fn read(file: File, most: u64) -> Result<Result<Vec<u8>, String>, OpenError> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Ok(Err(format!("is longer than {}", size::show(most))));
    }
    Ok(Ok(bytes))
}

pub(crate) fn whole(path: &Path, what: String) -> Mistake {
    Mistake { file: path.to_owned(), line: None, key: String::new(), what }
}

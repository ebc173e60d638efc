//! The file in which it is written down who wants which code: how it is read and replaced. It decides nothing.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, renameat, unlinkat};

use crate::folder::{Folder, is_trusted};
use crate::owners::{MOST_WRITTEN, Owners};
use crate::pruning::unfinished_name;

/// Its name in the folder of a cache.
const NAME: &str = "owners";

/// What was written down. Nothing if it is not there, or could be another user's.
pub(crate) fn read(folder: &Folder) -> Owners {
    let text = open(folder).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(MOST_WRITTEN as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    text.map(|bytes| Owners::of_text(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
}

/// Replaces it; what cannot be written leaves it as it was.
pub(crate) fn write(folder: &Folder, text: &str) -> io::Result<()> {
    let unfinished = unfinished_name();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(folder, &unfinished, flags, Mode::RUSR | Mode::WUSR)?);
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| Ok(folder.let_read(&file)?))
        .and_then(|()| Ok(renameat(folder, &unfinished, folder, NAME)?));
    if written.is_err() {
        let _ = unlinkat(folder, &unfinished, AtFlags::empty());
    }
    written
}

fn open(folder: &Folder) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(folder, NAME, flags, Mode::empty())?);
    let stat = fstat(&file)?;
    let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_regular && is_trusted(&stat) { Ok(file) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

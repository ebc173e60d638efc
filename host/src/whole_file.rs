//! WholeFile: a file that a person names for something to be written into. It is written as a whole or stays as it is: a disk that is full, or a
//! kill at any moment, costs nothing that was there.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// Writes these bytes in place of what is in a file, which is made if it is not there. Where a link leads is written, not the link; a
/// file keeps its mode, and its owner where the system lets it.
///
/// # Errors
/// If the file, or one beside it, cannot be written; what was in it is still there then.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match Destination::of(path)? {
        Destination::Direct => File::create(path)?.write_all(bytes),
        Destination::Beside { target, before } => {
            let unfinished = beside(&target)?;
            let mut file = unfinished.as_file();
            file.write_all(bytes)?;
            if let Some(before) = before {
                look_like(file, &before)?;
            }
            // Some file systems say only now that there is no room.
            file.sync_all()?;
            unfinished.persist(&target).map(drop).map_err(|failed| failed.error)
        }
    }
}

/// Says beforehand whether [`write`] could begin.
///
/// # Errors
/// If it could not.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    match Destination::of(path)? {
        Destination::Direct => Ok(()),
        Destination::Beside { target, .. } => beside(&target).map(drop),
    }
}

/// Where bytes go.
enum Destination {
    /// A device, a pipe, or a link that leads nowhere: there is nothing to lose.
    Direct,
    /// A file beside this one, which then takes its place.
    Beside {
        /// Where all links lead.
        target: PathBuf,
        /// None if it is not there.
        before: Option<Metadata>,
    },
}

impl Destination {
    fn of(path: &Path) -> io::Result<Self> {
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) if error.kind() == ErrorKind::NotFound && path.is_symlink() => {
                return Ok(Self::Direct);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self::Beside { target: path.to_owned(), before: None });
            }
            Err(error) => return Err(error),
        };
        let before = fs::metadata(&target)?;
        if !before.is_file() && !before.is_dir() {
            return Ok(Self::Direct);
        }
        // A file that must not be written is not to be replaced either.
        OpenOptions::new().write(true).open(&target)?;
        Ok(Self::Beside { target, before: Some(before) })
    }
}

/// A file beside the one that it is to become; removed if it does not. Without one before, it has the mode that a new file has here.
fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    // Made here and not by the library, whose mistakes would name this file, which nobody asked for.
    Builder::new()
        .prefix(".postern-")
        .make_in(folder.unwrap_or_else(|| Path::new(".")), |file| File::create_new(file))
}

fn look_like(file: &File, before: &Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
        // Only root can give a file away; to others it is theirs then.
        let _ = fchown(file, Some(before.uid()), Some(before.gid()));
    }
    // After that, which may take bits of the mode away.
    file.set_permissions(before.permissions())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// The names of all files in a folder.
    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_made_or_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        check(&file).unwrap();
        assert!(names(folder.path()).is_empty(), "nothing was asked for so far");
        write(&file, b"long text").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        check(&file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"long text");
        write(&file, b"short").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"short");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("far")).unwrap();
        fs::write(at("far/a"), "old").unwrap();
        symlink("far/a", at("a")).unwrap();
        symlink("far/b", at("b")).unwrap();
        for (name, leads_to) in [("a", "far/a"), ("b", "far/b")] {
            write(&at(name), name.as_bytes()).unwrap();
            assert!(at(name).is_symlink(), "{name}");
            assert_eq!(fs::read(at(leads_to)).unwrap(), name.as_bytes());
        }
        symlink("loop", at("loop")).unwrap();
        assert!(write(&at("loop"), b"").is_err() && check(&at("loop")).is_err());
    }

    #[test]
    fn what_is_no_file_is_written_as_it_is_or_refused() {
        write(Path::new("/dev/null"), b"gone").unwrap();
        assert_eq!(write(Path::new("/dev/full"), b"much").unwrap_err().kind(), ErrorKind::StorageFull);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(check(folder.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(write(folder.path(), b"").unwrap_err().kind(), ErrorKind::IsADirectory);
        let nowhere = folder.path().join("no/where");
        for refused in [check(&nowhere), write(&nowhere, b"")] {
            // The system's error as it is: the caller names the file that was asked for.
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(rustix::io::Errno::NOENT.raw_os_error()));
        }
        assert!(names(folder.path()).is_empty());
    }
}

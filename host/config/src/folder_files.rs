//! FolderFiles: reads files of one folder with the rights that this process has: no other folder, nothing but regular files, and no more
//! of them than was asked for. It knows nothing of what is in a file.
//!
//! This is what runs as a tenant's user. Nothing here blocks when it opens, and no link is followed: a link would have to be
//! watched as well, by a process that must follow nothing of a tenant's.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use postern_text::size;
use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, statat};
use rustix::io::Errno;

use crate::files::{MAX_FILE, NOT_REGULAR, is_rule_file};
use crate::folder_bounds::FolderBounds;
use crate::trust::{Trust, quoted};
use crate::unread::Unread;

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// A folder that is read with the rights of this process.
#[derive(Clone, Copy, Debug)]
pub struct FolderFiles<'a> {
    /// The folder, open by its name at least (`O_PATH`).
    pub dir: BorrowedFd<'a>,
    /// For people.
    pub path: &'a Path,
    /// The account that may own it and its files, besides root.
    pub user: &'a str,
    /// The number of that account.
    pub uid: u32,
    /// Whether files count that other users could write.
    pub trust: Trust,
}

impl FolderFiles<'_> {
    /// The names of the rule files, sorted, after a look at how many and how large they are.
    ///
    /// # Errors
    /// If there are too many or too large ones, if other users could write the folder, or if it cannot be read.
    pub fn names(&self, bounds: FolderBounds) -> Result<Vec<OsString>, Unread> {
        let folder =
            openat(self.dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| self.not_opened(error))?;
        self.check(
            &fstat(&folder).map_err(|error| self.not_opened(error))?,
            self.path,
            "put other files there",
        )?;
        let entries = Dir::new(folder).map_err(|error| self.not_opened(error))?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| self.not_opened(error))?.file_name().to_owned();
            let name = OsString::from_vec(name.into_bytes());
            if is_rule_file(&name) {
                if names.len() == bounds.files {
                    let most = bounds.files;
                    return Err(Unread::new(&format!("has more than {most} rules"), "take some away"));
                }
                names.push(name);
            }
        }
        names.sort();
        let length = |name: &OsString| {
            let stat = statat(self.dir, name, AtFlags::SYMLINK_NOFOLLOW).ok().filter(is_regular);
            stat.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0).min(MAX_FILE + 1))
        };
        let bytes: u64 = names.iter().map(length).sum();
        if bytes > bounds.bytes {
            let what = format!("has rule files of more than {} bytes together", bounds.bytes);
            return Err(Unread::new(&what, "take some away, or make them shorter"));
        }
        Ok(names)
    }

    /// The text of a rule file, which is not longer than such a file may be, and has at most `left` bytes.
    ///
    /// # Errors
    /// As [`FolderFiles::copy`], or if it is no text.
    pub fn text(&self, name: &OsStr, left: u64) -> Result<String, Unread> {
        let mut bytes = Vec::new();
        self.copy(name, MAX_FILE.min(left), &mut bytes)?;
        String::from_utf8(bytes).map_err(|_| Unread::new("is not UTF-8 text", "write it as UTF-8"))
    }

    /// Copies a file, and gives back how many bytes it has; not more than `most`.
    ///
    /// # Errors
    /// If it cannot be read, is too long, or other users could write it; or if the copy cannot be written.
    pub fn copy(&self, name: &OsStr, most: u64, to: &mut impl Write) -> Result<u64, Unread> {
        let file = self.open(name)?;
        let stat = fstat(&file).map_err(|error| self.not_opened(error))?;
        if !is_regular(&stat) {
            return Err(not_regular());
        }
        self.check(&stat, &self.path.join(name), "change who gets in")?;
        let too_long = || Unread::new(&format!("is longer than {}", size::show(most)), "make it shorter");
        if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > most {
            return Err(too_long());
        }
        // It may grow while it is read.
        let copied = copy(file.take(most.saturating_add(1)), to).map_err(|error| self.unreadable(&error))?;
        if copied > most { Err(too_long()) } else { Ok(copied) }
    }

    fn open(&self, name: &OsStr) -> Result<File, Unread> {
        // Looked at before it is opened: opening a device may already do something.
        let stat =
            statat(self.dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| self.not_opened(error))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(link());
        }
        if !is_regular(&stat) {
            return Err(not_regular());
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        match openat2(self.dir, name, flags, Mode::empty(), within) {
            Ok(file) => Ok(file.into()),
            Err(Errno::LOOP) => Err(link()),
            Err(error) => Err(self.not_opened(error)),
        }
    }

    /// Whether others than root and the user could change it.
    fn check(&self, stat: &Stat, path: &Path, could: &str) -> Result<(), Unread> {
        let (owner, user, path) = (stat.st_uid, self.user, quoted(path));
        if self.trust == Trust::Anybody {
            return Ok(());
        }
        if owner != 0 && owner != self.uid {
            let what = format!("belongs to user {owner}, who could {could}");
            return Err(Unread::new(&what, &format!("chown {user} {path}")));
        }
        // The group's bits are also the most that an access list gives to anybody.
        if stat.st_mode & GROUP_OR_OTHERS_WRITE != 0 {
            let what = format!("others than its owner may write it, and could {could}");
            return Err(Unread::new(&what, &format!("chmod go-w {path}")));
        }
        Ok(())
    }

    fn not_opened(&self, error: Errno) -> Unread {
        self.unreadable(&error.into())
    }

    fn unreadable(&self, error: &io::Error) -> Unread {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "check its name".to_owned(),
            io::ErrorKind::PermissionDenied => format!("let `{}` read it", self.user),
            _ => "see to the disk that it is on".to_owned(),
        };
        Unread::new(&format!("cannot be read: {error}"), &remedy)
    }
}

/// As `io::copy`, which would have the kernel copy from file to file by calls that no list allows.
fn copy(mut from: impl io::Read, to: &mut impl Write) -> io::Result<u64> {
    let mut piece = vec![0; PIECE];
    let mut copied = 0;
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(copied),
            Ok(length) => {
                to.write_all(&piece[..length])?;
                copied += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn not_regular() -> Unread {
    Unread::new(NOT_REGULAR, "put a file there")
}

fn link() -> Unread {
    Unread::new("is a link, and none is followed in a tenant's folder", "put the file itself there")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use rustix::fs::{CWD, mknodat};
    use rustix::process::geteuid;

    use super::*;

    const BOUNDS: FolderBounds = FolderBounds { files: 3, bytes: 2 << 20 };

    /// A folder, and one beside it.
    struct Folder {
        dir: tempfile::TempDir,
    }

    impl Folder {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in ["a", "b", "a/sub"] {
                fs::create_dir(dir.path().join(name)).unwrap();
                fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o755)).unwrap();
            }
            let folder = Self { dir };
            folder.write("a/x.toml", b"text");
            folder.write("b/y.toml", b"text");
            folder
        }

        fn at(&self, name: &str) -> std::path::PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            fs::write(self.at(name), bytes).unwrap();
            self.set(name, 0o644);
        }

        fn set(&self, name: &str, mode: u32) {
            fs::set_permissions(self.at(name), Permissions::from_mode(mode)).unwrap();
        }

        fn with<T>(&self, trust: Trust, read: impl FnOnce(FolderFiles<'_>) -> T) -> T {
            let path = self.at("a");
            let (dir, _) = Trust::Anybody.open_others_folder(&path).unwrap();
            let uid = geteuid().as_raw();
            read(FolderFiles { dir: dir.as_fd(), path: &path, user: "web", uid, trust })
        }

        /// What a rule file says, or what is said of it.
        fn text(&self, name: impl AsRef<OsStr>) -> String {
            let text = self.with(Trust::Strict, |files| files.text(name.as_ref(), u64::MAX));
            let said = text.unwrap_or_else(|unread| unread.to_string());
            said.replace(&format!("{}/", self.dir.path().display()), "")
        }

        fn names(&self, bounds: FolderBounds) -> Result<Vec<OsString>, String> {
            let said =
                |unread: Unread| unread.to_string().replace(&format!("{}/", self.dir.path().display()), "");
            self.with(Trust::Strict, |files| files.names(bounds)).map_err(said)
        }
    }

    #[test]
    fn what_is_in_the_folder_is_read_and_nothing_else() {
        let folder = Folder::new();
        assert_eq!(folder.text("x.toml"), "text");
        for (name, target) in
            [("out", "../b/y.toml"), ("away", "/etc/passwd"), ("in", "x.toml"), ("none", "no")]
        {
            symlink(target, folder.at("a").join(name)).unwrap();
            let link = "is a link, and none is followed in a tenant's folder; put the file itself there";
            assert_eq!(folder.text(name), link, "{name}");
        }
        // Of more than one part it is no name, wherever it leads to.
        for name in ["../b/y.toml", "/etc/passwd"] {
            assert!(folder.text(name).starts_with("cannot be read"), "{name}: {}", folder.text(name));
        }
        symlink("../b", folder.at("a/way")).unwrap();
        assert!(folder.text("way/y.toml").starts_with("is a link"), "{}", folder.text("way/y.toml"));
        assert!(folder.text("no.toml").ends_with("; check its name"), "{}", folder.text("no.toml"));
    }

    #[test]
    fn only_regular_files_are_opened_and_none_that_is_too_long() {
        let folder = Folder::new();
        mknodat(CWD, folder.at("a/pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::os::unix::net::UnixListener::bind(folder.at("a/socket")).unwrap();
        for name in ["pipe", "socket", "sub", ".", ".."] {
            assert_eq!(folder.text(name), "is not a regular file; put a file there", "{name}");
        }
        folder.write("a/long", b"");
        File::options().write(true).open(folder.at("a/long")).unwrap().set_len(4 << 30).unwrap();
        assert_eq!(folder.text("long"), "is longer than 1 MiB; make it shorter");
        let left = folder.with(Trust::Strict, |files| files.text("x.toml".as_ref(), 3));
        assert_eq!(left.unwrap_err().what, "is longer than 3 bytes");
        folder.write("a/bytes", b"\xff");
        assert_eq!(folder.text("bytes"), "is not UTF-8 text; write it as UTF-8");
        // One that says that it is empty and is not, as those of procfs.
        let mut copied = Vec::new();
        let (dir, _) = Trust::Anybody.open_others_folder(Path::new("/proc/self")).unwrap();
        let files =
            FolderFiles { dir: dir.as_fd(), path: Path::new("/"), user: "", uid: 0, trust: Trust::Anybody };
        let read = files.copy("status".as_ref(), 100, &mut copied);
        assert_eq!(read.unwrap_err().what, "is longer than 100 bytes");
        assert_eq!(copied.len(), 101);
    }

    #[test]
    fn counts_and_sizes_are_looked_at_before_anything_is_read() {
        let folder = Folder::new();
        let odd = OsString::from_vec(b"n\n\x1b[31m\xff.toml".to_vec());
        fs::write(folder.at("a").join(&odd), "").unwrap();
        for name in ["a/.hidden.toml", "a/readme"] {
            folder.write(name, b"");
        }
        fs::create_dir(folder.at("a/folder.toml")).unwrap();
        let names = ["folder.toml".into(), odd, "x.toml".into()];
        assert_eq!(folder.names(BOUNDS).unwrap(), names);
        folder.write("a/z.toml", b"");
        assert_eq!(folder.names(BOUNDS).unwrap_err(), "has more than 3 rules; take some away");
        fs::remove_file(folder.at("a/z.toml")).unwrap();
        folder.write("a/x.toml", &[b'#'; 1 << 20]);
        assert_eq!(folder.names(BOUNDS).unwrap().len(), 3);
        let less = FolderBounds { bytes: (1 << 20) - 1, ..BOUNDS };
        let refused =
            "has rule files of more than 1048575 bytes together; take some away, or make them shorter";
        assert_eq!(folder.names(less).unwrap_err(), refused);
    }

    #[test]
    fn what_others_could_write_is_not_read() {
        let folder = Folder::new();
        folder.set("a/x.toml", 0o646);
        let refused = "others than its owner may write it, and could change who gets in; chmod go-w a/x.toml";
        assert_eq!(folder.text("x.toml"), refused);
        assert_eq!(folder.with(Trust::Anybody, |files| files.text("x.toml".as_ref(), 9)).unwrap(), "text");
        folder.set("a/x.toml", 0o664);
        assert_eq!(folder.text("x.toml"), refused);
        folder.set("a", 0o775);
        let refused = "others than its owner may write it, and could put other files there; chmod go-w a";
        assert_eq!(
            folder.names(BOUNDS).unwrap_err().replace(&folder.at("a").display().to_string(), "a"),
            refused
        );
        folder.set("a", 0o755);
        if chown(folder.at("a/x.toml"), Some(1234), None).is_ok() {
            folder.set("a/x.toml", 0o644);
            let refused = "belongs to user 1234, who could change who gets in; chown web a/x.toml";
            assert_eq!(folder.text("x.toml"), refused);
        }
    }
}

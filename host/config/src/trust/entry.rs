//! FileEntry: which users could change one file or folder, by its owner and its permissions.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::fs::{FileType, Stat, getxattr};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::Distrust;

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;
/// Buffer for an access list, of which only the existence matters.
const LONGEST_LIST: usize = 64 << 10;

/// The user that stands for those whom this user namespace does not know; none if it knows all.
static UNKNOWN_USER: LazyLock<Option<u32>> = LazyLock::new(|| {
    let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok()?;
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    unknown_user(overflow, &map)
});

/// One file or folder, as its descriptor shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileEntry {
    pub(super) owner: u32,
    pub(super) group: u32,
    pub(super) mode: u32,
    pub(super) is_folder: bool,
    /// Whether an access list may let others write than owner and group.
    pub(super) has_list: bool,
}

/// What the daemon does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileUse {
    /// It reads it, and does what it says.
    Reads,
    /// It has it run.
    Runs,
}

impl FileUse {
    /// What somebody could do who can write the file.
    const fn could(self) -> &'static str {
        match self {
            Self::Reads => "change who gets in",
            Self::Runs => "have something else run",
        }
    }

    /// A folder for such files in which only root puts any.
    const fn folder(self) -> &'static str {
        match self {
            Self::Reads => "/etc/postern",
            Self::Runs => "/usr/local/bin",
        }
    }
}

/// The users who may own an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Insiders {
    /// The daemon's own user.
    own: u32,
    /// Whom a program runs as, if that is another.
    runs_as: Option<u32>,
    /// See [`UNKNOWN_USER`].
    unknown: Option<u32>,
}

impl FileEntry {
    /// `descriptor` may be one that only names the file (`O_PATH`).
    pub(super) fn of(stat: &Stat, descriptor: BorrowedFd<'_>) -> Self {
        let mode = stat.st_mode;
        // The group's bits are the most that an access list gives to any user; only root's group may have them, so only then is the list looked at.
        let has_list = mode & GROUP_WRITES != 0 && stat.st_gid == 0 && has_list(descriptor);
        let is_folder = FileType::from_raw_mode(mode) == FileType::Directory;
        Self { owner: stat.st_uid, group: stat.st_gid, mode, is_folder, has_list }
    }

    /// Whether others may put files of their own here, but not touch those of root or the daemon.
    pub(super) fn is_shared(&self) -> bool {
        self.is_folder && self.mode & STICKY != 0 && self.mode & (GROUP_WRITES | OTHERS_WRITE) != 0
    }

    /// Whether the owner is one of the insiders. `in_shared`: whether the entry is in a folder where others may put some too.
    ///
    /// In a user namespace root outside is unknown, and so is every other user outside. The folders above those that were made for the
    /// namespace belong to root outside, so folders of unknown users are accepted, but no file, and nothing in a folder where everybody can put files.
    /// Programs are accepted as well: the system's own belong to root outside.
    pub(super) fn is_insiders(&self, insiders: Insiders, in_shared: bool, file_use: FileUse) -> bool {
        self.owner == 0
            || self.owner == insiders.own
            || insiders.runs_as == Some(self.owner)
            || ((self.is_folder || file_use == FileUse::Runs)
                && !in_shared
                && insiders.unknown == Some(self.owner))
    }

    /// Which other users could change it, if any.
    pub(super) fn check(
        &self,
        path: &Path,
        insiders: Insiders,
        in_shared: bool,
        file_use: FileUse,
    ) -> Result<(), Distrust> {
        let quoted = quoted(path);
        let refuse = |what: String, remedy: String| Err(Distrust { path: path.to_owned(), what, remedy });
        let could = if self.is_folder { "put other files there" } else { file_use.could() };
        if !self.is_insiders(insiders, in_shared, file_use) {
            let elsewhere = if self.is_folder {
                format!(", or keep the files below a folder of root's, such as {}", file_use.folder())
            } else {
                String::new()
            };
            return refuse(
                format!("belongs to user {}, who could {could}", self.owner),
                format!("chown root {quoted}{elsewhere}"),
            );
        }
        if self.is_shared() {
            return Ok(());
        }
        if self.mode & OTHERS_WRITE != 0 {
            return refuse(
                format!("everybody may write it, and could {could}"),
                format!("chmod go-w {quoted}"),
            );
        }
        if self.mode & GROUP_WRITES != 0 && self.group != 0 {
            let what = format!("group {} may write it, and could {could}", self.group);
            return refuse(what, format!("chmod g-w {quoted}"));
        }
        if self.has_list {
            let what = format!("its access list may let others write it, who could {could}");
            return refuse(what, format!("setfacl -b {quoted}"));
        }
        Ok(())
    }
}

impl Insiders {
    /// Those of this process.
    pub(super) fn here() -> Self {
        Self { own: geteuid().as_raw(), runs_as: None, unknown: *UNKNOWN_USER }
    }

    /// These, and whom a program runs as.
    pub(super) const fn and(self, runs_as: Option<u32>) -> Self {
        Self { runs_as, ..self }
    }

    #[cfg(test)]
    pub(super) const fn new(own: u32, unknown: Option<u32>) -> Self {
        Self { own, runs_as: None, unknown }
    }
}

/// `map` is that of the user namespace: lines of the first user inside, the first outside, and how many.
pub(super) fn unknown_user(overflow: u32, map: &str) -> Option<u32> {
    let is_known = map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(inside)), _, Some(Ok(count))) => {
                overflow.checked_sub(inside).is_some_and(|nth| nth < count)
            }
            // Not understood: taken as if all users were known.
            _ => true,
        }
    });
    (!is_known).then_some(overflow)
}

fn has_list(descriptor: BorrowedFd<'_>) -> bool {
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    let list = getxattr(path, "system.posix_acl_access", &mut vec![0; LONGEST_LIST][..]);
    !matches!(list, Err(Errno::NODATA | Errno::OPNOTSUPP))
}

/// A path, quoted for a shell.
pub(crate) fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = path.chars().all(|c| c.is_alphanumeric() || "/._-+@%:,".contains(c));
    if is_plain { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

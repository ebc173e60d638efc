//! Folders: whether what must outlive the daemon can be written, and what it would rather not compile again.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use postern_state::StateFolder;
use postern_text::chain;
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::finding::{Finding, Looked, NotLooked};
use crate::compile::code_folder;
use crate::state;

/// With less room the next record may fail.
const FULL: u64 = 1 << 20;
/// With less room it will before long.
const NEARLY_FULL: u64 = 16 << 20;
const WRITTEN_BY_OTHERS: u32 = 0o022;

/// What is known of a folder, or of the one in which it would be made.
struct FolderFacts {
    folder: PathBuf,
    is_read_only: bool,
    /// Bytes, and files, that there is room for.
    room: (u64, u64),
    /// Whose it is, and its mode; none if it is not there yet.
    owner: Option<(u32, u32)>,
    own_user: u32,
}

/// What a folder is for.
#[derive(Clone, Copy)]
struct FolderUse {
    /// What does not work if it cannot be written.
    without: &'static str,
    variable: &'static str,
    is_needed: bool,
}

const STATE: FolderUse = FolderUse {
    without: "one-time tokens and doors that commands close cannot be recorded, and do not open",
    variable: "STATE_DIRECTORY",
    is_needed: true,
};
const CACHE: FolderUse = FolderUse {
    without: "every module is compiled at every start",
    variable: "CACHE_DIRECTORY",
    is_needed: false,
};

pub(super) fn look_at_state() -> Looked {
    let folder = state::folder();
    if let Err(error) = StateFolder::examine(&folder) {
        // To another user it is somebody else's, and need not be to the daemon.
        if !rustix::process::geteuid().is_root() {
            return Err(NotLooked::for_want_of_root());
        }
        return Ok(vec![Finding::problem(chain(&error).to_string(), format!("otherwise {}", STATE.without))]);
    }
    Ok(judge(&FolderFacts::gather(folder)?, STATE))
}

pub(super) fn look_at_cache() -> Looked {
    let facts = FolderFacts::gather(code_folder())?;
    let found = others(&facts);
    Ok(if found.is_empty() { judge(&facts, CACHE) } else { found })
}

impl FolderFacts {
    fn gather(folder: PathBuf) -> Result<Self, NotLooked> {
        let failed = |error: &dyn std::fmt::Display| {
            NotLooked::new(format!("{}: {error}", folder.display()), "run it as the daemon's user")
        };
        let owner = fs::metadata(&folder).ok().map(|found| (found.uid(), found.mode()));
        let there = folder.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("/"));
        let disk = statvfs(there).map_err(|error| failed(&error))?;
        Ok(Self {
            is_read_only: disk.f_flag.contains(StatVfsMountFlags::RDONLY),
            // Some file systems have no number of files, and say 0 of 0.
            room: (
                disk.f_bavail.saturating_mul(disk.f_frsize),
                if disk.f_files == 0 { u64::MAX } else { disk.f_favail },
            ),
            owner,
            own_user: rustix::process::geteuid().as_raw(),
            folder,
        })
    }
}

fn judge(facts: &FolderFacts, of: FolderUse) -> Vec<Finding> {
    let FolderFacts { folder, is_read_only, room: (bytes, files), .. } = facts;
    let FolderUse { without, variable, is_needed } = of;
    let folder = folder.display();
    let bad = |what: String, remedy: String| {
        if is_needed { Finding::problem(what, remedy) } else { Finding::warning(what, remedy) }
    };
    let elsewhere = format!("or name another folder: {variable}");
    if *is_read_only {
        return vec![bad(
            format!("{folder} is on a disk that is read-only: {without}"),
            format!("mount it to be written, {elsewhere}"),
        )];
    }
    if *bytes < FULL || *files == 0 {
        return vec![bad(
            format!("the disk of {folder} is full: {without}"),
            format!("make room, {elsewhere}"),
        )];
    }
    if *bytes < NEARLY_FULL {
        let left = bytes >> 20;
        return vec![Finding::warning(
            format!("the disk of {folder} has {left} MiB left; when it is full {without}"),
            format!("make room, {elsewhere}"),
        )];
    }
    Vec::new()
}

/// That others could have written what is in a folder; then code in it is not taken.
fn others(facts: &FolderFacts) -> Vec<Finding> {
    let FolderFacts { folder, owner, own_user, .. } = facts;
    let folder = folder.display();
    let (what, remedy) = match owner {
        Some((user, _)) if *user != 0 && user != own_user => {
            (format!("{folder} belongs to user {user}"), format!("`chown root {folder}`"))
        }
        Some((_, mode)) if mode & WRITTEN_BY_OTHERS != 0 => {
            (format!("{folder} can be written by others"), format!("`chmod go-w {folder}`"))
        }
        _ => return Vec::new(),
    };
    let FolderUse { without, variable, .. } = CACHE;
    let what = format!("{what}, whose code the daemon does not take: {without}");
    vec![Finding::warning(what, format!("{remedy}, or name another folder: {variable}"))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::lines;

    const PLENTY: (u64, u64) = (1 << 30, 1 << 20);

    fn facts(is_read_only: bool, room: (u64, u64), owner: Option<(u32, u32)>) -> FolderFacts {
        FolderFacts { folder: "/var/lib/postern".into(), is_read_only, room, owner, own_user: 0 }
    }

    fn check(is_read_only: bool, room: (u64, u64), expected: &str) {
        let facts = facts(is_read_only, room, None);
        let found = lines(&judge(&facts, STATE));
        assert!(found.starts_with(expected) && found.is_empty() == expected.is_empty(), "{found}");
        // What is only kept to save time is no problem.
        assert!(!lines(&judge(&facts, CACHE)).contains("problem"), "{found}");
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        check(false, PLENTY, "");
        check(true, PLENTY, "problem: /var/lib/postern is on a disk that is read-only: one-time tokens");
        check(false, (0, 1000), "problem: the disk of /var/lib/postern is full: ");
        check(false, (1 << 30, 0), "problem: the disk of /var/lib/postern is full: ");
        check(false, (8 << 20, 1000), "warning: the disk of /var/lib/postern has 8 MiB left; ");
    }

    #[test]
    fn a_cache_of_others_is_said() {
        let of = |owner| lines(&others(&facts(false, PLENTY, owner)));
        assert_eq!(of(None), "");
        assert_eq!(of(Some((0, 0o40750))), "");
        assert!(
            of(Some((1000, 0o40700)))
                .starts_with("warning: /var/lib/postern belongs to user 1000, whose code")
        );
        assert!(of(Some((0, 0o40777))).starts_with("warning: /var/lib/postern can be written by others, "));
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_on_its_parents_disk() {
        let there = tempfile::tempdir().unwrap();
        let facts = FolderFacts::gather(there.path().join("not/yet")).unwrap();
        assert!(facts.owner.is_none() && facts.room.0 > 0);
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(
            FolderFacts::gather(there.path().to_owned()).unwrap().owner.map(|(user, _)| user),
            Some(own)
        );
    }
}

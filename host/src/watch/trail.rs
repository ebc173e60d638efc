//! Trail: the names on the way to a file, links followed, under which a change of what its path names shows.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};
use rustix::io::Errno;

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// The names on the way to some files.
#[derive(Debug, Default)]
pub(super) struct Trails {
    /// Each file, and each folder and link on the way to it, as the folder that it is in calls it.
    pub(super) names: HashSet<PathBuf>,
    /// The folders that these are in.
    pub(super) dirs: HashSet<PathBuf>,
    /// Where paths that were followed lead to.
    known: HashMap<PathBuf, Option<PathBuf>>,
}

impl Trails {
    /// Follows `path`; where it leads to, if there is something.
    pub(super) fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let found = self.follow_links(&std::path::absolute(path).ok()?, 0)?;
        self.dirs.extend(found.parent().map(Path::to_owned));
        Some(found)
    }

    fn follow_links(&mut self, path: &Path, links: usize) -> Option<PathBuf> {
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let found = match (path.parent(), path.file_name()) {
            (None, _) => Some(path.to_owned()),
            // `..`
            (Some(parent), None) => {
                let above = self.follow_links(parent, links)?;
                Some(above.parent().unwrap_or(&above).to_owned())
            }
            (Some(parent), Some(name)) => {
                let dir = self.follow_links(parent, links)?;
                self.step(&dir, Path::new(name), links)
            }
        };
        self.known.insert(path.to_owned(), found.clone());
        found
    }

    /// One name in a folder without links on the way to it.
    fn step(&mut self, dir: &Path, name: &Path, links: usize) -> Option<PathBuf> {
        let here = dir.join(name);
        let is_link = is_link(&here);
        // Folders in the root folder are not replaced, but links there may be changed.
        if dir.parent().is_some() || !matches!(is_link, Ok(false)) {
            self.dirs.insert(dir.to_owned());
        }
        self.names.insert(here.clone());
        match is_link {
            Ok(true) if links < MOST_LINKS => {
                let target = fs::read_link(&here).ok()?;
                self.follow_links(&dir.join(target), links + 1)
            }
            Ok(false) => Some(here),
            _ => None,
        }
    }
}

/// Whether it is a link; that is never another thing later, so a disk that may hang need not be asked again.
fn is_link(path: &Path) -> Result<bool, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    let stat = statx(CWD, path, flags, StatxFlags::TYPE)?;
    Ok(FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Symlink)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_link_on_the_way_is_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |path: &str| root.join(path);
        fs::create_dir_all(at("versions/v1")).unwrap();
        fs::create_dir(at("etc")).unwrap();
        fs::write(at("versions/v1/a.toml"), "").unwrap();
        symlink("v1", at("versions/current")).unwrap();
        symlink("../versions/current", at("etc/rules")).unwrap();
        let mut trails = Trails::default();
        assert_eq!(trails.follow(&at("etc/../etc/rules/a.toml")), Some(at("versions/v1/a.toml")));
        for name in ["etc", "etc/rules", "versions", "versions/current", "versions/v1", "versions/v1/a.toml"]
        {
            assert!(trails.names.contains(&at(name)), "{name}: {:?}", trails.names);
        }
        for dir in ["", "etc", "versions", "versions/v1"] {
            assert!(trails.dirs.contains(root.join(dir).as_path()), "{dir}: {:?}", trails.dirs);
        }
        assert!(!trails.dirs.contains(Path::new("/")) || root.components().count() < 2);
    }

    #[test]
    fn what_is_missing_is_waited_for_where_it_would_be() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let mut trails = Trails::default();
        assert_eq!(trails.follow(&root.join("a/b/c.toml")), None);
        assert!(trails.names.contains(&root.join("a")) && trails.dirs.contains(&root));
        assert!(!trails.dirs.contains(&root.join("a")));
    }

    #[test]
    fn links_in_a_circle_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert_eq!(Trails::default().follow(&root.join("a/x")), None);
    }
}

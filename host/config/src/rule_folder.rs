//! RuleFolder: the rule files of one tenant, all that are in its folder.

use std::io;
use std::path::{Path, PathBuf};

use postern_core::TenantId;
use postern_text::Mistake;

use crate::activity::Activity;
use crate::ceilings::Ceilings;
use crate::files::{rule_files, text, unreadable};
use crate::rule_file::RuleFile;
use crate::trust::{OpenError, Trust};

/// Most rule files of one owner.
pub(crate) const MAX_RULES: usize = 65_536;

/// Reads folders of rule files.
#[derive(Debug)]
pub(crate) struct Folders<'a> {
    pub(crate) trust: Trust,
    pub(crate) activity: &'a Activity,
}

/// A folder of rule files as it was read.
pub(crate) struct FolderReading {
    pub(crate) identity: FolderIdentity,
    /// The rule files that are there.
    pub(crate) files: Vec<PathBuf>,
    /// What could be read of them.
    pub(crate) rules: Vec<RuleFile>,
}

/// Which folder it is, however the path to it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FolderIdentity {
    /// One that could be opened: its device and inode.
    Inode(u64, u64),
    /// One that could not be: as it is written.
    Path(PathBuf),
}

impl From<(u64, u64)> for FolderIdentity {
    fn from((device, inode): (u64, u64)) -> Self {
        Self::Inode(device, inode)
    }
}

impl Folders<'_> {
    /// Which folder the one at `dir` is; none if it cannot be opened.
    pub(crate) fn identity(&self, dir: &Path) -> Option<FolderIdentity> {
        let open = || Ok(self.trust.open_folder(dir)?.inode()?);
        self.activity.read(dir, open).ok().map(FolderIdentity::from)
    }

    /// Reads the rule files of a tenant in `dir`.
    pub(crate) fn read(
        &self,
        tenant: &TenantId,
        dir: &Path,
        ceilings: Ceilings,
        mistakes: &mut Vec<Mistake>,
    ) -> FolderReading {
        let Self { trust, activity } = *self;
        let whole = |what: String| Mistake { file: dir.to_owned(), line: None, key: String::new(), what };
        let listed = activity.read(dir, || {
            let folder = trust.open_folder(dir)?;
            Ok((folder.inode()?.into(), rule_files(&folder)?, folder))
        });
        let nothing = || FolderReading {
            identity: FolderIdentity::Path(dir.to_owned()),
            files: Vec::new(),
            rules: Vec::new(),
        };
        let (identity, mut files, folder) = match listed {
            Ok(listed) => listed,
            Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                mistakes.push(whole("there is no such folder; make it and put a rule there".to_owned()));
                return nothing();
            }
            Err(error) => {
                mistakes.push(unreadable(dir, error));
                return nothing();
            }
        };
        files.sort();
        let most = ceilings.rules;
        if files.len() > most {
            mistakes.push(whole(format!("{} rules; at most {most}", files.len())));
            files.clear();
        }
        let mut rules = Vec::with_capacity(files.len());
        let paths: Vec<_> = files.iter().map(|name| dir.join(name)).collect();
        for (file, name) in paths.iter().zip(&files) {
            let Some(text) = text(file, || folder.open(name), mistakes, activity) else { continue };
            let (rule, found) = RuleFile::read(tenant, file, &text, ceilings);
            mistakes.extend(found);
            rules.extend(rule);
        }
        FolderReading { identity, files: paths, rules }
    }
}

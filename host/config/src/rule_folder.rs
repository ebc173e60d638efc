//! RuleFolder: the rule files of one tenant, all that are in its folder.

use std::collections::HashSet;
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use postern_core::{ModuleSource, TenantId};
use postern_text::Mistake;

use crate::activity::Activity;
use crate::ceilings::Ceilings;
use crate::files::{is_rule_file, rule_files, text, unreadable, whole};
use crate::folder_bounds::FolderBounds;
use crate::rule_file::RuleFile;
use crate::tenant::Tenant;
use crate::tenant_files::{RuleText, TenantFiles, TenantFolder};
use crate::tenant_user::TenantUser;
use crate::trust::{OpenError, Trust};
use crate::unread::Unread;

/// Tenants whose folders are read at once.
const MOST_AT_ONCE: usize = 16;

/// Reads folders of rule files.
#[derive(Debug)]
pub(crate) struct Folders<'a> {
    pub(crate) trust: Trust,
    pub(crate) activity: &'a Activity,
    /// Reads those of tenants with users of their own.
    pub(crate) files: &'a dyn TenantFiles,
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

    /// Reads the rule files of a tenant in `dir` as the host's own are read.
    pub(crate) fn read(
        &self,
        tenant: &TenantId,
        dir: &Path,
        ceilings: Ceilings,
        mistakes: &mut Vec<Mistake>,
    ) -> FolderReading {
        let Self { trust, activity, .. } = *self;
        let listed = activity.read(dir, || {
            let folder = trust.open_folder(dir)?;
            Ok((folder.inode()?.into(), rule_files(&folder)?, folder))
        });
        let (identity, mut files, folder) = match listed {
            Ok(listed) => listed,
            Err(error) => return FolderReading::not_opened(dir, error, mistakes),
        };
        files.sort();
        let most = ceilings.rules;
        if files.len() > most {
            mistakes.push(whole(dir, format!("{} rules; at most {most}", files.len())));
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

    /// Reads the rule files of a tenant with the rights of this user.
    pub(crate) fn read_as(
        &self,
        user: &TenantUser,
        tenant: &Tenant,
        ceilings: Ceilings,
        mistakes: &mut Vec<Mistake>,
    ) -> FolderReading {
        let Self { trust, activity, files } = *self;
        let (owner, dir) = (&tenant.id, &*tenant.rules_dir);
        let folder = match activity.read(dir, || TenantFolder::open(dir, user, trust)) {
            Ok(opened) => opened,
            Err(error) => return FolderReading::not_opened(dir, error, mistakes),
        };
        let identity = folder.inode.into();
        let bounds = FolderBounds { files: ceilings.rules, ..FolderBounds::LARGEST };
        let texts = match activity.read(dir, || Ok(files.rules(&folder, bounds).and_then(checked))) {
            Ok(Ok(texts)) => texts,
            Ok(Err(unread)) => {
                mistakes.push(whole(dir, unread.to_string()));
                return FolderReading { identity, files: Vec::new(), rules: Vec::new() };
            }
            Err(error) => {
                return FolderReading { identity, ..FolderReading::not_opened(dir, error, mistakes) };
            }
        };
        let mut read = FolderReading { identity, files: Vec::with_capacity(texts.len()), rules: Vec::new() };
        for RuleText { name, text } in texts {
            let file = dir.join(name);
            match text {
                Ok(text) => {
                    let (rule, found) = RuleFile::read(owner, &file, &text, ceilings);
                    mistakes.extend(found);
                    // Here, since a module of the same path that another may read is loaded once for both.
                    let elsewhere = rule.as_ref().and_then(module_elsewhere);
                    read.rules.extend(rule.filter(|_| elsewhere.is_none()));
                    mistakes.extend(elsewhere);
                }
                Err(unread) => mistakes.push(whole(&file, unread.to_string())),
            }
            read.files.push(file);
        }
        let beside = tenant.files_beside(&read.rules);
        if let Ok(Err(unread)) = activity.read(dir, || Ok(files.beside(&folder, &beside))) {
            // One thing is wrong, and that is the folder as a whole.
            *mistakes = vec![whole(dir, unread.to_string())];
            (read.files, read.rules) = (Vec::new(), Vec::new());
        }
        read
    }

    /// Reads the folders of all these tenants, in their order, with the mistakes in each. One that is slow to be read, as its user, delays no other for longer
    /// than itself.
    pub(crate) fn read_all(
        &self,
        tenants: &[Tenant],
        ceilings: impl Fn(&Tenant) -> Ceilings + Sync,
    ) -> Vec<(FolderReading, Vec<Mistake>)> {
        let read = |tenant: &Tenant| {
            let mut mistakes = Vec::new();
            let reading = match &tenant.user {
                Some(user) => self.read_as(user, tenant, ceilings(tenant), &mut mistakes),
                None => self.read(&tenant.id, &tenant.rules_dir, ceilings(tenant), &mut mistakes),
            };
            (reading, mistakes)
        };
        let with_user = tenants.iter().filter(|tenant| tenant.user.is_some()).count();
        if with_user < 2 {
            return tenants.iter().map(read).collect();
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some((n, tenant)) =
                Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, tenants.get(n)?)))
            {
                done.push((n, read(tenant)));
            }
            done
        };
        let mut done = thread::scope(|scope| {
            let others = (1..with_user.min(MOST_AT_ONCE))
                // With fewer threads it takes longer.
                .filter_map(|_| {
                    thread::Builder::new().name("tenants".to_owned()).spawn_scoped(scope, work).ok()
                });
            let others: Vec<_> = others.collect();
            let mut done = work();
            for other in others {
                done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            done
        });
        done.sort_by_key(|(n, _)| *n);
        done.into_iter().map(|(_, read)| read).collect()
    }
}

/// The mistake of a rule whose module is not in its own folder.
fn module_elsewhere(rule: &RuleFile) -> Option<Mistake> {
    let ModuleSource::File(module) = &rule.module else { return None };
    let is_beside = module.parent() == rule.file.parent() && module.file_name().is_some();
    let what =
        "is not in the folder of the rule; put it there, and name it by its name alone, as in ./knock.wasm";
    (!is_beside).then(|| rule.module_mistake(what))
}

/// As no folder can have it otherwise, whoever has read it.
fn checked(texts: Vec<RuleText>) -> Result<Vec<RuleText>, Unread> {
    let mut names = HashSet::new();
    let is_right = texts.iter().all(|RuleText { name, .. }| {
        is_rule_file(name) && !name.as_encoded_bytes().contains(&b'/') && names.insert(name)
    });
    if is_right {
        Ok(texts)
    } else {
        Err(Unread::new("is not read: what was read makes no sense", "look at what this tenant's user runs"))
    }
}

impl FolderReading {
    /// One that could not be opened, which is a mistake.
    fn not_opened(dir: &Path, error: OpenError, mistakes: &mut Vec<Mistake>) -> Self {
        mistakes.push(match error {
            OpenError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                whole(dir, "there is no such folder; make it and put a rule there".to_owned())
            }
            error => unreadable(dir, error),
        });
        Self { identity: FolderIdentity::Path(dir.to_owned()), files: Vec::new(), rules: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_folder_has_is_not_taken_from_whoever_says_it() {
        let is_taken = |names: &[&str]| {
            let texts = names.iter().map(|name| RuleText { name: name.into(), text: Ok(String::new()) });
            checked(texts.collect()).is_ok()
        };
        assert!(is_taken(&[]) && is_taken(&["a.toml", "b.toml"]));
        for odd in
            [&["a.toml", "a.toml"][..], &["a"], &[".a.toml"], &["../a.toml"], &["/a.toml"], &["b/a.toml"]]
        {
            assert!(!is_taken(odd), "{odd:?}");
        }
    }
}

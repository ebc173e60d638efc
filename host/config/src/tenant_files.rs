//! TenantFiles: how the files are read of a tenant that has a user of its own: with that user's rights, whoever does it.
//!
//! What reads them is made for it elsewhere: this crate starts no process. [`OwnFiles`] reads with the rights of this process, and only if
//! these are that user's.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::folder_bounds::FolderBounds;
use crate::folder_files::FolderFiles;
use crate::tenant_user::TenantUser;
use crate::trust::{OpenError, Trust};
use crate::unread::Unread;

/// The folder of a tenant, held by its name alone (`O_PATH`): what is in it is for its user to read.
#[derive(Debug)]
pub struct TenantFolder {
    /// As `postern.toml` names it, for people.
    pub path: PathBuf,
    /// The folder.
    pub dir: OwnedFd,
    /// Which one it is: its device and inode.
    pub inode: (u64, u64),
    /// Whose it is.
    pub user: TenantUser,
    /// Whether files count that other users could write.
    pub trust: Trust,
}

impl TenantFolder {
    /// Opens the one at `path`, which may be this user's; the way there may not.
    ///
    /// # Errors
    /// If there is no such folder, or others could have put it there.
    pub fn open(path: &Path, user: &TenantUser, trust: Trust) -> Result<Self, OpenError> {
        let (dir, inode) = trust.open_others_folder(path)?;
        Ok(Self { path: path.to_owned(), dir, inode, user: user.clone(), trust })
    }
}

/// A rule file as it was read.
#[derive(Debug)]
pub struct RuleText {
    /// Its name in the folder.
    pub name: OsString,
    /// What it says, or why it was not read.
    pub text: Result<String, Unread>,
}

/// A file that rules need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileBeside {
    /// Its name in the folder.
    #[serde(with = "postern_core::os_text")]
    pub name: OsString,
    /// Most bytes of it.
    pub most: u64,
}

/// Reads the files of tenants that have users of their own.
///
/// What comes back is at most what a tenant could have written there; whoever gets it bounds and checks it as such.
pub trait TenantFiles: fmt::Debug + Send + Sync {
    /// The rule files of a folder, by name. None is read if there are too many.
    ///
    /// # Errors
    /// If the folder cannot be read as a whole, or not in the time that there is for it.
    fn rules(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<Vec<RuleText>, Unread>;

    /// After [`TenantFiles::rules`]: these files of the folder will be asked for next, so they may be read together, by whoever has read the rules.
    ///
    /// # Errors
    /// If they cannot be read in the time that there is for it. What is wrong with a file is said when it is asked for.
    fn beside(&self, _folder: &TenantFolder, _files: &[FileBeside]) -> Result<(), Unread> {
        Ok(())
    }

    /// The bytes of a file of this name in the folder.
    ///
    /// # Errors
    /// If it cannot be read, has more bytes than `most`, or is not read in the time that there is for it.
    fn module(&self, folder: &TenantFolder, name: &OsStr, most: u64) -> Result<Vec<u8>, Unread>;

    /// The names of the rule files of a folder, if there are not too many. Nothing of them is read.
    ///
    /// # Errors
    /// As [`TenantFiles::rules`].
    fn names(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<HashSet<OsString>, Unread>;
}

/// Reads nothing: to every folder there is no rule.
#[derive(Clone, Copy, Debug)]
pub struct NoFiles;

impl TenantFiles for NoFiles {
    fn rules(&self, _folder: &TenantFolder, _bounds: FolderBounds) -> Result<Vec<RuleText>, Unread> {
        Ok(Vec::new())
    }

    fn module(&self, _folder: &TenantFolder, _name: &OsStr, _most: u64) -> Result<Vec<u8>, Unread> {
        Err(Unread::new("is not read", "read the configuration as a whole"))
    }

    fn names(&self, _folder: &TenantFolder, _bounds: FolderBounds) -> Result<HashSet<OsString>, Unread> {
        Ok(HashSet::new())
    }
}

/// Reads with the rights of this process, and only what belongs to the user of this process.
#[derive(Clone, Copy, Debug)]
pub struct OwnFiles;

impl OwnFiles {
    fn of(folder: &TenantFolder) -> Result<FolderFiles<'_>, Unread> {
        let TenantUser { name, uid, .. } = &folder.user;
        let own = geteuid().as_raw();
        if own != *uid {
            return Err(Unread::new(
                &format!("is not read as `{name}`: this process is user {own} and cannot become another"),
                &format!("run posternd as root or as `{name}`, or leave the tenant's user out"),
            ));
        }
        Ok(FolderFiles {
            dir: folder.dir.as_fd(),
            path: &folder.path,
            user: name,
            uid: *uid,
            trust: folder.trust,
        })
    }
}

impl TenantFiles for OwnFiles {
    fn rules(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<Vec<RuleText>, Unread> {
        let files = Self::of(folder)?;
        let names = files.names(bounds)?;
        let mut left = bounds.bytes;
        let read = names.into_iter().map(|name| {
            let text = files.text(&name, left);
            left -= text.as_ref().map_or(0, |text| text.len() as u64);
            RuleText { name, text }
        });
        Ok(read.collect())
    }

    fn module(&self, folder: &TenantFolder, name: &OsStr, most: u64) -> Result<Vec<u8>, Unread> {
        let mut bytes = Vec::new();
        Self::of(folder)?.copy(name, most, &mut bytes)?;
        Ok(bytes)
    }

    fn names(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<HashSet<OsString>, Unread> {
        Ok(Self::of(folder)?.names(bounds)?.into_iter().collect())
    }
}

//! Readers: read the files of tenants that have users of their own, each with a process that becomes that user and ends after it.
//!
//! Owns the processes that run in the role [`Reader`](crate::role::Role::Reader): how many there are at once, how long each may take, and what
//! their deaths mean. **Invariant:** nothing beneath such a tenant's folder is opened, listed or looked at by a process with more rights than
//! the tenant's user has; and what a reader says is held for what the tenant says.

mod again;
mod places;
mod reader_messages;
mod reader_process;
mod reader_role;

pub(crate) use reader_role::run as run_reader;

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use postern_config::{Config, FolderBounds, RuleText, TenantFiles, TenantFolder, Unread};
use postern_confine::Account;
use postern_core::{Observer, Report, What};
use rustix::thread::{CapabilitySet, capabilities};

use crate::role::OwnProgram;
use crate::watch::{Noticed, UserFolders};
use again::Again;
use places::{Place, Places, SLOW_FOR};
use reader_messages::{ReaderJob, ReaderStart};
use reader_process::{ModuleCopy, ReaderProcess};

/// Has files read by processes of their owners.
pub(crate) struct Readers {
    /// Or why no process can be started.
    program: io::Result<OwnProgram>,
    places: Arc<Places>,
    /// Which barriers were not around the first reader.
    missing: OnceLock<Vec<String>>,
    observer: Arc<dyn Observer>,
    /// Has what was not read in time read again.
    again: Again,
    /// Notices what changes in the folders, if anybody wants to know.
    folders: OnceLock<UserFolders>,
}

impl Readers {
    /// Starts none yet. `observer` gets a report of each barrier that is not around the first; `read_again` is called a while after something was
    /// not read in time.
    pub(crate) fn new(observer: Arc<dyn Observer>, read_again: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            program: OwnProgram::open(),
            places: Arc::default(),
            missing: OnceLock::new(),
            observer,
            again: Again::new(SLOW_FOR, read_again),
            folders: OnceLock::new(),
        }
    }

    /// Has each folder watched, from before it is read the next time; `noticed` is notified.
    ///
    /// # Errors
    /// If there are too many open files, or there can be no thread.
    pub(crate) fn watch(&self, noticed: &Arc<Noticed>) -> io::Result<()> {
        let folders = UserFolders::start(Arc::clone(noticed))?;
        // There is one already, if this fails.
        let _ = self.folders.set(folders);
        Ok(())
    }

    /// Watches the folders that this configuration names, and no others.
    pub(crate) fn follow(&self, config: &Config) {
        let Some(folders) = self.folders.get() else { return };
        let with_user = config.tenants.iter().filter(|tenant| tenant.user.is_some());
        let mut modules: HashMap<_, HashSet<_>> =
            with_user.map(|tenant| (tenant.rules_dir.clone(), HashSet::new())).collect();
        for file in config.rules.iter().flat_map(|rule| config.module_files(rule)) {
            if let Some((dir, name)) = file.parent().zip(file.file_name())
                && let Some(modules) = modules.get_mut(dir)
            {
                modules.insert(name.to_owned());
            }
        }
        folders.keep_only(&modules);
    }

    /// Which barriers are not around readers, in words; none if nothing was read yet.
    pub(crate) fn missing_barriers(&self) -> Option<&[String]> {
        self.missing.get().map(Vec::as_slice)
    }

    /// A reader at work in a folder, which may take until its time is over. It is one of few.
    fn start(
        &self,
        folder: &TenantFolder,
        job: ReaderJob,
        beside: Option<BorrowedFd<'_>>,
    ) -> Result<ReaderProcess, Unread> {
        let user = &folder.user;
        let account = account_of(folder)?;
        let place = Place::take(&self.places, user.uid, Instant::now())?;
        let start = ReaderStart {
            path: folder.path.clone(),
            user: user.name.to_string(),
            account: (account.uid, account.gid),
            trust: folder.trust,
            job,
        };
        let program = self.program.as_ref().map_err(not_started)?;
        let mut process = ReaderProcess::start(program, place, &start, folder.dir.as_fd(), beside)
            .map_err(|error| not_started(&error))?;
        let missing = process.confined()?;
        if self.missing.set(missing).is_ok() {
            for missing in self.missing_barriers().into_iter().flatten() {
                let (role, detail) = ("reader".into(), missing.as_str().into());
                self.observer.report(&Report::new(What::BarrierMissing { role, detail }));
            }
        }
        Ok(process)
    }
}

impl Readers {
    fn read_rules(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<Vec<RuleText>, Unread> {
        let inotify = self.folders.get().map(|folders| folders.descriptor(&folder.path, folder.inode));
        let inotify = inotify.transpose().unwrap_or_else(|error| {
            self.report_not_watched(folder, &error.to_string());
            None
        });
        let beside = inotify.as_ref().map(|inotify| inotify.as_fd());
        let mut process = self.start(folder, ReaderJob::Rules(bounds), beside)?;
        let count = process.count(bounds, |why| self.report_not_watched(folder, why))?;
        let mut left = bounds.bytes;
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            let name = process.name()?;
            let text = process.text(&mut left)?;
            texts.push(RuleText { name, text });
        }
        process.done();
        Ok(texts)
    }

    fn read_module(&self, folder: &TenantFolder, name: &OsStr, most: u64) -> Result<Vec<u8>, Unread> {
        let copy = ModuleCopy::new().map_err(|error| not_started(&error))?;
        let job = ReaderJob::Module { name: name.to_owned(), most };
        let mut process = self.start(folder, job, Some(copy.as_fd()))?;
        let length = process.module_length()?;
        process.done();
        copy.sealed(length?, most)
    }

    fn read_names(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<HashSet<OsString>, Unread> {
        let mut process = self.start(folder, ReaderJob::Names(bounds), None)?;
        let count = process.count(bounds, |_| {})?;
        let names = (0..count).map(|_| process.name()).collect::<Result<_, _>>()?;
        process.done();
        Ok(names)
    }

    fn report_not_watched(&self, folder: &TenantFolder, error: &str) {
        let (folder, error) = (Some(folder.path.clone().into()), error.into());
        self.observer.report(&Report::new(What::NotWatched { folder, error }));
    }

    /// Has what was not read for want of time read again later.
    fn or_again<T>(&self, folder: &TenantFolder, read: Result<T, Unread>) -> Result<T, Unread> {
        if read.is_err() && self.places.is_slow(folder.user.uid) {
            self.again.ask();
        }
        read
    }
}

impl TenantFiles for Readers {
    fn rules(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<Vec<RuleText>, Unread> {
        self.or_again(folder, self.read_rules(folder, bounds))
    }

    fn module(&self, folder: &TenantFolder, name: &OsStr, most: u64) -> Result<Vec<u8>, Unread> {
        self.or_again(folder, self.read_module(folder, name, most))
    }

    fn names(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<HashSet<OsString>, Unread> {
        self.read_names(folder, bounds)
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

/// The account that a reader in this folder becomes.
fn account_of(folder: &TenantFolder) -> Result<Account, Unread> {
    let (user, own) = (&folder.user, Account::own());
    if user.uid == own.uid {
        return Ok(own);
    }
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    if capabilities(None).is_ok_and(|held| held.effective.contains(needed)) {
        return Ok(Account { uid: user.uid, gid: user.gid });
    }
    let (name, own) = (&user.name, own.uid);
    Err(Unread::new(
        &format!("is not read as `{name}`: posternd is user {own} and cannot become another"),
        &format!(
            "run it as `{name}`, or as root with CAP_SETUID and CAP_SETGID, or leave the tenant's user out"
        ),
    ))
}

fn not_started(error: &io::Error) -> Unread {
    Unread::new(
        &format!("is not read: no process can be started for that: {error}"),
        "look whether /proc is there, and whether there may be more processes and open files",
    )
}

/// Whether it can be the name of a file in a folder.
fn is_plain(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !matches!(bytes, b"" | b"." | b"..") && !bytes.iter().any(|byte| matches!(byte, b'/' | 0))
}

//! Readers: read the files of tenants that have users of their own, each with a process that becomes that user and ends after it.
//!
//! Owns the processes that run in the role [`Reader`](crate::role::Role::Reader): how many there are at once, how long each may take, and what
//! their deaths mean. **Invariant:** nothing beneath such a tenant's folder is opened, listed or looked at by a process with more rights than
//! the tenant's user has; and what a reader says is held for what the tenant says.

mod places;
mod reader_messages;
mod reader_process;
mod reader_role;

pub(crate) use reader_role::run as run_reader;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use postern_config::{FolderBounds, RuleText, TenantFiles, TenantFolder, Unread};
use postern_confine::Account;
use postern_core::{Observer, Report, What};
use rustix::thread::{CapabilitySet, capabilities};

use crate::role::OwnProgram;
use places::{Place, Places};
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
}

impl Readers {
    /// Starts none yet. `observer` gets a report of each barrier that is not around the first.
    pub(crate) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { program: OwnProgram::open(), places: Arc::default(), missing: OnceLock::new(), observer }
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
        copy: Option<&ModuleCopy>,
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
        let program = self.program.as_ref().map_err(|error| not_started(error))?;
        let mut process = ReaderProcess::start(program, place, &start, folder.dir.as_fd(), copy)
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

impl TenantFiles for Readers {
    fn rules(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<Vec<RuleText>, Unread> {
        let mut process = self.start(folder, ReaderJob::Rules(bounds), None)?;
        let count = process.count(bounds)?;
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

    fn module(&self, folder: &TenantFolder, name: &OsStr, most: u64) -> Result<Vec<u8>, Unread> {
        let copy = ModuleCopy::new().map_err(|error| not_started(&error))?;
        let job = ReaderJob::Module { name: name.to_owned(), most };
        let mut process = self.start(folder, job, Some(&copy))?;
        let length = process.module_length()?;
        process.done();
        copy.sealed(length?, most)
    }

    fn names(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<HashSet<OsString>, Unread> {
        let mut process = self.start(folder, ReaderJob::Names(bounds), None)?;
        let count = process.count(bounds)?;
        let names = (0..count).map(|_| process.name()).collect::<Result<_, _>>()?;
        process.done();
        Ok(names)
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
        "run it as root with CAP_SETUID and CAP_SETGID, or leave the tenant's user out",
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

//! TenantReadings: reads what is read of tenants' files for one preparation, each tenant's within a time that it has once.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use postern_config::{FileBeside, FolderBounds, RuleText, TenantFiles, TenantFolder, Unread};
use postern_confine::Account;
use postern_text::panic::PastPanic;
use rustix::thread::{CapabilitySet, capabilities};

use super::ahead::{Ahead, Room};
use super::allowance::{Allowances, Reading};
use super::places::Place;
use super::reader_messages::{MOST_BESIDE, ReaderJob, ReaderStart};
use super::reader_process::{ModuleCopy, ReaderProcess};
use super::{Readers, SEE_TO, not_started};

/// The files of tenants with users of their own, as one preparation reads them.
pub(crate) struct TenantReadings {
    readers: Arc<Readers>,
    allowances: Arc<Allowances>,
    /// Readers that have read the rules of their folder, and wait for what else is asked of it.
    begun: Mutex<HashMap<PathBuf, RulesRead>>,
    ahead: Ahead,
}

/// A reader after the rules, and the file for what it reads beside them.
struct RulesRead {
    at_work: AtWork,
    copy: ModuleCopy,
    room: Room,
}

/// A reader at work, which takes of its user's time as long as it is.
struct AtWork {
    process: ReaderProcess,
    _reading: Reading,
}

impl TenantReadings {
    /// Reads nothing yet.
    pub(crate) fn new(readers: Arc<Readers>) -> Self {
        Self { readers, allowances: Arc::default(), begun: Mutex::default(), ahead: Ahead::default() }
    }

    /// Nothing more will be asked for, or it does not matter.
    pub(crate) fn forget(&self) {
        self.ahead.clear();
    }

    /// A reader at work in a folder, which may take until its user's time is over. It is one of few.
    fn start(
        &self,
        folder: &TenantFolder,
        job: ReaderJob,
        beside: &[BorrowedFd<'_>],
    ) -> Result<AtWork, Unread> {
        let Self { readers, allowances, .. } = self;
        let user = &folder.user;
        let account = account_of(folder)?;
        let reading = allowances.begin(user.uid, &readers.places, Instant::now()).ok_or_else(|| {
            Unread::new("is not read: reading files of its user takes too long already", SEE_TO)
        })?;
        let place = Place::take(&readers.places, user.uid, reading.deadline)?;
        let start = ReaderStart {
            path: folder.path.clone(),
            user: user.name.to_string(),
            account: (account.uid, account.gid),
            trust: folder.trust,
            job,
        };
        let program = readers.program.as_ref().map_err(not_started)?;
        let mut process = ReaderProcess::start(program, place, &start, folder.dir.as_fd(), beside)
            .map_err(|error| not_started(&error))?;
        readers.note_missing(process.confined()?);
        Ok(AtWork { process, _reading: reading })
    }

    fn read_rules(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<Vec<RuleText>, Unread> {
        let readers = &self.readers;
        let inotify = readers.folders.get().map(|folders| folders.descriptor(&folder.path, folder.inode));
        let inotify = inotify.transpose().unwrap_or_else(|error| {
            readers.report_not_watched(folder, &error.to_string());
            None
        });
        let copy = ModuleCopy::new().map_err(|error| not_started(&error))?;
        let room = self.ahead.room();
        let beside: Vec<_> =
            [copy.as_fd()].into_iter().chain(inotify.as_ref().map(|inotify| inotify.as_fd())).collect();
        let job = ReaderJob::Rules { bounds, beside: room.bytes };
        let mut at_work = self.start(folder, job, &beside)?;
        let process = &mut at_work.process;
        let count = process.count(bounds, |why| readers.report_not_watched(folder, why))?;
        let mut left = bounds.bytes;
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            let name = process.name()?;
            let text = process.text(&mut left)?;
            texts.push(RuleText { name, text });
        }
        self.begun.lock().past_panic().insert(folder.path.clone(), RulesRead { at_work, copy, room });
        Ok(texts)
    }

    fn read_beside(&self, folder: &TenantFolder, files: &[FileBeside]) -> Result<(), Unread> {
        let Some(RulesRead { at_work, copy, room }) = self.begun.lock().past_panic().remove(&folder.path)
        else {
            return Ok(());
        };
        let AtWork { mut process, _reading } = at_work;
        let mut copied = Vec::with_capacity(files.len());
        for some in files.chunks(MOST_BESIDE) {
            copied.extend(process.beside(some)?);
        }
        process.done();
        room.keep(folder, copy, files, copied)
    }

    fn read_module(&self, folder: &TenantFolder, name: &OsStr, most: u64) -> Result<Vec<u8>, Unread> {
        let copy = ModuleCopy::new().map_err(|error| not_started(&error))?;
        let job = ReaderJob::Module { name: name.to_owned(), most };
        let AtWork { mut process, _reading } = self.start(folder, job, &[copy.as_fd()])?;
        let length = process.module_length()?;
        process.done();
        copy.sealed(length?, most)
    }

    fn read_names(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<HashSet<OsString>, Unread> {
        let AtWork { mut process, _reading } = self.start(folder, ReaderJob::Names(bounds), &[])?;
        let count = process.count(bounds, |_| {})?;
        let names = (0..count).map(|_| process.name()).collect::<Result<_, _>>()?;
        process.done();
        Ok(names)
    }

    /// Has what was not read for want of time read again later.
    fn or_again<T>(&self, folder: &TenantFolder, read: Result<T, Unread>) -> Result<T, Unread> {
        if read.is_err() && self.readers.places.is_slow(folder.user.uid) {
            self.readers.again.ask();
        }
        read
    }
}

impl TenantFiles for TenantReadings {
    fn rules(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<Vec<RuleText>, Unread> {
        self.or_again(folder, self.read_rules(folder, bounds))
    }

    fn beside(&self, folder: &TenantFolder, files: &[FileBeside]) -> Result<(), Unread> {
        self.or_again(folder, self.read_beside(folder, files))
    }

    fn module(&self, folder: &TenantFolder, name: &OsStr, most: u64) -> Result<Vec<u8>, Unread> {
        match self.ahead.take(folder, name, most) {
            Some(read) => read,
            None => self.or_again(folder, self.read_module(folder, name, most)),
        }
    }

    fn names(&self, folder: &TenantFolder, bounds: FolderBounds) -> Result<HashSet<OsString>, Unread> {
        self.read_names(folder, bounds)
    }
}

impl fmt::Debug for TenantReadings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantReadings").finish_non_exhaustive()
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

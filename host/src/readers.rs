//! Readers: read the files of tenants that have users of their own, each with a process that becomes that user and ends after it.
//!
//! Owns the processes that run in the role [`Reader`](crate::role::Role::Reader): how many there are at once, how long each may take, and what
//! their deaths mean. **Invariant:** nothing beneath such a tenant's folder is opened, listed or looked at by a process with more rights than
//! the tenant's user has; and what a reader says is held for what the tenant says.

mod again;
mod ahead;
mod allowance;
mod places;
mod reader_messages;
mod reader_process;
mod reader_role;
mod tenant_readings;

pub(crate) use reader_role::run as run_reader;
pub(crate) use tenant_readings::TenantReadings;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, OnceLock};

use postern_config::{Config, TenantFolder, Unread};
use postern_core::{Observer, Report, What};

use crate::role::OwnProgram;
use crate::watch::{Noticed, UserFolders};
use again::Again;
use places::{Places, SLOW_FOR};

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

    fn note_missing(&self, missing: Vec<String>) {
        if self.missing.set(missing).is_ok() {
            for missing in self.missing_barriers().into_iter().flatten() {
                let (role, detail) = ("reader".into(), missing.as_str().into());
                self.observer.report(&Report::new(What::BarrierMissing { role, detail }));
            }
        }
    }

    fn report_not_watched(&self, folder: &TenantFolder, error: &str) {
        let (folder, error) = (Some(folder.path.clone().into()), error.into());
        self.observer.report(&Report::new(What::NotWatched { folder, error }));
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

/// What to do about files that were not read in time.
const SEE_TO: &str = "see to the disk that it is on, and to who may stop processes of its user";

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

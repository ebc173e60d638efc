//! GrantFiles: writes for each tenant what it is granted where its own `posternd check` reads it, whenever a configuration comes into force.
//!
//! Nothing of the daemon depends on these files, and it never reads one: that they cannot be written is a warning.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use postern_config::{Config, GrantFile, tenant_named};
use postern_core::{Observer, Report, TenantId, What};
use postern_text::panic::PastPanic;
use rustix::process::geteuid;
use thiserror::Error;

use crate::state;

/// The folder in that for what is gone with the daemon.
const FOLDER: &str = "tenants";
const EXTENSION: &str = "toml";
/// Everyone may know what is in them, and enters the folders on the way.
const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
const OTHERS_WRITE: u32 = 0o022;

/// Why what tenants are granted is not where they look for it.
#[derive(Debug, Error)]
enum GrantFilesError {
    /// The folder cannot be made, read or changed.
    #[error("{} cannot be written: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// Another user could put files there.
    #[error("{} could be written by others than root and the daemon's user; take it away", .0.display())]
    Distrusted(PathBuf),
    /// A tenant's folder has a name that TOML cannot have.
    #[error("the folder of tenant {0} has a name that is no UTF-8; give it another")]
    NoText(TenantId),
}

/// What is to be written for each tenant; none if it cannot be said.
type Texts = Vec<(TenantId, Option<String>)>;

/// What is written next.
type Newest = Arc<Mutex<Option<Texts>>>;

/// Writes them, one after the other.
struct Writer {
    folder: PathBuf,
    observer: Arc<dyn Observer>,
    /// Whether it could not, last time.
    is_failing: bool,
}

/// Writes them, on a thread of its own: a file system may hang, and nobody waits for this.
pub(crate) struct GrantFiles {
    newest: Newest,
    wake: SyncSender<()>,
}

impl GrantFiles {
    /// Writes nothing yet. `observer` gets a report when it begins to fail.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(crate) fn start(observer: Arc<dyn Observer>) -> io::Result<Self> {
        let newest = Newest::default();
        let (wake, woken) = sync_channel(1);
        let grants = Self { newest: Arc::clone(&newest), wake };
        let mut writer = Writer { folder: folder(), observer, is_failing: false };
        let next = move || newest.lock().past_panic().take();
        // It ends with its sender.
        let work = move || {
            while woken.recv().is_ok() {
                next().into_iter().for_each(|texts| writer.write(&texts));
            }
        };
        thread::Builder::new().name("grants".to_owned()).spawn(work)?;
        Ok(grants)
    }

    /// Has what this configuration grants written, in place of what the one before does.
    pub(crate) fn write(&self, config: &Config) {
        let text = |tenant| GrantFile::of(config, tenant).text();
        let texts = config.tenants.iter().map(|tenant| (tenant.id.clone(), text(tenant))).collect();
        *self.newest.lock().past_panic() = Some(texts);
        // If it is full the thread has not woken yet, and will take this.
        let _ = self.wake.try_send(());
    }
}

/// The file that says what a tenant is granted.
pub(crate) fn file_of(tenant: &TenantId) -> PathBuf {
    folder().join(name_of(tenant))
}

fn folder() -> PathBuf {
    state::runtime_folder().join(FOLDER)
}

fn name_of(tenant: &TenantId) -> String {
    format!("{tenant}.{EXTENSION}")
}

impl Writer {
    /// That it cannot is reported when it begins, and not each time.
    fn write(&mut self, texts: &Texts) {
        let written = write_all(&self.folder, texts);
        if let (Err(error), false) = (&written, self.is_failing) {
            let detail = error.to_string().into();
            self.observer.report(&Report::new(What::GrantsNotWritten { detail }));
        }
        self.is_failing = written.is_err();
    }
}

/// Writes each file that can be written, and removes those of others; the first reason why one could not.
fn write_all(folder: &Path, texts: &Texts) -> Result<(), GrantFilesError> {
    if texts.is_empty() && !folder.exists() {
        return Ok(());
    }
    make(folder)?;
    let mut done = remove_others(folder, texts);
    for (tenant, text) in texts {
        let written = match text {
            Some(text) => write(folder, &name_of(tenant), text),
            None => Err(GrantFilesError::NoText(tenant.clone())),
        };
        done = done.and(written);
    }
    done
}

/// Makes the folder, and those on the way that are missing.
fn make(folder: &Path) -> Result<(), GrantFilesError> {
    let failed = |error| GrantFilesError::Io(folder.to_owned(), error);
    let parents: Vec<_> = folder.ancestors().take_while(|parent| !parent.exists()).collect();
    for parent in parents.into_iter().rev() {
        DirBuilder::new().mode(FOLDER_MODE).create(parent).map_err(failed)?;
        // Whatever the process's mask is.
        fs::set_permissions(parent, Permissions::from_mode(FOLDER_MODE)).map_err(failed)?;
    }
    let found = fs::symlink_metadata(folder).map_err(failed)?;
    let is_ours = found.uid() == geteuid().as_raw() || found.uid() == 0;
    if !found.is_dir() || !is_ours || found.mode() & OTHERS_WRITE != 0 {
        return Err(GrantFilesError::Distrusted(folder.to_owned()));
    }
    Ok(())
}

/// Removes the files of tenants that are not named here, and what a writer that was killed has left.
fn remove_others(folder: &Path, texts: &Texts) -> Result<(), GrantFilesError> {
    let failed = |error| GrantFilesError::Io(folder.to_owned(), error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let has_file = |id: &TenantId| texts.iter().any(|(known, text)| known == id && text.is_some());
        if tenant_of(&name).is_some_and(|tenant| !has_file(&tenant)) || is_unfinished(&name) {
            fs::remove_file(folder.join(name)).map_err(failed)?;
        }
    }
    Ok(())
}

/// Whose file has this name; none if it is none of ours.
fn tenant_of(name: &OsString) -> Option<TenantId> {
    let (stem, EXTENSION) = name.to_str()?.rsplit_once('.')? else { return None };
    tenant_named(stem).ok()
}

/// The name of a file until it has its own.
fn unfinished(name: &str) -> String {
    format!(".{name}.new")
}

fn is_unfinished(name: &OsString) -> bool {
    let name = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".new"));
    name.is_some_and(|name| tenant_of(&name.into()).is_some())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), GrantFilesError> {
    let path = folder.join(name);
    let beside = folder.join(unfinished(name));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&beside)?;
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        file.write_all(text.as_bytes())?;
        fs::rename(&beside, &path)
    };
    write().map_err(|error| GrantFilesError::Io(path.clone(), error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use postern_core::DropReason;

    use super::*;

    /// Counts reports that nothing could be written.
    #[derive(Default)]
    struct Told(AtomicUsize);

    impl Observer for Told {
        fn report(&self, report: &Report<'_>) {
            assert!(matches!(report.what, What::GrantsNotWritten { .. }), "{report:?}");
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
    }

    fn texts(names: &[&str]) -> Texts {
        names.iter().map(|name| (TenantId::new(name), Some(format!("# {name}\n")))).collect()
    }

    /// The names of all files, with what they say.
    fn found(folder: &Path) -> String {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let shown = |path: &PathBuf| {
            format!("{} {}", path.file_name().unwrap().display(), fs::read_to_string(path).unwrap())
        };
        files.iter().map(shown).collect()
    }

    #[test]
    fn each_tenant_has_a_file_that_all_may_read_and_others_have_none() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run/tenants");
        write_all(&folder, &texts(&[])).unwrap();
        assert!(!folder.exists(), "no tenants, no folder");
        write_all(&folder, &texts(&["a", "b-2"])).unwrap();
        assert_eq!(found(&folder), "a.toml # a\nb-2.toml # b-2\n");
        for (path, mode) in [("run", 0o755), ("run/tenants", 0o755), ("run/tenants/a.toml", 0o644)] {
            let found = fs::metadata(dir.path().join(path)).unwrap().mode();
            assert_eq!(found & 0o7777, mode, "{path}");
        }
        // What is none of ours stays, and what was left half written does not.
        for name in [".a.toml.new", ".c.toml.new", "README", "x y.toml", "host.toml", ".d.toml"] {
            fs::write(folder.join(name), "?").unwrap();
        }
        let opened = fs::read_to_string(folder.join("a.toml")).unwrap();
        write_all(&folder, &texts(&["a", "c"])).unwrap();
        assert_eq!(opened, "# a\n");
        assert_eq!(found(&folder), ".d.toml ?README ?a.toml # a\nc.toml # c\nhost.toml ?x y.toml ?");
        // One that cannot be written keeps no other from being written, and what was there is no more.
        let mut some = texts(&["b", "c"]);
        some.insert(1, (TenantId::new("a"), None));
        let why = write_all(&folder, &some).unwrap_err().to_string();
        assert_eq!(why, "the folder of tenant a has a name that is no UTF-8; give it another");
        assert_eq!(found(&folder), ".d.toml ?README ?b.toml # b\nc.toml # c\nhost.toml ?x y.toml ?");
        write_all(&folder, &texts(&[])).unwrap();
        assert_eq!(found(&folder), ".d.toml ?README ?host.toml ?x y.toml ?");
    }

    #[test]
    fn nothing_is_written_where_others_could_have_been_before() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        symlink("open", dir.path().join("link")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for name in ["open", "link", "file"] {
            let refused = write_all(&dir.path().join(name), &texts(&["a"]));
            assert!(matches!(refused, Err(GrantFilesError::Distrusted(_))), "{name}: {refused:?}");
        }
        assert_eq!(found(&open), "");
    }

    #[test]
    fn that_it_fails_is_said_once_until_it_is_done_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("tenants");
        let told = Arc::new(Told::default());
        let observer = Arc::clone(&told) as Arc<dyn Observer>;
        let mut writer = Writer { folder: folder.clone(), observer, is_failing: false };
        for (is_blocked, reports) in [(true, 1), (true, 1), (false, 1), (true, 2)] {
            let _ = fs::remove_dir_all(&folder);
            let _ = fs::remove_file(&folder);
            if is_blocked {
                fs::write(&folder, "").unwrap();
            }
            writer.write(&texts(&["a"]));
            assert_eq!(told.0.load(Ordering::Relaxed), reports, "{is_blocked}");
        }
    }
}

//! Presence: whether the files of rules are still there. Those of a tenant with a user of its own are looked for as that user, like they are read.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use postern_config::{Config, FolderBounds, OpenError, TenantFiles, TenantFolder, TenantUser, Trust};
use postern_text::panic::PastPanic;

/// Folders that are known; those that no configuration names any more are forgotten then.
const MOST_FOLDERS: usize = 4096;

/// Which folders are whose.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// Also of configurations before the newest: one of them may be in force.
    folders: Mutex<HashMap<PathBuf, (TenantUser, Trust)>>,
}

/// What is in a folder; none if that cannot be known now.
type Names = Option<HashSet<OsString>>;

impl Presence {
    /// Takes note of the tenants of a configuration.
    pub(super) fn note(&self, config: &Config) {
        let mut folders = self.folders.lock().past_panic();
        if folders.len() >= MOST_FOLDERS {
            folders.clear();
        }
        folders.remove(&config.rules_dir);
        for tenant in &config.tenants {
            match &tenant.user {
                Some(user) => folders.insert(tenant.rules_dir.clone(), (user.clone(), config.trust)),
                None => folders.remove(&tenant.rules_dir),
            };
        }
    }

    /// Which of these files are not there any more. May never return.
    pub(super) fn gone(&self, files: &[PathBuf], readers: &dyn TenantFiles) -> Vec<bool> {
        let mut listed: HashMap<PathBuf, Names> = HashMap::new();
        let is_gone = |file: &PathBuf| {
            let Some((dir, name)) = file.parent().zip(file.file_name()) else { return is_gone(file) };
            let folder = self.folders.lock().past_panic().get(dir).cloned();
            let Some((user, trust)) = folder else { return is_gone(file) };
            let names = listed.entry(dir.to_owned()).or_insert_with(|| list(dir, &user, trust, readers));
            names.as_ref().is_some_and(|names| !names.contains(name))
        };
        files.iter().map(is_gone).collect()
    }
}

fn list(dir: &Path, user: &TenantUser, trust: Trust, readers: &dyn TenantFiles) -> Names {
    match TenantFolder::open(dir, user, trust) {
        Ok(folder) => readers.names(&folder, FolderBounds::LARGEST).ok(),
        // Then nothing is in it.
        Err(OpenError::Io(error)) if is_absence(error.kind()) => Some(HashSet::new()),
        Err(_) => None,
    }
}

/// Whether there is no such file any more.
fn is_gone(file: &Path) -> bool {
    file.symlink_metadata().is_err_and(|error| is_absence(error.kind()))
}

fn is_absence(kind: ErrorKind) -> bool {
    [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&kind)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use postern_config::{Activity, OwnFiles};
    use rustix::process::geteuid;

    use super::*;

    #[test]
    fn files_are_looked_for_as_they_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["rules", "a", "b"] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("x.toml"), "").unwrap();
        }
        let config = "interfaces = [\"lo\"]\n[doors.ssh]\nguard = \"tcp/22\"\n[tenants.a]\nrules = \"a\"\n";
        fs::write(at("postern.toml"), config).unwrap();
        let read = Config::read(&at("postern.toml"), Trust::Anybody, &OwnFiles, &Activity::default());
        let mut config = read.config.unwrap();
        let presence = Presence::default();
        let files = ["rules/x.toml", "rules/y.toml", "a/x.toml", "a/y.toml", "b/x.toml", "c/x.toml"].map(at);
        let plain = [false, true, false, true, false, true];
        presence.note(&config);
        assert_eq!(presence.gone(&files, &OwnFiles), plain);
        // As another user, who cannot be had here, nothing is known of them.
        let own = geteuid().as_raw();
        config.tenants[0].user = Some(TenantUser::new("other", own + 1, 0));
        presence.note(&config);
        assert_eq!(presence.gone(&files, &OwnFiles), [false, true, false, false, false, true]);
        config.tenants[0].user = Some(TenantUser::new("own", own, 0));
        presence.note(&config);
        assert_eq!(presence.gone(&files, &OwnFiles), plain);
        fs::rename(at("a"), at("away")).unwrap();
        assert_eq!(presence.gone(&files, &OwnFiles), [false, true, true, true, false, true]);
    }
}

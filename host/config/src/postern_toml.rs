//! PosternToml: a postern.toml with the rule files beside it, as a source of configurations.

use std::path::{Component, Path, PathBuf};

use postern_core::{ConfigIdentity, GuardDoor, Likeness, Observer};
use sha2::{Digest, Sha256};

use crate::activity::Activity;
use crate::advice::Advice;
use crate::config::{Config, ConfigReading};
use crate::process_user::ProcessUser;
use crate::programs::{self, ProgramAdvice};
use crate::source::ConfigSource;
use crate::tenant_files::TenantFiles;
use crate::trust::Trust;

/// `postern.toml` and its rules, and which owners' files are accepted.
#[derive(Clone, Debug)]
pub struct PosternToml {
    file: PathBuf,
    trust: Trust,
}

impl PosternToml {
    /// The one at `file`; `trust` says which owners' files are accepted.
    #[must_use]
    pub fn new(file: PathBuf, trust: Trust) -> Self {
        // Without `./` in it: mistakes name what is beside it.
        Self { file: file.components().collect(), trust }
    }
}

impl ConfigSource for PosternToml {
    fn read(&self, files: &dyn TenantFiles, activity: &Activity, _observer: &dyn Observer) -> ConfigReading {
        Config::read(&self.file, self.trust, files, activity)
    }

    fn guards(&self) -> Vec<GuardDoor> {
        Config::guards(&self.file, self.trust)
    }

    fn process_user(&self) -> Option<ProcessUser> {
        Config::process_user(&self.file, self.trust)
    }

    fn identity(&self) -> Option<ConfigIdentity> {
        Some(config_identity(&self.file))
    }

    fn file(&self) -> &Path {
        &self.file
    }

    fn watched(&self) -> Option<&Path> {
        Some(&self.file)
    }

    fn journal_stem(&self) -> &'static str {
        "postern"
    }

    fn needs_journal(&self) -> bool {
        true
    }

    fn has_tenants(&self) -> bool {
        true
    }

    fn uses_tokens(&self) -> bool {
        true
    }

    fn likeness(&self) -> Likeness {
        Likeness::Exact
    }

    fn advice(&self, config: &Config) -> Vec<Advice> {
        let waived = match (self.trust, config.trust) {
            (Trust::Anybody, _) => Some(("--no-strict-modes", "postern.toml, rule files and modules")),
            (Trust::Strict, Trust::Anybody) => Some(("strict_modes = false", "rule files and modules")),
            (Trust::Strict, Trust::Strict) => None,
        };
        let waived = waived.map(|(by, files)| {
            let what =
                format!("{by}: {files} are taken even if others can write them, and so decide who gets in");
            Advice::new(what, format!("let only root write them, and leave {by} out"))
        });
        let remote = config.metrics.is_remote().then(|| {
            Advice::new(
                "[metrics] remote = true: other machines may read the names of tenants, rules and doors, and when somebody knocks",
                "guard the port, or let the firewall admit the monitoring system alone",
            )
        });
        let programs = self.program_advice(config).into_iter().map(Advice::from);
        waived.into_iter().chain(programs).chain(remote).collect()
    }

    fn program_advice(&self, config: &Config) -> Vec<ProgramAdvice> {
        match self.trust.unless_waived(config.trust) {
            Trust::Strict => programs::advice(config),
            Trust::Anybody => Vec::new(),
        }
    }
}

/// How the guard names the configuration at `file`: by its path as given, with symbolic links, since one may be switched to the next
/// version of the same configuration.
#[must_use]
pub fn config_identity(file: &Path) -> ConfigIdentity {
    let mut path = PathBuf::new();
    for part in std::path::absolute(file).unwrap_or_else(|_| file.to_owned()).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
    }
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let digest: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    ConfigIdentity::new(&digest, &path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_path_is_the_same_configuration() {
        let here = std::env::current_dir().unwrap();
        let is = |a: &Path, b: &Path| config_identity(a).is(&config_identity(b));
        assert!(is(Path::new("a.toml"), &here.join("a.toml")));
        assert!(is(Path::new("./x/../a.toml"), &here.join("a.toml")));
        assert!(!is(Path::new("/etc/a.toml"), Path::new("/etc/b.toml")));
        assert_eq!(config_identity(Path::new("/etc/../etc/a.toml")).to_string(), "/etc/a.toml");
    }
}

//! Written: where the configuration is written, and in whose words.

use std::path::{Component, Path, PathBuf};

use postern_core::{ConfigIdentity, GuardDoor, Likeness};
use sha2::{Digest, Sha256};

use crate::activity::Activity;
use crate::config::{Config, Reading};
use crate::knockd::source::Source;
use crate::trust::Trust;

/// A configuration, as files.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// `postern.toml` and its rules, and whose files are taken.
    Postern(PathBuf, Trust),
    /// A knockd.conf, with what its command line said.
    Knockd(Source),
}

impl Written {
    /// Reads it. What is right of it is there even if there are mistakes.
    pub(crate) fn read(&self, activity: &Activity) -> Reading {
        match self {
            Self::Postern(file, trust) => Config::read(file, *trust, activity),
            Self::Knockd(source) => {
                let (config, mistakes) = source.read();
                Reading { config, mistakes, files: Vec::new() }
            }
        }
    }

    /// Whatever can be made out of its guard doors, whatever else is wrong.
    pub(crate) fn guards(&self) -> Vec<GuardDoor> {
        match self {
            Self::Postern(file, trust) => Config::guards(file, *trust),
            Self::Knockd(_) => Vec::new(),
        }
    }

    /// How the guard names it; none if it can have no guard doors.
    pub(crate) fn identity(&self) -> Option<ConfigIdentity> {
        match self {
            Self::Postern(file, _) => Some(identity(file)),
            Self::Knockd(_) => None,
        }
    }

    /// The file that says it, or says where the rest is.
    pub(crate) fn file(&self) -> &Path {
        match self {
            Self::Postern(file, _) => file,
            Self::Knockd(source) => source.file(),
        }
    }

    /// What its journal in the state folder is called, without number and ending.
    pub(crate) const fn journal_stem(&self) -> &'static str {
        match self {
            Self::Postern(..) => "postern",
            Self::Knockd(_) => "knockd",
        }
    }

    /// Which packets are one and the same. What a target of a knockd.conf gets may be seen coming in and leaving again.
    pub(crate) const fn likeness(&self) -> Likeness {
        match self {
            Self::Postern(..) => Likeness::Exact,
            Self::Knockd(_) => Likeness::AcrossRouters,
        }
    }

    /// The file to watch for changes; none if only a signal reloads it, as knockd has it.
    pub(crate) fn watched(&self) -> Option<&Path> {
        match self {
            Self::Postern(file, _) => Some(file),
            Self::Knockd(_) => None,
        }
    }
}

/// How the guard names the configuration at `file`: by its path as it is said, since a link on the way may be turned around to the next
/// version of the same.
pub(crate) fn identity(file: &Path) -> ConfigIdentity {
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
        let is = |a: &Path, b: &Path| identity(a).is(&identity(b));
        assert!(is(Path::new("a.toml"), &here.join("a.toml")));
        assert!(is(Path::new("./x/../a.toml"), &here.join("a.toml")));
        assert!(!is(Path::new("/etc/a.toml"), Path::new("/etc/b.toml")));
        assert_eq!(identity(Path::new("/etc/../etc/a.toml")).to_string(), "/etc/a.toml");
    }
}

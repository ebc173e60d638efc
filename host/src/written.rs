//! Written: where the configuration is written, and in whose words.

use std::path::{Path, PathBuf};

use crate::config::{Config, Mistake};
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
    /// Reads it. What is right of it is there even if there are mistakes; see [`Config::read`].
    pub(crate) fn read(&self) -> (Option<Config>, Vec<Mistake>) {
        match self {
            Self::Postern(file, trust) => Config::read(file, *trust),
            Self::Knockd(source) => source.read(),
        }
    }

    /// The name of its journal in the state folder.
    pub(crate) const fn journal_name(&self) -> &'static str {
        match self {
            Self::Postern(..) => "postern.redb",
            Self::Knockd(_) => "knockd.redb",
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

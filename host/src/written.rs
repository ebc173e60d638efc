//! Written: where the configuration is written, and in whose words.

use std::path::{Path, PathBuf};

use crate::config::{Config, Mistake};
use crate::knockd::source::Source;

/// A configuration, as files.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// `postern.toml` and its rules.
    Postern(PathBuf),
    /// A knockd.conf, with what its command line said.
    Knockd(Source),
}

impl Written {
    /// Reads it. What is right of it is there even if there are mistakes; see [`Config::read`].
    pub(crate) fn read(&self) -> (Option<Config>, Vec<Mistake>) {
        match self {
            Self::Postern(file) => Config::read(file),
            Self::Knockd(source) => source.read(),
        }
    }

    /// What its journal in the state folder is called, without number and ending.
    pub(crate) const fn journal_stem(&self) -> &'static str {
        match self {
            Self::Postern(_) => "postern",
            Self::Knockd(_) => "knockd",
        }
    }

    /// The file to watch for changes; none if only a signal reloads it, as knockd has it.
    pub(crate) fn watched(&self) -> Option<&Path> {
        match self {
            Self::Postern(file) => Some(file),
            Self::Knockd(_) => None,
        }
    }
}

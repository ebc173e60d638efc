//! KnownConf: what the reader of a knockd.conf hands to the knockd log: the sections by name, and the logfile.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use postern_text::panic::PastPanic;

/// What the knockd log must know of the configuration, as it was last read.
#[derive(Debug, Default)]
pub(crate) struct KnownConf {
    pub(crate) file: PathBuf,
    /// What paths in the file are relative to.
    pub(crate) folder: PathBuf,
    log_file: Mutex<Option<PathBuf>>,
    sections: Mutex<KnownSections>,
}

/// The section behind each name of a rule and its door.
pub(crate) type KnownSections = HashMap<Arc<str>, KnownSection>;

/// A section of a knockd.conf, as far as messages name it.
#[derive(Clone, Debug)]
pub(crate) struct KnownSection {
    /// Its name in the file; another section may have the same.
    pub(crate) name: Arc<str>,
    /// How many steps its sequence has.
    pub(crate) steps: usize,
}

impl KnownConf {
    pub(crate) fn new(file: PathBuf, folder: PathBuf) -> Self {
        Self { file, folder, ..Self::default() }
    }

    /// The configuration was read: where the log goes, and its sections.
    pub(crate) fn learn(&self, log_file: Option<PathBuf>, sections: KnownSections) {
        *self.log_file.lock().past_panic() = log_file;
        *self.sections.lock().past_panic() = sections;
    }

    pub(crate) fn log_file(&self) -> Option<PathBuf> {
        let path = self.log_file.lock().past_panic().clone();
        path.filter(|path| !path.as_os_str().is_empty())
    }

    /// How many steps the sequence of a rule has; 0 if there is no such rule any more.
    pub(crate) fn steps(&self, rule: &str) -> usize {
        self.section(rule).map_or(0, |section| section.steps)
    }

    /// The name in the file of the section whose rule or door has this name.
    pub(crate) fn section_name(&self, name: &str) -> Arc<str> {
        self.section(name).map_or_else(|| name.into(), |section| section.name)
    }

    fn section(&self, name: &str) -> Option<KnownSection> {
        self.sections.lock().past_panic().get(name).cloned()
    }
}

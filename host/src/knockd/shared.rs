//! Shared: what is known of a knockd.conf by who reads it, and needed by who speaks of it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use postern_text::panic::PastPanic;

/// What those who read the configuration know and those who speak of it must.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) file: PathBuf,
    /// What paths in the file are relative to.
    pub(super) folder: PathBuf,
    log_file: Mutex<Option<PathBuf>>,
    sections: Mutex<Sections>,
}

/// The section behind each name of a rule and its door.
pub(super) type Sections = HashMap<Arc<str>, Section>;

/// A section of a knockd.conf, as far as one must know it to speak of it.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// As its author calls it; another may be called the same.
    pub(super) name: Arc<str>,
    /// How many steps its sequence has.
    pub(super) steps: usize,
}

impl Shared {
    pub(super) fn new(file: PathBuf, folder: PathBuf) -> Self {
        Self { file, folder, ..Self::default() }
    }

    /// The configuration was read: where the log goes, and its sections.
    pub(super) fn learn(&self, log_file: Option<PathBuf>, sections: Sections) {
        *self.log_file.lock().past_panic() = log_file;
        *self.sections.lock().past_panic() = sections;
    }

    pub(super) fn log_file(&self) -> Option<PathBuf> {
        let path = self.log_file.lock().past_panic().clone();
        path.filter(|path| !path.as_os_str().is_empty())
    }

    /// How many steps the sequence of a rule has; 0 if there is no such rule any more.
    pub(super) fn steps(&self, rule: &str) -> usize {
        self.section(rule).map_or(0, |section| section.steps)
    }

    /// What the author of the section calls the rule or door of this name.
    pub(super) fn section_name(&self, name: &str) -> Arc<str> {
        self.section(name).map_or_else(|| name.into(), |section| section.name)
    }

    fn section(&self, name: &str) -> Option<Section> {
        self.sections.lock().past_panic().get(name).cloned()
    }
}

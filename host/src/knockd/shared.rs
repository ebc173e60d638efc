//! Shared: what is known of a knockd.conf by who reads it, and needed by who speaks of it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// What those who read the configuration know and those who speak of it must.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) file: PathBuf,
    /// What paths in the file are relative to.
    pub(super) folder: PathBuf,
    log_file: Mutex<Option<PathBuf>>,
    /// For each rule, how many steps it has.
    steps: Mutex<HashMap<String, usize>>,
}

impl Shared {
    pub(super) fn new(file: PathBuf, folder: PathBuf) -> Self {
        Self { file, folder, ..Self::default() }
    }

    /// The configuration was read: where the log goes, and how many steps each rule has.
    pub(super) fn learn(&self, log_file: Option<PathBuf>, steps: HashMap<String, usize>) {
        *self.log_file.lock().unwrap_or_else(PoisonError::into_inner) = log_file;
        *self.steps.lock().unwrap_or_else(PoisonError::into_inner) = steps;
    }

    pub(super) fn log_file(&self) -> Option<PathBuf> {
        let path = self.log_file.lock().unwrap_or_else(PoisonError::into_inner).clone();
        path.filter(|path| !path.as_os_str().is_empty())
    }

    pub(super) fn steps(&self, rule: &str) -> usize {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).get(rule).copied().unwrap_or(0)
    }
}

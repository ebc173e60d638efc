//! Source: a knockd.conf with what its command line said, as the daemon reads it again and again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::conf::{Conf, one_time, steps_text};
use super::log::system_text;
use super::options::Options;
use super::shared::Shared;
use super::translate::{Translation, translate};
use crate::config::{Config, Mistake, OneTime};

/// A knockd.conf, and what its command line said.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(super) options: Arc<Options>,
    /// Fixed at the start, as knockd has it.
    pub(super) interface: String,
    pub(super) shared: Arc<Shared>,
}

/// Why a one-time sequence was not used up; its door is then not opened.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Unspent {
    /// The file is another one by now, or has something else in the sequence's place.
    #[error(
        "{} was changed or replaced and has another line in the place of the one that was used; SIGHUP reads it anew",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The system does not let the line be crossed out.
    #[error("{}: {why}; let it be read and written, then SIGHUP reads it anew", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// The system's word for it.
        why: String,
    },
}

impl Source {
    /// The knockd.conf.
    pub(crate) fn file(&self) -> &Path {
        &self.shared.file
    }

    /// Uses a one-time sequence up, on the disk, before anything is opened for it.
    ///
    /// # Errors
    /// If that cannot be done. In a file that was changed meanwhile nothing is crossed out: it would be another sequence.
    pub(crate) fn spend(one_time: &OneTime) -> Result<(), Unspent> {
        let path = &one_time.path;
        let failed = |error: io::Error| Unspent::Failed { path: path.clone(), why: system_text(&error) };
        let (mut file, lines) = one_time::open(path).map_err(failed)?;
        let line = lines.iter().find(|line| line.offset == one_time.offset).and_then(one_time::Line::unused);
        if line.map(steps_text).as_ref() != Some(&one_time.steps) {
            return Err(Unspent::Changed { path: path.clone() });
        }
        one_time::mark_used(&mut file, one_time.offset).map_err(failed)
    }

    /// Reads the configuration as it is now.
    pub(crate) fn read(&self) -> (Option<Config>, Vec<Mistake>) {
        let file = &self.shared.file;
        let whole = |line, what| Mistake { file: file.clone(), line, key: String::new(), what };
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) => return (None, vec![whole(None, format!("cannot be read: {error}"))]),
        };
        let (conf, mistakes) = Conf::parse(file, &text);
        if !mistakes.is_empty() {
            let mistakes = mistakes.iter().map(|mistake| whole(Some(mistake.line), mistake.words()));
            return (None, mistakes.collect());
        }
        let (Translation { config, sections }, mistakes) =
            translate(&self.shared, &conf, &self.options, &self.interface);
        if !mistakes.is_empty() {
            return (None, mistakes);
        }
        // The file's LogFile counts more than the command line's.
        let log_file = conf.log_file.or_else(|| self.options.logfile.clone());
        self.shared.learn(log_file, sections);
        (Some(config), Vec::new())
    }
}

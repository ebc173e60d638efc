//! Source: a knockd.conf with what its command line said, as the daemon reads it again and again.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::conf::{Conf, one_time};
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

impl Source {
    /// The knockd.conf.
    pub(crate) fn file(&self) -> &Path {
        &self.shared.file
    }

    /// Uses a one-time sequence up, on the disk, before anything is opened for it.
    pub(crate) fn spend(one_time: &OneTime) -> io::Result<()> {
        let (mut file, lines) = one_time::open(&one_time.path)?;
        let is_unused = |line: &one_time::Line| line.offset == one_time.offset && line.unused().is_some();
        if !lines.iter().any(is_unused) {
            return Err(io::Error::other("the line is not there any more"));
        }
        one_time::mark_used(&mut file, one_time.offset)
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
        let (Translation { config, steps }, mistakes) =
            translate(&self.shared, &conf, &self.options, &self.interface);
        if !mistakes.is_empty() {
            return (None, mistakes);
        }
        // The file's LogFile counts more than the command line's.
        let log_file = conf.log_file.or_else(|| self.options.logfile.clone());
        self.shared.learn(log_file, steps);
        (Some(config), Vec::new())
    }
}

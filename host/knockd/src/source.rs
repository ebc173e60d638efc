//! KnockdSource: a knockd.conf with the command line's options, as a source of configurations that is read again at each reload.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_config::{
    Activity, Advice, Config, ConfigReading, ConfigSource, Distrust, Mistake, OneTime, TenantFiles, Trust,
};
use postern_core::{Likeness, Observer};
use thiserror::Error;

use crate::conf::{Conf, one_time, steps_text};
use crate::known_conf::KnownConf;
use crate::log::system_text;
use crate::options::Options;
use crate::translate::{Translation, translate};

/// A knockd.conf, and the options of the command line.
#[derive(Clone, Debug)]
pub(crate) struct KnockdSource {
    pub(crate) options: Arc<Options>,
    /// Fixed at the start, as knockd has it.
    pub(crate) interface: String,
    pub(crate) known_conf: Arc<KnownConf>,
}

/// Why a one-time sequence was not used up; its door is then not opened.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
enum Unspent {
    /// The file was replaced, or has another text in the sequence's place.
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

/// As knockd has it: a signal alone reloads it, and its commands run without a journal.
impl ConfigSource for KnockdSource {
    fn read(&self, _files: &dyn TenantFiles, _activity: &Activity, observer: &dyn Observer) -> ConfigReading {
        let (config, mistakes) = self.read_conf(observer);
        ConfigReading { config, mistakes, ..ConfigReading::default() }
    }

    fn file(&self) -> &Path {
        &self.known_conf.file
    }

    fn journal_stem(&self) -> &'static str {
        "knockd"
    }

    /// A packet to a target may be captured when it comes in and when it leaves again.
    fn likeness(&self) -> Likeness {
        Likeness::AcrossRouters
    }

    /// knockd takes files that others can write, and so do we.
    fn advice(&self, config: &Config) -> Vec<Advice> {
        let one_time = config.rules.iter().filter_map(|rule| rule.one_time.as_ref());
        let files = one_time.map(|line| line.path.as_path());
        let mut lines: Vec<_> = std::iter::once(self.file())
            .chain(files)
            .filter_map(|path| Trust::Strict.distrust(path))
            .map(|Distrust { path, what, remedy }| Advice::new(format!("{}: {what}", path.display()), remedy))
            .collect();
        lines.sort();
        lines.dedup();
        lines
    }

    fn claim(&self, line: &OneTime) -> Result<(), String> {
        strike_out(line).map_err(|error| error.to_string())
    }
}

impl KnockdSource {
    /// Reads the configuration as it is now; `observer` gets a report of each door that is left out because no one-time sequence is left.
    pub(crate) fn read_conf(&self, observer: &dyn Observer) -> (Option<Config>, Vec<Mistake>) {
        let file = &self.known_conf.file;
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
            translate(&self.known_conf, &conf, &self.options, &self.interface, observer);
        if !mistakes.is_empty() {
            return (None, mistakes);
        }
        // The file's LogFile counts more than the command line's.
        let log_file = conf.log_file.or_else(|| self.options.logfile.clone());
        self.known_conf.learn(log_file, sections);
        (Some(config), Vec::new())
    }
}

/// Strikes a one-time sequence out, on the disk. In a file that was changed meanwhile nothing is struck out: it would be another sequence.
fn strike_out(one_time: &OneTime) -> Result<(), Unspent> {
    let path = &one_time.path;
    let failed = |error: io::Error| Unspent::Failed { path: path.clone(), why: system_text(&error) };
    let (mut file, lines) = one_time::open(path).map_err(failed)?;
    let line =
        lines.iter().find(|line| line.offset == one_time.offset).and_then(one_time::OneTimeLine::unused);
    if line.map(steps_text).as_ref() != Some(&one_time.steps) {
        return Err(Unspent::Changed { path: path.clone() });
    }
    one_time::mark_used(&mut file, one_time.offset).map_err(failed)
}

#[cfg(test)]
mod tests {
    use postern_config::NoFiles;

    use super::*;

    #[test]
    fn what_was_read_is_the_same_in_another_process() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lines"), " 7000,8000:udp\n").unwrap();
        let conf = b"[options]\nUseSyslog\n[a]\nsequence=1,2:udp\ntarget=192.0.2.1\nstart_command=echo \xff \"%IP%\"\nstart_command_6=six\ncmd_timeout=-1\n[b]\nOne_Time_Sequences=lines\nstop_command=x\n";
        let file = dir.path().join("knockd.conf");
        fs::write(&file, conf).unwrap();
        let source = KnockdSource {
            options: Arc::new(Options::default()),
            interface: "eth0".to_owned(),
            known_conf: Arc::new(KnownConf::new(file, dir.path().to_owned())),
        };
        let reading = source.read(&NoFiles, &Activity::default(), &());
        assert_eq!(reading.mistakes, []);
        let written = serde_json::to_vec(&reading).unwrap();
        let read: ConfigReading = serde_json::from_slice(&written).unwrap();
        assert_eq!(format!("{read:?}"), format!("{reading:?}"));
        let config = read.config.unwrap();
        assert_eq!(config.rules.iter().filter(|rule| rule.one_time.is_some()).count(), 1);
    }
}

//! Fuzzed: what any bytes are as a knockd.conf, for `tests/corpus` alone. It opens no file.

use std::path::{Path, PathBuf};

use postern_config::Config;
use postern_text::{Mistake, line};

use crate::conf::{Conf, one_time};
use crate::convert::{POSTERN_TOML, convert};
use crate::known_conf::KnownConf;
use crate::options::Options;
use crate::translate::{Translation, translate};

/// What the bytes of a knockd.conf are.
#[derive(Debug)]
pub enum ConfReading {
    /// Nothing that can be run: what is said of it, each on a line.
    Wrong(Vec<String>),
    /// A configuration whose one-time files would have to be read.
    OneTime,
    /// A configuration, which was translated and converted to Postern's own.
    Right {
        /// What the reader of that configuration finds wrong with it, which is nothing.
        converted: Vec<Mistake>,
    },
}

/// Reads `text` as a knockd.conf, and as a file of one-time sequences.
#[must_use]
pub fn read_conf(text: &[u8]) -> ConfReading {
    let lines = one_time::read_lines(text);
    let is_in_text = |line: &one_time::OneTimeLine| line.offset < text.len() as u64;
    assert!(lines.iter().all(is_in_text), "a line would be crossed out behind the file's end");
    let file = Path::new("/etc/knockd.conf");
    let (conf, mistakes) = Conf::parse(file, text);
    if !mistakes.is_empty() {
        return ConfReading::Wrong(mistakes.iter().map(|mistake| line(mistake).to_string()).collect());
    }
    if conf.doors.iter().any(|door| door.sequence.one_time_path().is_some()) {
        return ConfReading::OneTime;
    }
    let known_conf = KnownConf::new(file.to_owned(), PathBuf::from("/etc"));
    let (Translation { config, sections }, mistakes) =
        translate(&known_conf, &conf, &Options::default(), "eth0", &());
    if !mistakes.is_empty() {
        return ConfReading::Wrong(mistakes.iter().map(|mistake| line(mistake).to_string()).collect());
    }
    known_conf.learn(None, sections);
    let converted = convert(file, &known_conf, &config);
    let reading = Config::of_texts(Path::new(POSTERN_TOML), &converted.config, &converted.rules);
    ConfReading::Right { converted: reading.all_mistakes() }
}

//! Golden: the messages for each kind of mistake, word for word, in a file of its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs};

use super::syntax::SyntaxError;
use super::{Conf, ConfProblem, SequenceError, one_time};
use crate::options::Options;
use crate::source::KnockdSource;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/conf/golden");

/// Names all kinds, in one place: a kind without a name does not compile, and a name without a file fails.
macro_rules! kinds {
    ($($name:literal = $kind:pat,)*) => {
        const KINDS: &[&str] = &[$($name),*];

        fn kind(problem: &ConfProblem) -> &'static str {
            match problem {
                $($kind => $name,)*
            }
        }
    };
}

kinds! {
    "no_section" = ConfProblem::NoSection(None),
    "no_section_and_no_directive" = ConfProblem::NoSection(Some(_)),
    "byte_order_mark" = ConfProblem::ByteOrderMark,
    "no_section_name" = ConfProblem::NoSectionName,
    "nul" = ConfProblem::Syntax(SyntaxError::Nul),
    "section_line" = ConfProblem::Syntax(SyntaxError::SectionLine),
    "semicolon" = ConfProblem::Syntax(SyntaxError::Semicolon),
    "no_equals" = ConfProblem::Syntax(SyntaxError::NoEquals),
    "syslog_with_value" = ConfProblem::Syntax(SyntaxError::UseSyslogValue),
    "door_directive_in_options" = ConfProblem::Syntax(SyntaxError::ForDoor(_)),
    "option_in_door" = ConfProblem::Syntax(SyntaxError::ForOptions(_)),
    "unknown_option" = ConfProblem::Syntax(SyntaxError::UnknownOption(_)),
    "unknown_directive" = ConfProblem::Syntax(SyntaxError::UnknownDirective(_)),
    "long_line" = ConfProblem::Syntax(SyntaxError::TooLong(_)),
    "unknown_flag" = ConfProblem::UnknownFlag(_),
    "port" = ConfProblem::Sequence { error: SequenceError::Port(_), .. },
    "no_port" = ConfProblem::Sequence { error: SequenceError::NoPort, .. },
    "protocol" = ConfProblem::Sequence { error: SequenceError::Protocol(_), .. },
    "too_many_steps" = ConfProblem::Sequence { error: SequenceError::TooMany, .. },
    "no_sequence" = ConfProblem::NoSequence { .. },
    "one_time_closed" = ConfProblem::OneTimeClosed { .. },
    "one_time_spent" = ConfProblem::OneTimeSpent { .. },
}

/// What knockd takes, or does not notice, and what we find only when we put it into our own terms.
const LATER_KINDS: [&str; 3] = ["seq_cooldown", "seq_timeout", "target"];

/// Each `NAME.conf` has mistakes of the kind `NAME` and of no other, and all messages about them are in `NAME.txt`.
///
/// With `POSTERN_BLESS=1` in the environment the `.txt` files are written anew instead of compared; read what changed.
#[test]
fn each_kind_of_mistake_is_told_word_for_word() {
    let folder = Path::new(FOLDER);
    let is_blessed = env::var_os("POSTERN_BLESS").is_some_and(|value| value == "1");
    let kinds: BTreeSet<String> = KINDS.iter().chain(&LATER_KINDS).map(|&kind| kind.to_owned()).collect();
    assert_eq!(names(folder, "conf"), kinds, "a file for each kind");
    for name in &kinds {
        let conf = folder.join(name).with_extension("conf");
        let expected: &[&str] = if LATER_KINDS.contains(&name.as_str()) { &[] } else { &[name] };
        assert_eq!(kinds_in(&conf), expected, "{name}.conf");
        let told = told(&conf).replace(&format!("{FOLDER}/"), "");
        let txt = conf.with_extension("txt");
        if is_blessed {
            fs::write(&txt, &told).expect("the folder is ours");
        }
        assert_eq!(
            fs::read_to_string(&txt).unwrap_or_default(),
            told,
            "{name}.txt; POSTERN_BLESS=1 rewrites it"
        );
    }
    assert_eq!(names(folder, "txt"), kinds, "no text without a configuration");
}

/// The names of the files with this extension.
fn names(folder: &Path, extension: &str) -> BTreeSet<String> {
    let files = fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    let files = files.filter(|file| file.extension().is_some_and(|found| found == extension));
    files.map(|file| file.file_stem().unwrap_or_default().to_string_lossy().into_owned()).collect()
}

/// The kinds of the mistakes in a file, each once.
fn kinds_in(file: &Path) -> Vec<&'static str> {
    let (conf, mut mistakes) = Conf::parse(file, &fs::read(file).expect("a file"));
    mistakes.extend(one_time::check(file, &conf));
    let mut kinds: Vec<_> = mistakes.iter().map(|mistake| kind(&mistake.problem)).collect();
    kinds.dedup();
    kinds
}

/// All messages at the start, but for the usage.
fn told(file: &Path) -> String {
    match KnockdSource::open(Options { config: file.to_owned(), ..Options::default() }) {
        Ok(_) => String::new(),
        Err(told) => told.iter().map(|line| format!("{line}\n")).collect(),
    }
}

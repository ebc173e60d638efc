//! Mistake: file, line, key, and what to do.

use std::fmt;
use std::path::PathBuf;

use postern_text::{line, piece};

use crate::trust::Distrust;

/// Something that a person wrote and the daemon cannot follow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// In which file.
    pub file: PathBuf,
    /// In which line, from 1; none if it is about the file as a whole.
    pub line: Option<usize>,
    /// At which key, such as `doors.ssh.guard[1]`; may be empty.
    pub key: String,
    /// What is wrong and what would be right.
    pub what: String,
}

/// The same folder is one mistake, however many files are in it.
impl From<Distrust> for Mistake {
    fn from(Distrust { path, what }: Distrust) -> Self {
        Self { file: path, line: None, key: String::new(), what }
    }
}

/// One clean line, whatever its parts hold.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", piece(self.file.display()))?;
        if let Some(number) = self.line {
            write!(f, "{number}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", piece(&self.key))?;
        }
        write!(f, " {}", line(&self.what))
    }
}

/// All mistakes of a configuration, in the order of the files and their lines; one a line as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// These mistakes, in order.
    #[must_use]
    pub fn new(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort();
        mistakes.dedup();
        Self(mistakes)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }

    /// All of them in one line, for a log.
    pub fn in_one_line(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    /// How many, in words.
    #[must_use]
    pub fn count(&self) -> String {
        match self.0.len() {
            1 => "1 mistake".to_owned(),
            n => format!("{n} mistakes"),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

//! Mistake: file, line, key, and what to do.

use std::fmt;
use std::path::PathBuf;

use crate::clean::LONGEST_LINE;
use crate::{clean, line, piece};

/// Something that a person wrote in a file and the program cannot follow.
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

/// All mistakes that were found, each once, in the order of the files and their lines; one a line as text.
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

    /// All of them in one line, for a log; what is longer than [`LONGEST_LINE`] characters is cut.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let mut text = String::new();
        for mistake in &self.0 {
            // A character has at most four bytes, so these fill the line.
            if text.len() > 4 * LONGEST_LINE {
                break;
            }
            let separator = if text.is_empty() { "" } else { "; " };
            text.push_str(separator);
            text.push_str(&mistake.to_string());
        }
        clean(&text, LONGEST_LINE).into_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(line: Option<usize>, key: &str, what: &str) -> Mistake {
        Mistake { file: PathBuf::from("p.toml"), line, key: key.to_owned(), what: what.to_owned() }
    }

    #[test]
    fn each_is_a_clean_line_once_in_order() {
        let mistakes = Mistakes::new(vec![
            mistake(Some(7), "a.for", "`x\ny` is not a duration"),
            mistake(None, "", "cannot be read"),
            mistake(Some(7), "a.for", "`x\ny` is not a duration"),
        ]);
        assert_eq!(mistakes.count(), "2 mistakes");
        let lines = "p.toml: cannot be read\np.toml:7: a.for: `x\\ny` is not a duration";
        assert_eq!(mistakes.to_string(), lines);
        assert_eq!(mistakes.in_one_line(), lines.replace('\n', "; "));
        assert_eq!(Mistakes::new(vec![mistake(None, "", "")]).count(), "1 mistake");
    }

    #[test]
    fn one_line_holds_as_many_as_are_shown() {
        for what in ["x", "\u{1f6aa}"] {
            let many = (1..10_000).map(|number| mistake(Some(number), "", &what.repeat(100))).collect();
            let mistakes = Mistakes::new(many);
            let whole = mistakes.to_string().replace('\n', "; ");
            let in_one_line = mistakes.in_one_line();
            assert_eq!(in_one_line, line(whole).to_string());
            assert!(in_one_line.ends_with("...") && in_one_line.chars().count() <= LONGEST_LINE);
        }
    }
}

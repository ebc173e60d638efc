//! Terminal: lines for people, on standard output and standard error. Each is clean, and written as a whole.

use std::fmt::Display;
use std::io::{self, Write};

use crate::clean::line;

/// Writes one line to standard output.
///
/// # Errors
/// If it cannot be written, such as to a closed pipe.
#[expect(clippy::disallowed_methods, reason = "what is written here is clean")]
pub fn out(text: impl Display) -> io::Result<()> {
    write_line(io::stdout().lock(), text)
}

/// Writes one line to standard error.
///
/// # Errors
/// If it cannot be written, such as to a closed pipe.
#[expect(clippy::disallowed_methods, reason = "what is written here is clean")]
pub fn err(text: impl Display) -> io::Result<()> {
    write_line(io::stderr().lock(), text)
}

/// Writes a text that is a line or several, such as an argument parser's, to standard error. What is wrong with what a person typed is in it.
pub fn err_lines(text: impl Display) {
    // If standard error is gone there is no place left to say it.
    text.to_string().lines().for_each(|line| drop(err(line)));
}

fn write_line(mut to: impl Write, text: impl Display) -> io::Result<()> {
    // In one piece, or the lines of two threads could mix.
    to.write_all(format!("{}\n", line(text)).as_bytes())?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let mut written = Vec::new();
        write_line(&mut written, "no such file: a\nposternd: all is well\u{1b}[2J").unwrap();
        assert_eq!(written, b"no such file: a\\nposternd: all is well\\u{1b}[2J\n");
    }
}

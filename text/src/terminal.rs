//! Terminal: lines for people, on standard output and standard error. Each is clean, and written as a whole.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

use crate::clean::line;
use crate::json::ascii;

/// Writes one line to standard output.
///
/// # Errors
/// If it cannot be written, such as to a closed pipe.
#[expect(clippy::disallowed_methods, reason = "what is written here is clean")]
pub fn out(text: impl Display) -> io::Result<()> {
    write_line(io::stdout().lock(), text)
}

/// Writes one line of JSON to standard output, all of it: what is cut would be no JSON any more.
///
/// # Errors
/// If it cannot be written, such as to a closed pipe.
#[expect(clippy::disallowed_methods, reason = "what is written here is clean")]
pub fn out_json(json: impl Display) -> io::Result<()> {
    write_whole(io::stdout().lock(), &ascii(&json.to_string()))
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

/// Many lines for standard output, which are written together. A writer that is dropped without [`Lines::flush`] may lose why the last of
/// them could not be written.
pub struct Lines {
    out: BufWriter<StdoutLock<'static>>,
}

impl Lines {
    /// Standard output is this writer's as long as it lives.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "what is written here is clean")]
    pub fn of_stdout() -> Self {
        Self { out: BufWriter::with_capacity(1 << 16, io::stdout().lock()) }
    }

    /// Writes one line.
    ///
    /// # Errors
    /// If lines cannot be written, such as to a closed pipe.
    pub fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.out, "{}", line(text))
    }

    /// Writes one line of JSON, all of it.
    ///
    /// # Errors
    /// If lines cannot be written, such as to a closed pipe.
    pub fn json(&mut self, json: impl Display) -> io::Result<()> {
        writeln!(self.out, "{}", ascii(&json.to_string()))
    }

    /// Has everything written by now.
    ///
    /// # Errors
    /// As there.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn write_line(to: impl Write, text: impl Display) -> io::Result<()> {
    write_whole(to, &line(text).to_string())
}

fn write_whole(mut to: impl Write, line: &str) -> io::Result<()> {
    // In one piece, or the lines of two threads could mix.
    to.write_all(format!("{line}\n").as_bytes())?;
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

//! Log: knockd's messages, in its own words, on the channels that it uses.
//!
//! Every message is cleaned, since an outsider may have chosen a name in it. Saying one never fails, and waits for a slow channel for at most
//! [`PATIENCE`] a piece of [`PIPE_PIECE`] bytes: what the channel does not take then is dropped and counted. Only a regular logfile on a disk
//! that hangs can block the caller for longer. The texts are in [`message`]; when they are said is decided elsewhere.

mod message;
mod syslog;

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use jiff::Zoned;
use postern_text::clean;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

pub(crate) use message::{KnockdMessage, NamedSource, system_text};
use syslog::Syslog;

/// Most bytes of a log message, without what the channel adds; knockd cuts there.
const LONGEST_MESSAGE: usize = 1023;

/// Most characters of a line on standard output or error: a command of knockd's, each byte of which may be shown as ten.
const LONGEST_LINE: usize = 1 << 16;

/// As much as a pipe that polls as writable takes at once.
const PIPE_PIECE: usize = 4096;

/// How long a slow reader of standard output or error is waited for, before its lines are dropped without waiting.
const PATIENCE: Duration = Duration::from_millis(20);

/// Standard output and error, wherever they are: a daemon's are its launcher's.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

impl Terminal {
    /// This process's own.
    ///
    /// # Errors
    /// If there are too many open files.
    #[expect(
        clippy::disallowed_methods,
        reason = "each line is clean: see `Terminal::tell` and `Console::line`"
    )]
    pub(crate) fn own() -> io::Result<Self> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        Ok(Self { stdout, stderr })
    }

    /// Prints a text of our own on standard output, as it is and however long it takes.
    ///
    /// # Errors
    /// If not all of it could be written.
    pub(crate) fn print(&self, text: &str) -> io::Result<()> {
        File::from(self.stdout.try_clone()?).write_all(text.as_bytes())
    }

    /// Prints a line on standard error, however long it takes. If that is gone the line is lost.
    pub(crate) fn tell(&self, text: impl Display) {
        let line = format!("{}\n", postern_text::line(text));
        let _ = self.stderr.try_clone().map(|stream| File::from(stream).write_all(line.as_bytes()));
    }
}

/// A terminal that is written to.
#[derive(Debug)]
struct Consoles {
    stdout: Console<OwnedFd>,
    stderr: Console<OwnedFd>,
}

/// Where messages go.
#[derive(Debug)]
pub(crate) struct Channels {
    logfile: Option<File>,
    syslog: Option<Syslog>,
    verbose: bool,
    debug: bool,
    /// None in the background.
    consoles: Option<Consoles>,
    /// Messages that the logfile or syslog did not take.
    lost: u64,
}

impl Channels {
    /// The terminal's standard error, and its standard output as far as asked for. No logfile, no syslog.
    pub(crate) fn new(terminal: Option<Terminal>, verbose: bool, debug: bool) -> Self {
        let consoles = terminal.map(|Terminal { stdout, stderr }| Consoles {
            stdout: Console::new(stdout),
            stderr: Console::new(stderr),
        });
        Self { logfile: None, syslog: None, verbose, debug, consoles, lost: 0 }
    }

    /// Lets go of standard output and error: from now on there is only the log.
    pub(crate) fn leave_terminal(&mut self) {
        self.consoles = None;
    }

    /// Uses syslog from now on, for good: it cannot be switched off.
    pub(crate) fn use_syslog(&mut self) {
        self.syslog.get_or_insert_with(|| Syslog::new(Path::new("/dev/log")));
    }

    /// Opens `path` for appending in place of the logfile there was; an empty path means none.
    ///
    /// A failure is a warning on standard error, and then there is no logfile. A pipe without a reader is a failure.
    pub(crate) fn reopen(&mut self, path: &Path) {
        self.close_logfile();
        if path.as_os_str().is_empty() {
            return;
        }
        match open_logfile(path) {
            Ok(file) => self.logfile = Some(file),
            Err(error) => {
                self.say(&KnockdMessage::NoLogFile { path: path.to_owned(), why: system_text(&error) });
            }
        }
    }

    /// Has no logfile from now on.
    pub(crate) fn close_logfile(&mut self) {
        self.logfile = None;
    }

    /// Says a message on the log's channels alone.
    pub(crate) fn log_only(&mut self, message: &KnockdMessage) {
        if let Some((text, feed)) = message.log() {
            self.log(&text, feed, &Zoned::now());
        }
    }

    /// Says a message on each channel it is meant for.
    pub(crate) fn say(&mut self, message: &KnockdMessage) {
        if let Some((text, feed)) = message.log() {
            self.log(&text, feed, &Zoned::now());
        }
        if self.verbose
            && let Some(text) = message.verbose()
            && let Some(Consoles { stdout, .. }) = &mut self.consoles
        {
            stdout.line(&text);
        }
        if let Some(text) = message.stderr()
            && let Some(Consoles { stderr, .. }) = &mut self.consoles
        {
            stderr.line(&text);
        }
        if let Some(text) = message.debug() {
            self.debug(&text);
        }
    }

    /// Prints a line with `-D`, and nothing without.
    pub(crate) fn debug(&mut self, line: &str) {
        if self.debug
            && let Some(Consoles { stdout, .. }) = &mut self.consoles
        {
            stdout.line(line);
        }
    }

    fn log(&mut self, text: &str, feed: &str, now: &Zoned) {
        let text = [&*clean(text, LONGEST_LINE), feed].concat();
        let text = &text.as_bytes()[..text.floor_char_boundary(LONGEST_MESSAGE)];
        let written =
            self.logfile.as_mut().is_none_or(|file| file.write_all(&logfile_line(text, now)).is_ok());
        let sent = self.syslog.as_mut().is_none_or(|syslog| syslog.send(text, now));
        self.lost += u64::from(!written) + u64::from(!sent);
    }
}

/// A line of the logfile: `[YYYY-MM-DD HH:MM] message`, local time. A message that ends with a line feed leaves an
/// empty line behind it, which scrapers of knockd's logs know.
fn logfile_line(text: &[u8], now: &Zoned) -> Vec<u8> {
    let mut line = now.strftime("[%Y-%m-%d %H:%M] ").to_string().into_bytes();
    line.extend_from_slice(text);
    line.push(b'\n');
    line
}

fn open_logfile(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    OpenOptions::new().append(true).create(true).custom_flags(flags).open(path)
}

/// A standard stream, whose reader may be slow or gone. No other code may hold part of a line in a buffer for it.
#[derive(Debug)]
struct Console<S> {
    stream: S,
    is_stalled: bool,
    /// The last line was dropped behind its first part.
    is_cut: bool,
}

impl<S: AsFd> Console<S> {
    fn new(stream: S) -> Self {
        Self { stream, is_stalled: false, is_cut: false }
    }

    fn line(&mut self, text: &str) {
        let feed = if self.is_cut { "\n" } else { "" };
        let line = [feed, &*clean(text, LONGEST_LINE), "\n"].concat();
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            let piece = &rest[..rest.len().min(PIPE_PIECE)];
            let written =
                if self.is_ready() { rustix::io::write(&self.stream, piece) } else { Err(Errno::AGAIN) };
            match written {
                Ok(written @ 1..) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => {
                    self.is_stalled = true;
                    self.is_cut |= rest.len() < line.len();
                    return;
                }
            }
        }
        (self.is_stalled, self.is_cut) = (false, false);
    }

    fn is_ready(&self) -> bool {
        let patience = if self.is_stalled { Duration::ZERO } else { PATIENCE };
        let Ok(timeout) = Timespec::try_from(patience) else { return false };
        let mut fds = [PollFd::new(&self.stream, PollFlags::OUT)];
        matches!(poll(&mut fds, Some(&timeout)), Ok(1..)) && fds[0].revents().contains(PollFlags::OUT)
    }
}

#[cfg(test)]
mod tests;

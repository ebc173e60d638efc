//! OperatorTerminal: what is said to whoever has started `posternd try`, and what they type. On threads of its own: a terminal that takes nothing
//! must not hold up the daemon.

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use postern_text::terminal;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Lines that wait for a terminal that takes nothing; further ones are lost.
const MOST_LINES: usize = 64;
/// How long the last lines are waited for.
const LAST_LINES: Duration = Duration::from_millis(500);

/// What came from the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Enter, whatever was before it.
    Line,
    /// There is no more to come: it is gone, or its end was typed.
    End,
}

/// The terminal that posternd was started on, if it was.
pub(super) struct OperatorTerminal {
    lines: SyncSender<Said>,
    /// None if nothing is read: standard input is not a terminal, or not ours to read.
    typed: Option<Receiver<Typed>>,
}

enum Said {
    Line(String),
    /// Everything before it was written.
    Mark(SyncSender<()>),
}

impl OperatorTerminal {
    pub(super) fn start() -> io::Result<Self> {
        let (lines, to_say) = sync_channel(MOST_LINES);
        thread::Builder::new().name("words".to_owned()).spawn(move || {
            for said in to_say {
                match said {
                    // If nobody reads it, the log still says it.
                    Said::Line(line) => drop(terminal::out(line)),
                    Said::Mark(done) => drop(done.try_send(())),
                }
            }
        })?;
        let typed = if io::stdin().is_terminal() && is_in_foreground() {
            let (sender, typed) = channel(1);
            // Ends with the process: reading cannot be interrupted.
            thread::Builder::new().name("terminal".to_owned()).spawn(move || read(&sender))?;
            Some(typed)
        } else {
            None
        };
        Ok(Self { lines, typed })
    }

    /// Whether what is typed is read.
    pub(super) const fn is_read(&self) -> bool {
        self.typed.is_some()
    }

    /// Says a line, soon.
    pub(super) fn say(&self, line: impl Into<String>) {
        let _ = self.lines.try_send(Said::Line(line.into()));
    }

    /// Waits for what is typed next; for ever if nothing is read, or after the end.
    pub(super) async fn typed(&mut self) -> Typed {
        match &mut self.typed {
            Some(typed) => match typed.recv().await {
                Some(typed) => typed,
                None => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }

    /// Has everything said, as far as the terminal takes it soon.
    pub(super) fn end(self) {
        let (done, is_done) = sync_channel(1);
        if self.lines.try_send(Said::Mark(done)).is_ok() {
            let _ = is_done.recv_timeout(LAST_LINES);
        }
    }
}

fn read(sender: &Sender<Typed>) {
    let mut line = String::new();
    loop {
        line.clear();
        let typed = match io::stdin().read_line(&mut line) {
            Ok(0) => Typed::End,
            Ok(_) => Typed::Line,
            // What was typed is no text.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Typed::Line,
            // It is gone.
            Err(_) => Typed::End,
        };
        if sender.blocking_send(typed).is_err() || typed == Typed::End {
            return;
        }
    }
}

/// Whether this process may read its terminal: one in the background would be stopped for it, as a whole.
fn is_in_foreground() -> bool {
    std::fs::read_to_string("/proc/self/stat").is_ok_and(|stat| is_foreground_of(&stat))
}

/// Whether the process's group (field 5) is the one in the foreground of its terminal (field 8), by what `/proc/PID/stat` says; proc(5). The
/// name in front may have blanks in it, and ends with the last parenthesis.
fn is_foreground_of(stat: &str) -> bool {
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<_> = behind_name.split_whitespace().collect();
    matches!(fields[..], [_, _, group, _, _, foreground, ..] if group == foreground)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_in_the_background_is_told_by_its_group() {
        assert!(is_foreground_of("71 (posternd) S 70 71 60 34816 71 4194304 100"));
        assert!(is_foreground_of("71 (a b) c) S 70 71 60 34816 71 4194304 100"));
        assert!(!is_foreground_of("71 (posternd) S 70 71 60 34816 60 4194304 100"));
        // Without a terminal.
        assert!(!is_foreground_of("71 (posternd) S 70 71 60 0 -1 4194304 100"));
        assert!(!is_foreground_of("71 (posternd) S 70"));
        assert!(!is_foreground_of(""));
    }
}

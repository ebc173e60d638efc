//! StderrLog: the log on standard error, with the same field names everywhere.
//!
//! Payload bytes and settings are never logged. Each event is one line, and whatever comes from outside is clean in it: all of it passes
//! [`Line::render`].

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use postern_core::{Report, Severity, What};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::foreign::Foreign;
use super::format::Format;
use super::journald::JournalSocket;
use super::level::{directives, least};
use super::line::{Line, now};
use super::{Context, Log, LogOfAll, Observers, fields, words};
use crate::hooks::Hooks;

/// Lines that may wait for the reader of standard error; more are dropped, so that a slow reader delays no packet.
pub(super) const WAITING: usize = 8192;
/// Places beside them for the daemon's last lines, of which there are fewer: these are not dropped because others wait.
pub(super) const RESERVED: usize = 16;

/// Has log lines of `level` and above written to standard error, by a thread of its own. `level` may be a filter as `tracing-subscriber`
/// takes it, too. Returns the observer, and a guard that waits a moment for the last lines when it is dropped.
///
/// # Errors
/// If `level` is neither, or logging was set up before.
#[expect(clippy::disallowed_methods, reason = "each line is clean: see `Line::render`")]
pub fn start(format: Format, level: &str) -> anyhow::Result<(LogOfAll, WorkerGuard)> {
    let written = directives(level)?;
    let filter = EnvFilter::try_new(&written)?;
    // Who asks for JSON gets that, wherever it leads.
    let journal = (format == Format::Text).then(JournalSocket::behind_stderr).flatten();
    let form = match (&journal, format) {
        (Some(_), _) => Form::Journal,
        (None, Format::Json) => Form::Json,
        (None, Format::Text) => Form::Text { has_colours: io::stderr().is_terminal() },
    };
    let (queue, guard) = match journal {
        Some(journal) => LineQueue::start(journal),
        None => LineQueue::start(io::stderr()),
    };
    let hooks = Hooks::default();
    let lines = StderrLog { form, queue, hooks: hooks.clone() };
    let foreign = Foreign({
        let lines = lines.clone();
        move |line: &Line| lines.put(line, WAITING)
    });
    let done = tracing_subscriber::registry().with(foreign.with_filter(filter)).try_init();
    done.map_err(|error| anyhow::anyhow!("cannot log: {error}"))?;
    let relay = Arc::new(Observers::new(lines, least()));
    Ok((LogOfAll { relay, filter: written, hooks }, guard))
}

/// What is written.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Lines for people.
    Text { has_colours: bool },
    /// Objects, a line each.
    Json,
    /// Fields for systemd's journal, behind which standard error is.
    Journal,
}

/// The log on standard error.
#[derive(Clone, Debug)]
struct StderrLog {
    form: Form,
    queue: LineQueue,
    hooks: Hooks,
}

impl StderrLog {
    /// Has a line written unless so many wait.
    fn put(&self, line: &Line, most: usize) {
        self.queue.put(most, || match self.form {
            Form::Text { has_colours } => line.render(Format::Text, has_colours),
            Form::Json => line.render(Format::Json, false),
            Form::Journal => line.journal(),
        });
    }
}

impl Log for StderrLog {
    fn write(&self, report: &Report<'_>, context: &Context<'_>) {
        let most = if is_one_of_the_last(&report.what) { WAITING + RESERVED } else { WAITING };
        let unsaid = context.unsaid + self.queue.dropped();
        self.put(&line(report, context, unsaid), most);
        self.hooks.happened(report, now);
    }
}

/// Whether it is reported at most once, at the daemon's end.
pub(super) const fn is_one_of_the_last(what: &What<'_>) -> bool {
    matches!(what, What::StartRefused { .. } | What::Stopping | What::Stopped { .. } | What::Untidy { .. })
}

/// Lines on their way to the thread that writes them.
#[derive(Clone, Debug)]
pub(super) struct LineQueue {
    writer: NonBlocking,
    counts: Arc<LineCounts>,
}

#[derive(Debug, Default)]
struct LineCounts {
    /// Lines that are not written yet.
    waiting: AtomicUsize,
    /// Lines that were dropped because those before them were not read in time.
    dropped: AtomicU64,
}

impl LineQueue {
    /// Lines that were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Has lines written to `to` by a thread; the guard waits a moment for the last when it is dropped.
    pub(super) fn start(to: impl Write + Send + 'static) -> (Self, WorkerGuard) {
        let counts = Arc::new(LineCounts::default());
        let to = Counted { to, counts: Arc::clone(&counts) };
        // One place more, for the guard's own message to the thread.
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(WAITING + RESERVED + 1)
            .thread_name("log")
            .finish(to);
        (Self { writer, counts }, guard)
    }

    /// Has a line written, or counts it as dropped if `most` wait.
    pub(super) fn put(&self, most: usize, render: impl FnOnce() -> String) {
        let more = |waiting| (waiting < most).then_some(waiting + 1);
        if self.counts.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // There is a place; if standard error is gone there is none left to say so.
        let _ = self.writer.clone().write_all(render().as_bytes());
    }
}

/// Counts the lines that are written.
struct Counted<W> {
    to: W,
    counts: Arc<LineCounts>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    /// Gets a line, whole.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let done = self.to.write_all(line);
        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        done
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The line about a report; so many lines were dropped so far.
pub(super) fn line(report: &Report<'_>, context: &Context<'_>, unsaid: u64) -> Line {
    let dropped = fields::dropped(report, context.counters, unsaid);
    let mut words = words(report);
    if let Some(drops) = &dropped {
        words = format!("{words}; came to nothing: {}", fields::shown(&drops.all));
    }
    Line { level: level(report), words, fields: fields::fields(report, dropped, context.suppressed) }
}

/// The line about a report that is no daemon's last, where no line was held back or lost.
pub(crate) fn plain_line(report: &Report<'_>) -> Line {
    Line { level: level(report), words: words(report), fields: fields::fields(report, None, None) }
}

fn level(report: &Report<'_>) -> &'static str {
    match report.what.severity() {
        Severity::Error => "ERROR",
        Severity::Warn => "WARN",
        Severity::Info => "INFO",
        Severity::Debug => "DEBUG",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;
    use crate::observe::Counters;

    /// Somebody who reads nothing until the sender is dropped.
    struct SlowReader(mpsc::Receiver<()>, Arc<Mutex<Vec<String>>>);

    impl Write for SlowReader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_last_lines_are_written_though_the_queue_is_full() {
        let (reads, waits) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let (queue, guard) = LineQueue::start(SlowReader(waits, Arc::clone(&written)));
        let log = StderrLog { form: Form::Json, queue, hooks: Hooks::default() };
        let counters = Counters::default();
        let write = |what| {
            log.write(&Report::new(what), &Context { suppressed: None, unsaid: 0, counters: &counters })
        };
        (0..WAITING + 7).for_each(|_| write(What::Hangup));
        write(What::Stopping);
        write(What::Stopped { packets: None, open: 0 });
        write(What::Untidy { doors: 1 });
        drop(reads);
        drop(guard);
        let written: Vec<serde_json::Value> =
            written.lock().unwrap().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(written.len(), WAITING + 3);
        let last: Vec<_> = written[WAITING - 1..].iter().map(|line| &line["event"]).collect();
        assert_eq!(last, ["hangup", "stopping", "stop", "untidy"]);
        assert_eq!(written[WAITING + 1]["dropped"], serde_json::json!({ "log-line": 7 }));
    }
}

//! Log: the daemon's standard error, read as it comes and kept for later.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use postern_text::panic::PastPanic;
use serde_json::{Map, Value};

/// All lines so far. Copies look at the same log.
#[derive(Clone, Debug)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    entries: Vec<Entry>,
    ended: bool,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it was read: a little after it was written.
    pub read_at: Instant,
    /// Empty if the line is no JSON object, as a panic's are not.
    fields: Map<String, Value>,
    line: String,
}

impl Log {
    /// Reads until the end, on a thread that ends with the writer.
    pub fn tail(source: impl Read + Send + 'static) -> (Self, JoinHandle<()>) {
        let log = Self { shared: Arc::default() };
        let shared = Arc::clone(&log.shared);
        let reader = thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
                shared.lock().entries.push(Entry::read(&line));
                shared.grown.notify_all();
            }
            shared.lock().ended = true;
            shared.grown.notify_all();
        });
        (log, reader)
    }

    /// All entries so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.shared.lock().entries.clone()
    }

    /// How many entries there are: where to look from for what comes after this moment.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.shared.lock().entries.len()
    }

    /// The first thing that `look` finds in the entries; it is asked again whenever there are more.
    ///
    /// # Errors
    /// After `patience`, or as soon as the daemon has ended and nothing can come any more.
    pub fn wait<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut(&[Entry]) -> Option<T>,
    ) -> Result<T, &'static str> {
        let start = Instant::now();
        let mut lines = self.shared.lock();
        loop {
            if let Some(found) = look(&lines.entries) {
                return Ok(found);
            }
            if lines.ended {
                return Err("and the daemon has ended");
            }
            let Some(left) = patience.checked_sub(start.elapsed()) else {
                return Err("in time");
            };
            lines = self.shared.grown.wait_timeout(lines, left).past_panic().0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().past_panic()
    }
}

impl Entry {
    fn read(line: &[u8]) -> Self {
        let line = String::from_utf8_lossy(line).into_owned();
        let fields = match serde_json::from_str(&line) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        Self { read_at: Instant::now(), fields, line }
    }

    /// What happened; empty if the line does not say.
    #[must_use]
    pub fn event(&self) -> &str {
        self.text("event")
    }

    /// A field that holds text; empty if there is none.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// A field that holds a number.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<f64> {
        self.fields.get(field).and_then(Value::as_f64)
    }

    /// How often something of this name happened, if a field holds numbers by name; 0 if it does not name it.
    #[must_use]
    pub fn count(&self, field: &str, name: &str) -> u64 {
        self.fields.get(field).and_then(|counts| counts.get(name)).and_then(Value::as_u64).unwrap_or(0)
    }

    /// How long after `earlier` it was read; zero if it was read before.
    #[must_use]
    pub fn since(&self, earlier: Instant) -> Duration {
        self.read_at.saturating_duration_since(earlier)
    }

    /// What a person would tell of it in two or three words, such as `stage 2` or `open ssh`; none if it is not about a client.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let door = self.text("door");
        match self.event() {
            "stage" => Some(format!("stage {}", self.number("stage").unwrap_or(f64::NAN))),
            event @ ("open" | "extend") => Some(format!("{event} {door}")),
            "close" => Some(format!("close {door} {}", self.text("reason"))),
            "refuse" => Some(format!("refuse {door} {}", self.text("drop"))),
            _ => None,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_what_comes_and_says_when_nothing_can_come() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let (log, tail) = Log::tail(reader);
        let write = |writer: &mut std::io::PipeWriter, line: &str| {
            std::io::Write::write_all(writer, line.as_bytes()).unwrap();
        };
        write(&mut writer, "thread 'main' panicked\n{\"event\":\"stage\",\"stage\":2,\"src\":\"::1\"}\n");
        let find = |event: &'static str| {
            move |entries: &[Entry]| entries.iter().find(|entry| entry.event() == event).cloned()
        };
        let stage = log.wait(Duration::from_secs(5), find("stage")).unwrap();
        assert_eq!((stage.text("src"), stage.told().as_deref()), ("::1", Some("stage 2")));
        assert_eq!(log.wait(Duration::from_millis(1), find("stop")).map(drop), Err("in time"));
        write(&mut writer, "{\"event\":\"close\",\"door\":\"ssh\",\"reason\":\"expired\"}");
        drop(writer);
        let close = log.wait(Duration::from_secs(5), find("close")).unwrap();
        assert_eq!(close.told().as_deref(), Some("close ssh expired"));
        assert_eq!(
            log.wait(Duration::from_secs(60), find("stop")).map(drop),
            Err("and the daemon has ended")
        );
        tail.join().unwrap();
        assert_eq!(log.mark(), 3);
    }
}

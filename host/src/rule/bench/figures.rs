//! Figures: what was measured of a module, as a table for people and as JSON for programs.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use postern_text::terminal;
use serde_json::json;

use crate::rule::sizes::{mib, thousands, time};

/// What was measured.
pub(super) struct Figures {
    /// The size of the module's file.
    pub(super) bytes: u64,
    /// How long it took to load when its code was not kept, compiling included.
    pub(super) cold: Duration,
    /// How long with its code kept; none if it cannot be.
    pub(super) cached: Option<Duration>,
    /// How long the first instance took to start and to be configured,
    pub(super) first_start: Duration,
    /// and later ones.
    pub(super) start: Percentiles,
    /// Bytes of memory and tables of an instance once it is configured.
    pub(super) memory: usize,
    /// Bytes that one takes in the machine, on average.
    pub(super) resident: u64,
    /// How many there were beside each other.
    pub(super) count: usize,
    /// None if the rule faulted.
    pub(super) called: Option<Called>,
}

/// How calls went.
pub(super) struct Called {
    pub(super) call: Percentiles,
    /// How many there were.
    pub(super) count: u64,
    /// How many a second, one after the other.
    pub(super) a_second: u64,
    /// Bytes of memory and tables of the instance after them.
    pub(super) memory: usize,
}

/// Half of what was measured took no longer than the one, 99 of 100 no longer than the other.
pub(super) struct Percentiles {
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

impl Figures {
    /// Prints the table for a module of this name.
    ///
    /// # Errors
    /// If standard output is closed.
    pub(super) fn show(&self, name: &str) -> io::Result<()> {
        terminal::out(format_args!("{name}, {}", mib(self.bytes)))?;
        row("load, cold", time(self.cold))?;
        let not_kept = || "is not kept: the folder of compiled code cannot be written".to_owned();
        row("load, cached", self.cached.map_or_else(not_kept, time))?;
        row("start, first", time(self.first_start))?;
        row("start, median", &self.start)?;
        let Self { memory, resident, count, .. } = self;
        row(
            "memory",
            format_args!("{} of memory and tables, {} resident", mib(*memory as u64), mib(*resident)),
        )?;
        row("instances", format_args!("{count} were started beside each other"))?;
        let Some(Called { call, count, a_second, memory }) = &self.called else { return Ok(()) };
        row("call, median", call)?;
        let (a_second, count) = (thousands(*a_second), thousands(*count));
        row("calls", format_args!("{a_second} a second, of {count} on one thread"))?;
        row("memory after", format_args!("{} of memory and tables", mib(*memory as u64)))
    }

    /// The same as an object.
    pub(super) fn to_json(&self, name: &str) -> serde_json::Value {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let percentiles = |it: &Percentiles| json!({ "median": nanos(it.median), "p99": nanos(it.p99) });
        json!({
            "module": name,
            "bytes": self.bytes,
            "load_ns": { "cold": nanos(self.cold), "cached": self.cached.map(nanos) },
            "first_start_ns": nanos(self.first_start),
            "start_ns": percentiles(&self.start),
            "instances": self.count,
            "memory_bytes": self.memory,
            "resident_bytes": self.resident,
            "call_ns": self.called.as_ref().map(|it| percentiles(&it.call)),
            "calls": self.called.as_ref().map(|it| it.count),
            "calls_a_second": self.called.as_ref().map(|it| it.a_second),
            "memory_bytes_after_calls": self.called.as_ref().map(|it| it.memory),
        })
    }
}

impl Display for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<10} p99 {}", time(self.median), time(self.p99))
    }
}

fn row(name: &str, what: impl Display) -> io::Result<()> {
    terminal::out(format_args!("  {name:<13} {what}"))
}

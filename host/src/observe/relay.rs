//! Relay: what other processes of the daemon report, on its way to the one log.
//!
//! A role has no log of its own. Its reports pass the limits there, and are then a line of JSON each on a stream to the supervisor, which
//! writes them as if they were its own: in one order, to sinks that only the supervisor holds. A role that was taken over can say no more
//! than reports say, and the supervisor reads no faster than its own limits let lines through.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use postern_core::{DropReason, Observer, Report, TenantId, What};
use serde::{Deserialize, Serialize};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::foreign::Foreign;
use super::level::least;
use super::line::Line;
use super::lines::{LineQueue, RESERVED, WAITING, is_one_of_the_last};
use super::{Context, Log, Observers, words};

/// The longest line; a report with all that a rule may write into it is shorter.
const LONGEST: u64 = 256 << 10;

/// An observer that also takes what other processes report.
pub trait Relay: Observer {
    /// Writes what a role told, a line of it. What is no report is not written. True for a mark.
    #[doc(hidden)]
    fn relay(&self, line: &[u8]) -> bool;
}

/// Where everything is reported, by whatever process.
#[derive(Clone)]
pub struct LogOfAll {
    /// Takes this process's reports and those of the others.
    pub relay: Arc<dyn Relay>,
    /// Which lines the others write: a filter as `tracing` has it.
    pub filter: String,
}

/// What a role tells.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "it is sent at once, and nearly all are reports")]
enum Told<'a> {
    /// Something happened.
    Report {
        #[serde(borrow)]
        report: Report<'a>,
        /// As [`Context::suppressed`].
        suppressed: Option<u64>,
        /// As [`Context::unsaid`].
        unsaid: u64,
        /// All drops since the role began, with the last report alone.
        drops: Vec<(Option<TenantId>, DropReason, u64)>,
    },
    /// Everything before was reported: what the supervisor is told besides may count on it.
    Mark,
}

/// Marks a place in what a role tells.
#[derive(Clone, Debug)]
pub(crate) struct Marker(LineQueue);

impl Marker {
    /// Marks the place behind all that was reported so far.
    pub(crate) fn mark(&self) {
        self.0.put(WAITING + RESERVED, || {
            let mut line = serde_json::to_string(&Told::Mark).unwrap_or_default();
            line.push('\n');
            line
        });
    }
}

/// Has everything that is reported in this process told over `stream`, by a thread of its own; lines of libraries as far as `filter` lets them.
/// Returns the observer, what marks a place behind its reports, and a guard that waits a moment for the last lines when it is dropped.
///
/// # Errors
/// If the filter is none, or this was done before.
pub(crate) fn tell_supervisor(
    stream: UnixStream,
    filter: &str,
) -> anyhow::Result<(Arc<dyn Observer>, Marker, WorkerGuard)> {
    let filter = EnvFilter::try_new(filter)?;
    let (queue, guard) = LineQueue::start(stream);
    let (marker, teller) = (Marker(queue.clone()), Teller(queue));
    let foreign = Foreign({
        let teller = teller.clone();
        move |line: &Line| teller.tell(&Report::new(line.as_library()), None, 0, Vec::new())
    });
    let done = tracing_subscriber::registry().with(foreign.with_filter(filter)).try_init();
    done.map_err(|error| anyhow::anyhow!("cannot log: {error}"))?;
    Ok((Arc::new(Observers::new(teller, least())), marker, guard))
}

/// The log of a role.
#[derive(Clone, Debug)]
struct Teller(LineQueue);

impl Teller {
    fn tell(
        &self,
        report: &Report<'_>,
        suppressed: Option<u64>,
        unsaid: u64,
        drops: Vec<(Option<TenantId>, DropReason, u64)>,
    ) {
        let most = if is_one_of_the_last(&report.what) { WAITING + RESERVED } else { WAITING };
        self.0.put(most, || {
            let told = Told::Report { report: report.clone(), suppressed, unsaid, drops };
            let mut line = serde_json::to_string(&told).unwrap_or_else(|_| {
                // A path that is not Unicode. Its words are.
                let (severity, text) = (report.what.severity(), words(report).into());
                let report = Report::new(What::Library { severity, text });
                let told = Told::Report { report, suppressed, unsaid, drops: Vec::new() };
                serde_json::to_string(&told).unwrap_or_default()
            });
            line.push('\n');
            line
        });
    }
}

impl Log for Teller {
    fn write(&self, report: &Report<'_>, context: &Context<'_>) {
        let is_last = matches!(report.what, What::Stopped { .. });
        let drops = if is_last { context.counters.all() } else { Vec::new() };
        self.tell(report, context.suppressed, context.unsaid + self.0.dropped(), drops);
    }
}

impl<L: Log> Relay for Observers<L> {
    fn relay(&self, line: &[u8]) -> bool {
        let (report, suppressed, unsaid, drops) = match serde_json::from_slice(line) {
            Ok(Told::Report { report, suppressed, unsaid, drops }) => (report, suppressed, unsaid, drops),
            Ok(Told::Mark) => return true,
            Err(_) => return false,
        };
        for (tenant, reason, count) in drops {
            self.counters.count(tenant.as_ref(), reason, count);
        }
        if self.least.is_some_and(|least| report.what.severity() <= least) {
            self.log.write(&report, &Context { suppressed, unsaid, counters: &self.counters });
        }
        false
    }
}

/// Reads what a role tells until it ends, and has each line relayed; `mark` is called for each mark.
///
/// # Errors
/// If a line is too long, or the stream breaks.
pub(crate) fn relay_all(stream: UnixStream, relay: &dyn Relay, mark: impl Fn()) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
        match line.last() {
            None => return Ok(()),
            Some(b'\n') => {
                if relay.relay(&line) {
                    mark();
                }
            }
            Some(_) if u64::try_from(length).is_ok_and(|length| length < LONGEST) => return Ok(()),
            Some(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "a report is too long")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use postern_core::RuleId;

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Log for Arc<Kept> {
        fn write(&self, report: &Report<'_>, context: &Context<'_>) {
            let line = super::super::lines::line(report, context, context.unsaid);
            self.0.lock().unwrap().push(line.words);
        }
    }

    #[test]
    fn what_a_role_reports_is_written_as_if_it_were_our_own() {
        let (ours, of_role) = UnixStream::pair().unwrap();
        let (queue, guard) = LineQueue::start(of_role);
        let role = Observers::new(Teller(queue), Some(postern_core::Severity::Info));
        let rule = RuleId { tenant: TenantId::new("web"), name: "knock".into() };
        role.count_drops(Some(&rule.tenant), DropReason::Evicted, 3);
        role.report(&Report::of_rule(&rule, What::Stage { stage: 2 }));
        // Not severe enough there.
        role.report(&Report::of_rule(&rule, What::TimedOut { stage: 2 }));
        let path = std::path::Path::new(std::ffi::OsStr::new("/tmp/\u{e9}"));
        role.report(&Report::new(What::JournalWritable { path: path.into() }));
        role.report(&Report::new(What::Stopped { packets: None, open: 1 }));
        drop((role, guard));
        let kept = Arc::new(Kept::default());
        let observers = Observers::new(Arc::clone(&kept), Some(postern_core::Severity::Debug));
        relay_all(ours, &observers, || {}).unwrap();
        let kept = kept.0.lock().unwrap();
        assert_eq!(kept.len(), 3, "{kept:?}");
        assert!(kept[0].contains("stage 2"), "{kept:?}");
        assert!(kept[2].ends_with("came to nothing: evicted 3"), "{kept:?}");
    }

    #[test]
    fn what_is_no_report_is_passed_over_and_what_never_ends_breaks_the_talk() {
        let kept = Arc::new(Kept::default());
        let observers = Observers::new(Arc::clone(&kept), Some(postern_core::Severity::Debug));
        let (ours, mut of_role) = UnixStream::pair().unwrap();
        of_role.write_all(b"{\"Report\":1}\n\n\xff\n{\"Re").unwrap();
        drop(of_role);
        relay_all(ours, &observers, || {}).unwrap();
        let (ours, mut of_role) = UnixStream::pair().unwrap();
        let flood = std::thread::spawn(move || while of_role.write_all(&[b'x'; 4096]).is_ok() {});
        assert!(relay_all(ours, &observers, || {}).is_err());
        flood.join().unwrap();
        assert!(kept.0.lock().unwrap().is_empty());
    }
}

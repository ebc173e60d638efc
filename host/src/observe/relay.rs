//! Relay: what other processes of the daemon report, on its way to the one log.
//!
//! A role has no log of its own. Its reports pass the limits there, and are then a message of JSON each to the supervisor, which writes them as if
//! they were its own, to sinks that only the supervisor holds. A role that was taken over can say no more than reports say.
//!
//! A report is sent by the thread that makes it, before that does anything else, and one thread takes the reports of all roles in the order of
//! their time. So what one process did because of what another said is never written before it.

mod gathering;
mod tube;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use postern_core::{DropReason, Observer, Report, TenantId, What};
use postern_text::panic::PastPanic;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::foreign::Foreign;
use super::level::least;
use super::line::Line;
use super::lines::is_one_of_the_last;
use super::{Context, Counters, Log, Observers, words};
use crate::hooks::Hooks;

pub(crate) use gathering::{Gathering, ReportPace};
pub(crate) use tube::ReportTube;

/// An observer that also takes what other processes report.
pub trait Relay: Observer {
    /// Writes what a role told in a message. What is no report is not written. True for a mark.
    #[doc(hidden)]
    fn relay(&self, message: &[u8]) -> bool;

    /// What came to nothing so far.
    #[doc(hidden)]
    fn counters(&self) -> &Arc<Counters>;
}

/// The longest name of a tenant: it is that of a folder.
const LONGEST_TENANT: usize = 255;

/// Where everything is reported, by whatever process.
#[derive(Clone)]
pub struct LogOfAll {
    /// Takes this process's reports and those of the others.
    pub relay: Arc<dyn Relay>,
    /// Which lines the others write: a filter as `tracing` has it.
    pub filter: String,
    /// Where reports lead to commands.
    pub hooks: Hooks,
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

/// The report in a message of a role; none if it is another.
pub(crate) fn report_in(message: &[u8]) -> Option<Report<'_>> {
    match serde_json::from_slice(message) {
        Ok(Told::Report { report, .. }) => Some(report),
        _ => None,
    }
}

/// Tells one role what all the others report, as far as it listens: the messages that they sent, once they are in the log, and what this process reports itself.
pub(crate) struct Overheard {
    next: Arc<dyn Relay>,
    to: Mutex<Option<Teller>>,
}

impl Overheard {
    /// In front of where everything is reported; nobody listens yet.
    pub(crate) fn new(next: Arc<dyn Relay>) -> Self {
        Self { next, to: Mutex::default() }
    }

    /// The one who listens at the other end of this does so from now on, and nobody else.
    pub(crate) fn tell(&self, socket: OwnedFd) {
        *self.to.lock().past_panic() = Some(Teller(ReportTube::of_role(socket)));
    }

    /// Passes on what a role sent.
    pub(crate) fn pass_on(&self, message: &[u8]) {
        if let Some(Teller(tube)) = &*self.to.lock().past_panic() {
            tube.send(false, |to| to.extend_from_slice(message));
        }
    }
}

impl Observer for Overheard {
    fn report(&self, report: &Report<'_>) {
        self.next.report(report);
        if let Some(teller) = &*self.to.lock().past_panic() {
            teller.tell(report, None, 0, Vec::new());
        }
    }

    fn count_drops(&self, tenant: Option<&TenantId>, reason: DropReason, count: u64) {
        self.next.count_drops(tenant, reason, count);
    }

    fn limit_lines(&self, tenant: &TenantId, lines: u32) {
        self.next.limit_lines(tenant, lines);
    }
}

impl Relay for Overheard {
    fn relay(&self, message: &[u8]) -> bool {
        self.next.relay(message)
    }

    fn counters(&self) -> &Arc<Counters> {
        self.next.counters()
    }
}

/// Marks a place in what a role tells.
#[derive(Clone, Debug)]
pub(crate) struct Marker(ReportTube);

impl Marker {
    /// Marks the place behind all that was reported so far.
    pub(crate) fn mark(&self) {
        // It cannot fail: there is nothing in it.
        self.0.send(true, |message| drop(serde_json::to_writer(message, &Told::Mark)));
    }
}

/// How a role tells what it reports.
pub(crate) struct Telling {
    /// Takes its reports.
    pub(crate) observer: Arc<dyn Observer>,
    /// Marks a place behind them.
    pub(crate) marker: Marker,
    /// What comes to nothing by them.
    pub(crate) counters: Arc<Counters>,
}

/// Has everything that is reported in this process told over `socket`; lines of libraries as far as `filter` lets them.
///
/// # Errors
/// If the filter is none, or this was done before.
pub(crate) fn tell_supervisor(socket: OwnedFd, filter: &str) -> anyhow::Result<Telling> {
    let filter = EnvFilter::try_new(filter)?;
    let tube = ReportTube::of_role(socket);
    let (marker, teller) = (Marker(tube.clone()), Teller(tube));
    let foreign = Foreign({
        let teller = teller.clone();
        move |line: &Line| teller.tell(&Report::new(line.as_library()), None, 0, Vec::new())
    });
    let done = tracing_subscriber::registry().with(foreign.with_filter(filter)).try_init();
    done.map_err(|error| anyhow::anyhow!("cannot log: {error}"))?;
    let observers = Observers::new(teller, least());
    let counters = Arc::clone(observers.counters());
    Ok(Telling { observer: Arc::new(observers), marker, counters })
}

/// The log of a role.
#[derive(Clone, Debug)]
struct Teller(ReportTube);

impl Teller {
    fn tell(
        &self,
        report: &Report<'_>,
        suppressed: Option<u64>,
        unsaid: u64,
        drops: Vec<(Option<TenantId>, DropReason, u64)>,
    ) {
        let told = Told::Report { report: report.clone(), suppressed, unsaid, drops };
        self.0.send(is_one_of_the_last(&report.what), |message| {
            let length = message.len();
            if serde_json::to_writer(&mut *message, &told).is_err() {
                // A path that is not Unicode. Its words are.
                message.truncate(length);
                let (severity, text) = (report.what.severity(), words(report).into());
                let report = Report::new(What::Library { severity, text });
                let told = Told::Report { report, suppressed, unsaid, drops: Vec::new() };
                drop(serde_json::to_writer(message, &told));
            }
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
    fn counters(&self) -> &Arc<Counters> {
        Self::counters(self)
    }

    fn relay(&self, line: &[u8]) -> bool {
        let (report, suppressed, unsaid, drops) = match serde_json::from_slice(line) {
            Ok(Told::Report { report, suppressed, unsaid, drops }) => (report, suppressed, unsaid, drops),
            Ok(Told::Mark) => return true,
            Err(_) => return false,
        };
        for (tenant, reason, count) in drops {
            // A name of any length must not be kept.
            let tenant = tenant.as_ref().filter(|tenant| tenant.to_string().len() <= LONGEST_TENANT);
            self.counters.count(tenant, reason, count);
        }
        if report.what.is_logged(self.least) {
            self.log.write(&report, &Context { suppressed, unsaid, counters: &self.counters });
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use postern_core::{RuleId, Severity};
    use rustix::net::{SendFlags, send};

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Log for Arc<Kept> {
        fn write(&self, report: &Report<'_>, context: &Context<'_>) {
            let line = super::super::lines::line(report, context, context.unsaid);
            self.0.lock().unwrap().push(line.words);
        }
    }

    fn gathering() -> (Arc<Kept>, Gathering) {
        let kept = Arc::new(Kept::default());
        let observers = Observers::new(Arc::clone(&kept), Some(Severity::Debug));
        (kept, Gathering::start(Arc::new(observers)).unwrap())
    }

    fn role(gathering: &Gathering, mark: impl Fn() + Send + 'static) -> (Observers<Teller>, Marker) {
        let (ours, of_role) = ReportTube::pair().unwrap();
        gathering.add(ours, &ReportPace::default(), mark);
        let tube = ReportTube::of_role(of_role);
        (Observers::new(Teller(tube.clone()), Some(Severity::Info)), Marker(tube))
    }

    fn stage(stage: u32) -> What<'static> {
        What::Stage { stage, lasts: Duration::from_secs(5) }
    }

    #[test]
    fn what_a_role_reports_is_written_as_if_it_were_our_own() {
        let (kept, gathering) = gathering();
        let (role, marker) = role(&gathering, || {});
        let rule = RuleId { tenant: TenantId::new("web"), name: "knock".into() };
        role.count_drops(Some(&rule.tenant), DropReason::Evicted, 3);
        role.report(&Report::of_rule(&rule, stage(2)));
        // Not severe enough there.
        role.report(&Report::of_rule(&rule, What::TimedOut { stage: 2 }));
        let path = std::path::Path::new(std::ffi::OsStr::new("/tmp/\u{e9}"));
        role.report(&Report::new(What::JournalWritable { path: path.into() }));
        role.report(&Report::new(What::Stopped { packets: None, open: 1 }));
        drop((role, marker));
        gathering.finish(Duration::from_secs(10));
        let kept = kept.0.lock().unwrap();
        assert_eq!(kept.len(), 3, "{kept:?}");
        assert!(kept[0].contains("stage 2"), "{kept:?}");
        assert!(kept[2].ends_with("came to nothing: evicted 3"), "{kept:?}");
    }

    #[test]
    fn reports_of_two_roles_are_written_in_the_order_in_which_they_were_made() {
        let (kept, gathering) = gathering();
        let marked = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&marked);
        let (one, marker) = role(&gathering, move || *counted.lock().unwrap() += 1);
        let (other, _) = role(&gathering, || {});
        for n in 0..500 {
            one.log.write(&Report::new(stage(2 * n)), &context(&one));
            other.log.write(&Report::new(stage(2 * n + 1)), &context(&other));
        }
        marker.mark();
        drop((one, marker, other));
        gathering.finish(Duration::from_secs(10));
        let kept = kept.0.lock().unwrap();
        let numbers: Vec<u32> =
            kept.iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
        assert_eq!(*marked.lock().unwrap(), 1);
    }

    fn context<L: Log>(observers: &Observers<L>) -> Context<'_> {
        Context { suppressed: None, unsaid: 0, counters: &observers.counters }
    }

    #[test]
    fn a_role_that_reports_without_end_is_left_to_wait_also_if_it_is_started_anew() {
        const SECONDS: u32 = 3;
        let (kept, gathering) = gathering();
        let pace = ReportPace::default();
        let line = |text: &str| {
            let report = Report::new(What::Library { severity: Severity::Error, text: text.into() });
            let told = Told::Report { report, suppressed: None, unsaid: 0, drops: Vec::new() };
            [b"12345678", &*serde_json::to_vec(&told).unwrap()].concat()
        };
        let (other, _marker) = role(&gathering, || {});
        let begun = Instant::now();
        for n in 1..=SECONDS {
            let (ours, of_role) = ReportTube::pair().unwrap();
            gathering.add(ours, &pace, || {});
            while begun.elapsed() < Duration::from_secs(n.into()) {
                if send(&of_role, &line("flood"), SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_err() {
                    std::thread::yield_now();
                }
            }
        }
        other.report(&Report::new(stage(7)));
        let waited = Instant::now();
        while !kept.0.lock().unwrap().iter().any(|line| line.ends_with("stage 7")) {
            assert!(waited.elapsed() < Duration::from_secs(10), "the other is not heard");
        }
        let floods = kept.0.lock().unwrap().iter().filter(|line| line.ends_with("flood")).count();
        // A burst, what time brings, and what each process has taken at once.
        let most = 4096 + 300 * begun.elapsed().as_secs() + 300 + u64::from(SECONDS) * 1024;
        assert!((4096..most).contains(&(floods as u64)), "{floods} lines, {most} at most");
        // What is taken at once is bounded in bytes as well.
        let (ours, of_role) = ReportTube::pair().unwrap();
        gathering.add(ours, &ReportPace::default(), || {});
        let long = line(&"x".repeat(100 << 10));
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            let _ = send(&of_role, &long, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
        let lines = kept.0.lock().unwrap().iter().filter(|line| line.contains("xxx")).count();
        assert!((1..100).contains(&lines), "{lines} of 100 KiB");
    }

    #[test]
    fn what_is_no_report_is_passed_over() {
        let (kept, gathering) = gathering();
        let (ours, of_role) = ReportTube::pair().unwrap();
        gathering.add(ours, &ReportPace::default(), || panic!("it is no mark"));
        let long = vec![b'x'; 200 << 10];
        for message in [&b"short"[..], b"12345678", b"12345678{\"Report\":1}", b"12345678\xff", &long] {
            let _ = send(&of_role, message, SendFlags::NOSIGNAL);
        }
        drop(of_role);
        gathering.finish(Duration::from_secs(10));
        assert!(kept.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_role_whose_reports_nobody_takes_goes_on_and_counts_what_it_drops() {
        let (_ours, of_role) = ReportTube::pair().unwrap();
        let role = Observers::new(Teller(ReportTube::of_role(of_role)), Some(Severity::Info));
        let text = "x".repeat(60 << 10);
        let says = || What::Library { severity: Severity::Error, text: text.as_str().into() };
        for _ in 0..500 {
            role.log.write(&Report::new(says()), &context(&role));
        }
        assert!(role.log.0.dropped() > 100, "{}", role.log.0.dropped());
    }
}

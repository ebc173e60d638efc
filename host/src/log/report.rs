//! Report: one log line for each thing that happens.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postern_capture::Shown;
use postern_config::Mistakes;
use postern_core::{Client, DropReason, Observer, Report, RuleId, Severity, TenantId, What, Why};
use postern_doorman::Posture;
use postern_text::panic::PastPanic;
use postern_text::{clean, duration};

use super::rate_limit::RateLimit;

/// Characters of a rule's line that are written.
const MAX_WRITTEN: usize = 400;

/// Progress of clients: anyone who knows a first port can make these lines.
static STAGES: Mutex<RateLimit> = Mutex::new(RateLimit::per_second(20, 100));
static FORGOTTEN: Mutex<RateLimit> = Mutex::new(RateLimit::per_second(20, 100));
static SAYS: Mutex<RateLimit> = Mutex::new(RateLimit::per_second(5, 20));
static FAULTS: Mutex<RateLimit> = Mutex::new(RateLimit::per_second(2, 10));
static STUCK: Mutex<RateLimit> = Mutex::new(RateLimit::per_second(5, 20));
static REFUSALS: Mutex<RateLimit> = Mutex::new(RateLimit::per_second(5, 20));
/// Openings take a whole right knock each, so only somebody who knows it can make many.
static OPENINGS: Mutex<RateLimit> = Mutex::new(RateLimit::per_second(100, 1000));

static DROPS: [AtomicU64; DropReason::ALL.len()] = [const { AtomicU64::new(0) }; DropReason::ALL.len()];

/// Counts a packet or a verdict that came to nothing.
fn count_drop(reason: DropReason) {
    DROPS[reason as usize].fetch_add(1, Ordering::Relaxed);
}

/// What came to nothing so far, by reason, without those that never happened.
pub(crate) fn drops() -> String {
    let counts =
        DropReason::ALL.iter().map(|reason| (reason, DROPS[*reason as usize].load(Ordering::Relaxed)));
    let counts = counts.map(|(reason, count)| (reason.name(), count));
    let unsaid = u64::try_from(super::unsaid()).unwrap_or(u64::MAX);
    let counts: Vec<_> = counts
        .chain([("log-line", unsaid)])
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// Puts what is observed into the log, and counts it.
#[derive(Debug)]
pub struct Told;

impl Observer for Told {
    fn report(&self, report: &Report<'_>) {
        match report.rule().filter(|_| report.door.is_none()) {
            Some(rule) => judging(rule, report),
            None => engine(report),
        }
        ledger(&report.what);
        if matches!(report.what, What::Panicked { .. }) {
            tracing::error!(
                event = "panic",
                "a worker panicked and starts over; half-finished knocks are lost"
            );
        }
    }

    fn count_drops(&self, _: Option<&TenantId>, reason: DropReason, count: u64) {
        DROPS[reason as usize].fetch_add(count, Ordering::Relaxed);
    }
}

/// Tells what came of a rule's judging a knock.
fn judging(rule: &RuleId, report: &Report<'_>) {
    let (tenant, name) = (&rule.tenant, &*rule.name);
    if let What::Says { severity, text } = &report.what {
        let Some(suppressed) = admit(&SAYS) else { return };
        return rule_says(rule, *severity, &clean(text, MAX_WRITTEN), suppressed);
    }
    let Some(src) = report.client.map(Shown) else { return };
    match &report.what {
        What::Stage { stage } => {
            let Some(suppressed) = admit(&STAGES) else { return };
            tracing::info!(event = "stage", %tenant, rule = name, %src, stage, suppressed, "{name}: {src} is at stage {stage}");
        }
        What::TimedOut { stage } => {
            let Some(suppressed) = admit_detail(&FORGOTTEN) else { return };
            tracing::debug!(event = "timeout", %tenant, rule = name, %src, stage, suppressed, "{name}: {src} took too long after stage {stage}");
        }
        What::Forgot { reason } => {
            let Some(suppressed) = admit_detail(&FORGOTTEN) else { return };
            let reason = &**reason;
            tracing::debug!(event = "forget", %tenant, rule = name, %src, reason, suppressed, "{name}: {src} starts over: {reason}");
        }
        What::Fault { detail, pause } => {
            count_drop(DropReason::Fault);
            let Some(suppressed) = admit(&FAULTS) else { return };
            let detail = &**detail;
            let rest = if pause.is_zero() {
                String::new()
            } else {
                format!("; it rests for {}", duration::show(*pause))
            };
            tracing::error!(event = "fault", %tenant, rule = name, %src, detail, suppressed, "{name}: {detail}{rest}");
        }
        What::Solved { closes } => {
            let to_close = if *closes { ", to close" } else { "" };
            tracing::debug!(event = "solved", %tenant, rule = name, %src, "{name}: {src} knocked right{to_close}");
        }
        _ => {}
    }
}

/// Tells what the engine decided or learned.
fn engine(report: &Report<'_>) {
    let Report { client: Some(client), door: Some(door), what, .. } = report else { return };
    let (src, door) = (Shown(*client), &**door);
    let (tenant, rule) = names(report);
    match what {
        What::Opened { lasts } => opening(report, *lasts, "is open"),
        What::Extended { lasts } => opening(report, *lasts, "stays open"),
        What::Closed { why } => {
            let Some(suppressed) = admit(&OPENINGS) else { return };
            let (reason, words) = match why {
                Why::Expired => ("expired", "its time is over"),
                Why::Asked => ("asked", "a rule said so"),
                Why::Failed => ("failed", "it did not open as it should"),
                Why::Stopping => ("stopping", "the daemon stops"),
                Why::Changed => ("changed", "the door cannot be open for such a client any more"),
                Why::Removed => ("removed", "somebody else removed it"),
            };
            tracing::info!(event = "close", tenant, rule, door, %src, reason, suppressed, "{door} is closed for {src}: {words}");
        }
        What::NotRecorded { detail } => not_recorded(door, *client, detail),
        What::Refused { reason, detail } => {
            count_drop(*reason);
            let Some(suppressed) = admit(&REFUSALS) else { return };
            let (drop, detail) = (reason.name(), &**detail);
            let words = if detail.is_empty() { drop } else { detail };
            tracing::warn!(event = "refuse", tenant, rule, door, %src, drop, detail, suppressed, "{door} is not opened for {src}: {words}");
        }
        What::Shortened { asked, lasts } => {
            let Some(suppressed) = admit(&REFUSALS) else { return };
            let (asked, lasts) = (duration::show(*asked), duration::show(*lasts));
            tracing::warn!(event = "shorten", tenant, rule, door, %src, suppressed, "{rule} asked for {asked} of {door}; it gets {lasts}, the ceiling of limits.for");
        }
        What::StuckOpen { detail, again_in } => {
            let Some(suppressed) = admit(&STUCK) else { return };
            let detail = &**detail;
            let next = match again_in {
                Some(pause) => format!("tried again in {}", duration::show(*pause)),
                None => "given up, please close it by hand".to_owned(),
            };
            tracing::error!(event = "stuck", tenant, rule, door, %src, detail, suppressed, "{door} does not close for {src}: {detail}; {next}");
        }
        _ => {}
    }
}

/// Tells whether used tokens are recorded.
fn ledger(what: &What<'_>) {
    let event = what.name();
    match what {
        What::LedgerUnusable { detail } => {
            let detail = &**detail;
            tracing::error!(
                event,
                detail,
                "{detail}; meanwhile every opening that needs a one-time token is refused"
            );
        }
        What::LedgerUsable { path } => {
            tracing::info!(event, "used tokens are recorded again in {}", path.display());
        }
        _ => {}
    }
}

/// Tells that a command of knockd's runs although nobody would know of it after a crash.
fn not_recorded(door: &str, client: Client, detail: &str) {
    let Some(suppressed) = admit(&REFUSALS) else { return };
    let src = Shown(client);
    tracing::error!(
        event = "not-recorded",
        door,
        %src,
        detail,
        suppressed,
        "{door} is opened for {src} all the same, but {detail}: if this daemon is killed, it stays open"
    );
}

/// Tells every mistake of a configuration that nothing is started with, and what follows from them.
pub(crate) fn start_refused(mistakes: &Mistakes, consequence: &str) {
    each(mistakes);
    let (count, detail) = (mistakes.count(), mistakes.in_one_line());
    tracing::error!(event = "start-refused", %detail, "{count}; {consequence}");
}

/// Tells every mistake of a configuration that is not taken, since another runs.
pub(crate) fn reload_refused(mistakes: &Mistakes, running: u64) {
    each(mistakes);
    let (count, detail, number) = (mistakes.count(), mistakes.in_one_line(), mistakes.iter().count());
    tracing::error!(
        event = "reload-refused",
        generation = running,
        mistakes = number,
        %detail,
        "{count}; the running configuration (generation {running}) is unchanged"
    );
}

fn each(mistakes: &Mistakes) {
    for mistake in mistakes.iter() {
        tracing::error!(event = "mistake", detail = %mistake, "{mistake}");
    }
}

/// Tells how well the guarded ports are protected.
pub(crate) fn posture(posture: Posture) {
    match posture {
        Posture::Unguarded => {}
        Posture::Owned => tracing::info!(event = "doors", "{posture}"),
        Posture::Plain(_) => tracing::warn!(event = "doors", "{posture}"),
    }
}

/// Passes on what a rule wrote.
fn rule_says(rule: &RuleId, severity: Severity, message: &str, suppressed: u64) {
    let (tenant, rule) = (&rule.tenant, &*rule.name);
    match severity {
        Severity::Error => tracing::error!(event = "says", %tenant, rule, suppressed, "{rule}: {message}"),
        Severity::Warn => tracing::warn!(event = "says", %tenant, rule, suppressed, "{rule}: {message}"),
        Severity::Info => tracing::info!(event = "says", %tenant, rule, suppressed, "{rule}: {message}"),
        Severity::Debug => tracing::debug!(event = "says", %tenant, rule, suppressed, "{rule}: {message}"),
    }
}

fn opening(report: &Report<'_>, lasts: Duration, words: &str) {
    let Some(suppressed) = admit(&OPENINGS) else { return };
    let Report { client: Some(client), door: Some(door), what, .. } = report else { return };
    let (tenant, rule) = names(report);
    let (event, src, door) = (what.name(), Shown(*client), &**door);
    // The time that the door took to answer is part of it, but not of what people asked for.
    let time = match lasts.as_secs_f64().round() {
        seconds if seconds >= 1.0 => duration::show(Duration::from_secs_f64(seconds)),
        _ => duration::show(lasts),
    };
    let lasts_s = lasts.as_secs_f64();
    tracing::info!(event, tenant, rule, door, %src, lasts_s, suppressed, "{door} {words} for {src} for {time}");
}

fn names<'a>(report: &'a Report<'_>) -> (String, &'a str) {
    report.rule().map_or((String::new(), "-"), |rule| (rule.tenant.to_string(), &*rule.name))
}

/// As [`admit`] for what is told to those only who want details: looking at the clock is more than most lines are worth.
fn admit_detail(limit: &Mutex<RateLimit>) -> Option<u64> {
    tracing::enabled!(tracing::Level::DEBUG).then(|| admit(limit)).flatten()
}

fn admit(limit: &Mutex<RateLimit>) -> Option<u64> {
    limit.lock().past_panic().admit()
}

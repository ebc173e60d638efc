//! Holds `host/docs/log.md` to the reports that there are: every kind has its row, and the row the kind's levels and fields.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use expect_test::expect_file;
use postern_core::{
    Client, CpuShare, Direction, DropReason, PacketCounts, Phase, Report, RuleId, RuleLogLevel, Severity,
    TenantId, ThreadKind, Unprotected, What, Why,
};

use super::line::Line;
use super::lines::plain_line;

const PAGE: &str = include_str!("../../docs/log.md");

/// Samples of each kind: one that says all that it can, and one for each way in which its line may differ. The patterns are a match without a
/// wildcard, so that a kind that is new here does not compile until it has a sample.
macro_rules! samples {
    ($($pattern:pat => [$($sample:expr),+],)+) => {
        fn samples() -> Vec<What<'static>> {
            let mut all = Vec::new();
            $($({
                let sample: What<'static> = $sample;
                assert!(matches!(sample, $pattern), "{sample:?} stands with another kind");
                all.push(sample);
            })+)+
            all
        }

        #[expect(dead_code, reason = "it is there to be compiled")]
        const fn has_samples(what: &What<'_>) {
            match what {
                $($pattern => {})+
            }
        }
    };
}

const TEXT: Cow<'static, str> = Cow::Borrowed("text");
const SECOND: Duration = Duration::from_secs(1);
const IN: Direction = Direction::Incoming;
const OUT: Direction = Direction::Outgoing;

fn path() -> Cow<'static, Path> {
    Cow::Borrowed(Path::new("/path"))
}

fn says(severity: Severity) -> What<'static> {
    What::Says { severity, level: RuleLogLevel::default(), text: TEXT }
}

fn library(severity: Severity) -> What<'static> {
    What::Library { severity, text: TEXT }
}

samples! {
    What::Stage { .. } => [What::Stage { stage: 1, lasts: SECOND }],
    What::TimedOut { .. } => [What::TimedOut { stage: 1 }],
    What::Forgot { .. } => [What::Forgot { reason: TEXT, level: RuleLogLevel::default() }],
    What::Solved { .. } => [What::Solved { closes: false }],
    What::Fault { .. } => [What::Fault { detail: TEXT, pause: SECOND, module: [1; 32] }],
    What::OverShare { .. } => [What::OverShare { share: CpuShare::percent(5) }],
    What::WithinShare { .. } => [What::WithinShare { dropped: 1 }],
    What::Says { .. } => [
        says(Severity::Error), says(Severity::Warn), says(Severity::Info), says(Severity::Debug)
    ],
    What::Opened { .. } => [
        What::Opened { lasts: SECOND, module: Some([1; 32]) }, What::Opened { lasts: SECOND, module: None }
    ],
    What::Extended { .. } => [What::Extended { lasts: SECOND }],
    What::Closed { .. } => [What::Closed { why: Why::Expired }],
    What::Refused { .. } => [What::Refused { reason: DropReason::DoorFailed, detail: TEXT }],
    What::WouldOpen { .. } => [What::WouldOpen { lasts: SECOND }],
    What::WouldClose => [What::WouldClose],
    What::ControlMissing { .. } => [What::ControlMissing { detail: TEXT }],
    What::MetricsMissing { .. } => [What::MetricsMissing { detail: TEXT }],
    What::HookFailed { .. } => [
        What::HookFailed { hook: TEXT, place: Some(TEXT), detail: TEXT },
        What::HookFailed { hook: TEXT, place: None, detail: TEXT }
    ],
    What::TryBegun { .. } => [What::TryBegun { lasts: SECOND }],
    What::TryConfirmed { .. } => [What::TryConfirmed { detail: TEXT }],
    What::TryNotConfirmed { .. } => [What::TryNotConfirmed { detail: TEXT }],
    What::TryOver { .. } => [What::TryOver { detail: TEXT }],
    What::ByHand { .. } => [What::ByHand { uid: 0, closes: false }],
    What::Shortened { .. } => [What::Shortened { asked: SECOND, lasts: SECOND }],
    What::StuckOpen { .. } => [
        What::StuckOpen { detail: TEXT, again_in: Some(SECOND) },
        What::StuckOpen { detail: TEXT, again_in: None }
    ],
    What::Granted => [What::Granted],
    What::CommandRuns { .. } => [What::CommandRuns { line: TEXT }],
    What::StopCommandDue => [What::StopCommandDue],
    What::CommandFailed { .. } => [What::CommandFailed { code: 1 }],
    What::CommandNotStarted { .. } => [What::CommandNotStarted { error: TEXT }],
    What::StartCommandTooLong => [What::StartCommandTooLong],
    What::StopCommandTooLong => [What::StopCommandTooLong],
    What::NotRecorded { .. } => [What::NotRecorded { detail: TEXT }],
    What::OneTimeEmpty => [What::OneTimeEmpty],
    What::OneTimeFailed { .. } => [What::OneTimeFailed { detail: TEXT }],
    What::Withdrawn => [What::Withdrawn],
    What::Back => [What::Back],
    What::JournalMissing { .. } => [What::JournalMissing { detail: TEXT, runs_commands: true }],
    What::JournalDamaged { .. } => [
        What::JournalDamaged { path: path(), detail: TEXT, kept_as: path() }
    ],
    What::JournalUnread { .. } => [What::JournalUnread { detail: TEXT }],
    What::JournalBadRecord { .. } => [What::JournalBadRecord { error: TEXT }],
    What::JournalUnwritable { .. } => [What::JournalUnwritable { path: path(), error: TEXT }],
    What::JournalWritable { .. } => [What::JournalWritable { path: path() }],
    What::JournalFull => [What::JournalFull],
    What::LedgerUnusable { .. } => [What::LedgerUnusable { detail: TEXT }],
    What::LedgerUsable { .. } => [What::LedgerUsable { path: path() }],
    What::TableOwned => [What::TableOwned],
    What::TableUnprotected { .. } => [What::TableUnprotected { why: Unprotected::Kernel }],
    What::TableTaken { .. } => [What::TableTaken { detail: TEXT }],
    What::GuardDown { .. } => [What::GuardDown { detail: TEXT }],
    What::GuardRestored { .. } => [What::GuardRestored { ports: 1 }],
    What::FilterUnwatched { .. } => [What::FilterUnwatched { error: TEXT }],
    What::LinkBroken { .. } => [What::LinkBroken { detail: TEXT }],
    What::OpeningsUnread { .. } => [What::OpeningsUnread { detail: TEXT }],
    What::DoorsRefused { .. } => [What::DoorsRefused { generation: 1, detail: TEXT }],
    What::NotReleased { .. } => [What::NotReleased { detail: TEXT }],
    What::ConnectionsKept { .. } => [What::ConnectionsKept { connections: 1 }],
    What::ConnectionsCut { .. } => [What::ConnectionsCut { connections: 1 }],
    What::ConnectionsUntracked { .. } => [What::ConnectionsUntracked { error: TEXT }],
    What::Listening { .. } => [
        What::Listening { interface: TEXT, link: TEXT, direction: IN },
        What::Listening { interface: TEXT, link: TEXT, direction: OUT }
    ],
    What::ListeningAgain { .. } => [
        What::ListeningAgain { interface: TEXT, link: TEXT, was_open: true }
    ],
    What::NotListening { .. } => [
        What::NotListening { interface: TEXT, reason: TEXT, direction: IN },
        What::NotListening { interface: TEXT, reason: TEXT, direction: OUT }
    ],
    What::CaptureNotStarted { .. } => [What::CaptureNotStarted { detail: TEXT }],
    What::FilterWidened { .. } => [What::FilterWidened { from: 2, to: 1 }],
    What::FilterCramped { .. } => [What::FilterCramped { interface: TEXT }],
    What::LinksUnknown { .. } => [What::LinksUnknown { interface: TEXT }],
    What::FramePanicked { .. } => [What::FramePanicked { interface: TEXT, panics: 1 }],
    What::NetworkRead { .. } => [What::NetworkRead { addresses: 1, links: 1 }],
    What::NetworkUnread { .. } => [What::NetworkUnread { error: TEXT }],
    What::NetworkUnfollowed { .. } => [What::NetworkUnfollowed { error: TEXT }],
    What::Mistake { .. } => [What::Mistake { detail: TEXT }],
    What::MoreMistakes { .. } => [What::MoreMistakes { mistakes: 1 }],
    What::StartRefused { .. } => [
        What::StartRefused { mistakes: 1, detail: TEXT, guards: Some(TEXT) },
        What::StartRefused { mistakes: 1, detail: TEXT, guards: None }
    ],
    What::ReloadRefused { .. } => [What::ReloadRefused { generation: 1, mistakes: 1, detail: TEXT }],
    What::TenantRefused { .. } => [What::TenantRefused { rules: 1, mistakes: 1, detail: TEXT }],
    What::TenantCompiling { .. } => [What::TenantCompiling { rules: 1 }],
    What::TenantTrying { .. } => [What::TenantTrying { rules: 1, untried: 1 }],
    What::DoorLost { .. } => [What::DoorLost { without: Some(TEXT) }, What::DoorLost { without: None }],
    What::Untrusted => [What::Untrusted],
    What::Loaded { .. } => [
        What::Loaded { module: [1; 32], signer: Some(TEXT) }, What::Loaded { module: [1; 32], signer: None }
    ],
    What::InForce { .. } => [What::InForce { generation: 1, rules: 1, doors: 1 }],
    What::NextStart { .. } => [What::NextStart { detail: TEXT }],
    What::Advice { .. } => [What::Advice { text: TEXT }],
    What::Hangup => [What::Hangup],
    What::Slow { .. } => [
        What::Slow { phase: Phase::Reload, seconds: 1, detail: TEXT, may_overtake: Some(true) }
    ],
    What::NoThread { .. } => [What::NoThread { error: TEXT }],
    What::CodeNotKept { .. } => [What::CodeNotKept { detail: TEXT }],
    What::GrantsNotWritten { .. } => [What::GrantsNotWritten { detail: TEXT }],
    What::NotWatched { .. } => [What::NotWatched { folder: Some(path()), error: TEXT }],
    What::Ready { .. } => [What::Ready { generation: 1 }],
    What::Confined { .. } => [What::Confined { role: TEXT, detail: TEXT }],
    What::BarrierMissing { .. } => [What::BarrierMissing { role: TEXT, detail: TEXT }],
    What::OneProcess { .. } => [What::OneProcess { detail: TEXT }],
    What::RoleEnded { .. } => [What::RoleEnded { role: TEXT, detail: TEXT, again_in: SECOND }],
    What::ProbeMissing { .. } => [What::ProbeMissing { detail: TEXT }],
    What::Panicked { .. } => [What::Panicked { thread: ThreadKind::Worker }],
    What::Library { .. } => [
        library(Severity::Error), library(Severity::Warn), library(Severity::Info), library(Severity::Debug)
    ],
    What::Stopping => [What::Stopping],
    What::Stopped { .. } => [
        What::Stopped { packets: Some(PacketCounts { received: 1, lost: 1 }), open: 1 },
        What::Stopped { packets: None, open: 1 }
    ],
    What::Untidy { .. } => [What::Untidy { doors: 1 }],
}

/// Levels and fields of a kind, the latter with a `?` behind those that are not always there.
type Row = (BTreeSet<String>, BTreeSet<String>);

/// What stands in the rows of the page, by the name of the kind.
fn written() -> BTreeMap<String, Row> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, levels, fields, what] = cells[..] else { panic!("{line} has not four cells") };
        assert!(!what.is_empty(), "{line}");
        let set = |text: &str| {
            let parts = text.split(',').map(|part| part.trim().replace('`', ""));
            parts.filter(|part| !part.is_empty()).collect()
        };
        (name.replace('`', ""), (set(levels), set(fields)))
    };
    let mut written = BTreeMap::new();
    for (name, row) in rows.map(row) {
        assert!(written.insert(name.clone(), row).is_none(), "{name} has two rows");
    }
    written
}

/// The same as the lines of all samples have it.
fn found() -> BTreeMap<String, Row> {
    let mut lines: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for what in samples() {
        let name = what.name().to_owned();
        lines.entry(name).or_default().push(plain_line(&Report::new(what)));
    }
    let row = |lines: &Vec<Line>| {
        let levels = lines.iter().map(|line| line.level.to_lowercase()).collect();
        // Whose it is stands in front of what is the kind's own, if only for openings here.
        let own = |line: &Line| -> BTreeSet<&'static str> {
            let names = line.fields.iter().map(|(name, _)| *name);
            names.filter(|name| !["event", "tenant", "rule", "door", "src"].contains(name)).collect()
        };
        let all: BTreeSet<_> = lines.iter().flat_map(own).collect();
        let is_in_each = |name: &str| lines.iter().all(|line| own(line).contains(name));
        let fields =
            all.into_iter().map(|name| if is_in_each(name) { name.to_owned() } else { format!("{name}?") });
        (levels, fields.collect())
    };
    lines.iter().map(|(name, lines)| (name.clone(), row(lines))).collect()
}

#[test]
fn every_report_is_documented_with_its_levels_and_fields() {
    let (written, found) = (written(), found());
    for (name, row) in &found {
        assert_eq!(written.get(name), Some(row), "what log.md says of `{name}`");
    }
    let unknown: Vec<_> = written.keys().filter(|name| !found.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "log.md has rows for what is never reported: {unknown:?}");
}

#[test]
fn every_name_is_among_those_that_hooks_may_say() {
    let (known, found): (BTreeSet<_>, BTreeSet<_>) =
        (What::NAMES.into(), samples().iter().map(What::name).collect());
    assert_eq!(known, found);
    assert_eq!(What::NAMES.len(), known.len(), "a name stands there twice");
}

#[test]
fn every_reason_of_a_closing_is_documented() {
    let row = PAGE.lines().find(|line| line.starts_with("| `close`")).expect("it has a row");
    for why in [Why::Expired, Why::Asked, Why::Failed, Why::Stopping, Why::Changed, Why::Removed] {
        let line = plain_line(&Report::new(What::Closed { why }));
        let reason = line.fields.iter().find_map(|(name, value)| match value {
            super::Value::Text(text) if *name == "reason" => Some(format!("`{text}`")),
            _ => None,
        });
        assert!(reason.as_ref().is_some_and(|reason| row.contains(reason)), "{reason:?} in {row}");
    }
}

/// The words of every report, as the log and `postern tail` have them, held by a file; `UPDATE_EXPECT=1` writes it.
#[test]
fn the_words_of_every_report_are_held_by_a_file() {
    let rule = RuleId { tenant: TenantId::new("web"), name: "gate".into() };
    let client = Client::alone("192.0.2.7".parse().unwrap());
    let words = samples().into_iter().map(|what| {
        let report = Report { door: Some("shop".into()), ..Report::of_rule(&rule, what).with_client(client) };
        let line = plain_line(&report);
        format!("{:5} {:20} {}\n", line.level.to_lowercase(), report.what.name(), line.words)
    });
    expect_file!["golden/reports.txt"].assert_eq(&words.collect::<String>());
}

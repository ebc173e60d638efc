//! The name of what happened, how bad it is, and as what it counts.

use super::{Report, Severity, What};
use crate::drop_reason::DropReason;
use crate::knock::Direction;

impl Report<'_> {
    /// Why something came to nothing by this, if it did.
    #[must_use]
    pub const fn drop_reason(&self) -> Option<DropReason> {
        match &self.what {
            What::Fault { .. } => Some(DropReason::Fault),
            What::Refused { reason, .. } => Some(*reason),
            What::WouldOpen { .. } | What::WouldClose => Some(DropReason::Trial),
            _ => None,
        }
    }
}

impl What<'_> {
    /// Every name that there is.
    pub const NAMES: [&'static str; 98] = [
        "stage",
        "timeout",
        "try",
        "try-confirmed",
        "try-not-confirmed",
        "try-over",
        "forget",
        "solved",
        "fault",
        "over-share",
        "within-share",
        "says",
        "open",
        "extend",
        "close",
        "refuse",
        "would-open",
        "would-close",
        "control-missing",
        "metrics-missing",
        "hook-failed",
        "by-hand",
        "shorten",
        "stuck",
        "granted",
        "command",
        "command-timeout",
        "command-failed",
        "command-not-started",
        "start-command-too-long",
        "stop-command-too-long",
        "not-recorded",
        "one-time-empty",
        "one-time-failed",
        "withdrawn",
        "back",
        "journal-missing",
        "journal-damaged",
        "journal-unread",
        "journal-bad-record",
        "journal-unwritable",
        "journal-writable",
        "journal-full",
        "ledger-unusable",
        "ledger-usable",
        "doors",
        "table-taken",
        "guard-down",
        "guard-restored",
        "filter-unwatched",
        "link-broken",
        "openings-unread",
        "doors-refused",
        "not-released",
        "connections-kept",
        "connections-cut",
        "connections-untracked",
        "listening",
        "listening-again",
        "not-listening",
        "capture-not-started",
        "filter-widened",
        "filter-cramped",
        "links-unknown",
        "frame-panic",
        "network",
        "network-unread",
        "network-unfollowed",
        "mistake",
        "more-mistakes",
        "start-refused",
        "reload-refused",
        "tenant-refused",
        "tenant-compiling",
        "tenant-trying",
        "door-lost",
        "untrusted",
        "loaded",
        "reload",
        "next-start",
        "advice",
        "hangup",
        "slow",
        "no-thread",
        "confined",
        "barrier-missing",
        "one-process",
        "role-ended",
        "code-not-kept",
        "grants-not-written",
        "not-watched",
        "ready",
        "probe-missing",
        "panic",
        "library",
        "stopping",
        "stop",
        "untidy",
    ];

    /// The name in logs: programs know an event by it. No two share one but [`What::TableOwned`] and [`What::TableUnprotected`], which
    /// are two answers to the same question.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Stage { .. } => "stage",
            Self::TimedOut { .. } => "timeout",
            Self::Forgot { .. } => "forget",
            Self::Solved { .. } => "solved",
            Self::Fault { .. } => "fault",
            Self::OverShare { .. } => "over-share",
            Self::WithinShare { .. } => "within-share",
            Self::Says { .. } => "says",
            Self::Opened { .. } => "open",
            Self::Extended { .. } => "extend",
            Self::Closed { .. } => "close",
            Self::Refused { .. } => "refuse",
            Self::WouldOpen { .. } => "would-open",
            Self::WouldClose => "would-close",
            Self::ControlMissing { .. } => "control-missing",
            Self::MetricsMissing { .. } => "metrics-missing",
            Self::HookFailed { .. } => "hook-failed",
            Self::ByHand { .. } => "by-hand",
            Self::Shortened { .. } => "shorten",
            Self::StuckOpen { .. } => "stuck",
            Self::Granted => "granted",
            Self::CommandRuns { .. } => "command",
            Self::StopCommandDue => "command-timeout",
            Self::CommandFailed { .. } => "command-failed",
            Self::CommandNotStarted { .. } => "command-not-started",
            Self::StartCommandTooLong => "start-command-too-long",
            Self::StopCommandTooLong => "stop-command-too-long",
            Self::NotRecorded { .. } => "not-recorded",
            Self::OneTimeEmpty => "one-time-empty",
            Self::OneTimeFailed { .. } => "one-time-failed",
            Self::Withdrawn => "withdrawn",
            Self::Back => "back",
            Self::JournalMissing { .. } => "journal-missing",
            Self::JournalDamaged { .. } => "journal-damaged",
            Self::JournalUnread { .. } => "journal-unread",
            Self::JournalBadRecord { .. } => "journal-bad-record",
            Self::JournalUnwritable { .. } => "journal-unwritable",
            Self::JournalWritable { .. } => "journal-writable",
            Self::JournalFull => "journal-full",
            Self::LedgerUnusable { .. } => "ledger-unusable",
            Self::LedgerUsable { .. } => "ledger-usable",
            Self::TableOwned | Self::TableUnprotected { .. } => "doors",
            Self::TableTaken { .. } => "table-taken",
            Self::GuardDown { .. } => "guard-down",
            Self::GuardRestored { .. } => "guard-restored",
            Self::FilterUnwatched { .. } => "filter-unwatched",
            Self::LinkBroken { .. } => "link-broken",
            Self::OpeningsUnread { .. } => "openings-unread",
            Self::DoorsRefused { .. } => "doors-refused",
            Self::NotReleased { .. } => "not-released",
            Self::ConnectionsKept { .. } => "connections-kept",
            Self::ConnectionsCut { .. } => "connections-cut",
            Self::ConnectionsUntracked { .. } => "connections-untracked",
            Self::Listening { .. } => "listening",
            Self::ListeningAgain { .. } => "listening-again",
            Self::NotListening { .. } => "not-listening",
            Self::CaptureNotStarted { .. } => "capture-not-started",
            Self::FilterWidened { .. } => "filter-widened",
            Self::FilterCramped { .. } => "filter-cramped",
            Self::LinksUnknown { .. } => "links-unknown",
            Self::FramePanicked { .. } => "frame-panic",
            Self::NetworkRead { .. } => "network",
            Self::NetworkUnread { .. } => "network-unread",
            Self::NetworkUnfollowed { .. } => "network-unfollowed",
            Self::Mistake { .. } => "mistake",
            Self::MoreMistakes { .. } => "more-mistakes",
            Self::StartRefused { .. } => "start-refused",
            Self::ReloadRefused { .. } => "reload-refused",
            Self::TenantRefused { .. } => "tenant-refused",
            Self::TenantCompiling { .. } => "tenant-compiling",
            Self::TenantTrying { .. } => "tenant-trying",
            Self::DoorLost { .. } => "door-lost",
            Self::Untrusted => "untrusted",
            Self::Loaded { .. } => "loaded",
            Self::InForce { .. } => "reload",
            Self::NextStart { .. } => "next-start",
            Self::Advice { .. } => "advice",
            Self::Hangup => "hangup",
            Self::Slow { .. } => "slow",
            Self::NoThread { .. } => "no-thread",
            Self::Confined { .. } => "confined",
            Self::BarrierMissing { .. } => "barrier-missing",
            Self::OneProcess { .. } => "one-process",
            Self::TryBegun { .. } => "try",
            Self::TryConfirmed { .. } => "try-confirmed",
            Self::TryNotConfirmed { .. } => "try-not-confirmed",
            Self::TryOver { .. } => "try-over",
            Self::RoleEnded { .. } => "role-ended",
            Self::CodeNotKept { .. } => "code-not-kept",
            Self::GrantsNotWritten { .. } => "grants-not-written",
            Self::NotWatched { .. } => "not-watched",
            Self::Ready { .. } => "ready",
            Self::ProbeMissing { .. } => "probe-missing",
            Self::Panicked { .. } => "panic",
            Self::Library { .. } => "library",
            Self::Stopping => "stopping",
            Self::Stopped { .. } => "stop",
            Self::Untidy { .. } => "untidy",
        }
    }

    /// Whether a log takes it whose own lines must be at least so severe; none: it takes nothing. For what a rule's module says, in a line or as why a
    /// client starts over, the level of that rule counts, if it has one.
    #[must_use]
    pub fn is_logged(&self, least: Option<Severity>) -> bool {
        match self {
            Self::Says { level, .. } | Self::Forgot { level, .. } => level.admits(self.severity(), least),
            other => least.is_some_and(|least| other.severity() <= least),
        }
    }

    /// How bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Says { severity, .. } | Self::Library { severity, .. } => *severity,
            Self::Fault { .. }
            | Self::StuckOpen { .. }
            | Self::CommandFailed { .. }
            | Self::CommandNotStarted { .. }
            | Self::StartCommandTooLong
            | Self::StopCommandTooLong
            | Self::NotRecorded { .. }
            | Self::OneTimeEmpty
            | Self::OneTimeFailed { .. }
            | Self::JournalMissing { .. }
            | Self::JournalDamaged { .. }
            | Self::JournalUnread { .. }
            | Self::JournalBadRecord { .. }
            | Self::JournalUnwritable { .. }
            | Self::JournalFull
            | Self::LedgerUnusable { .. }
            | Self::TableTaken { .. }
            | Self::GuardDown { .. }
            | Self::DoorsRefused { .. }
            | Self::NotReleased { .. }
            | Self::CaptureNotStarted { .. }
            | Self::FramePanicked { .. }
            | Self::Mistake { .. }
            | Self::MoreMistakes { .. }
            | Self::StartRefused { .. }
            | Self::ReloadRefused { .. }
            | Self::TenantRefused { .. }
            | Self::LinkBroken { .. }
            | Self::NoThread { .. }
            | Self::RoleEnded { .. }
            | Self::ProbeMissing { .. }
            | Self::TryNotConfirmed { .. }
            | Self::Panicked { .. }
            | Self::Untidy { .. } => Severity::Error,
            Self::Refused { .. }
            | Self::Shortened { .. }
            | Self::OverShare { .. }
            | Self::Withdrawn
            | Self::DoorLost { .. }
            | Self::Untrusted
            | Self::TableUnprotected { .. }
            | Self::GuardRestored { .. }
            | Self::FilterUnwatched { .. }
            | Self::OpeningsUnread { .. }
            | Self::ConnectionsCut { .. }
            | Self::ConnectionsUntracked { .. }
            | Self::NotListening { direction: Direction::Incoming, .. }
            | Self::FilterWidened { .. }
            | Self::FilterCramped { .. }
            | Self::NetworkUnread { .. }
            | Self::NetworkUnfollowed { .. }
            | Self::NextStart { .. }
            | Self::Advice { .. }
            | Self::Slow { .. }
            | Self::BarrierMissing { .. }
            | Self::OneProcess { .. }
            | Self::TryOver { .. }
            | Self::CodeNotKept { .. }
            | Self::GrantsNotWritten { .. }
            | Self::ControlMissing { .. }
            | Self::MetricsMissing { .. }
            | Self::HookFailed { .. }
            | Self::NotWatched { .. } => Severity::Warn,
            Self::Stage { .. }
            | Self::Opened { .. }
            | Self::Extended { .. }
            | Self::Closed { .. }
            | Self::WouldOpen { .. }
            | Self::ByHand { .. }
            | Self::TryBegun { .. }
            | Self::TryConfirmed { .. }
            | Self::WouldClose
            | Self::Back
            | Self::JournalWritable { .. }
            | Self::LedgerUsable { .. }
            | Self::TableOwned
            | Self::ConnectionsKept { .. }
            | Self::Listening { direction: Direction::Incoming, .. }
            | Self::ListeningAgain { .. }
            | Self::WithinShare { .. }
            | Self::TenantCompiling { .. }
            | Self::TenantTrying { .. }
            | Self::Loaded { .. }
            | Self::InForce { .. }
            | Self::Hangup
            | Self::Ready { .. }
            | Self::Confined { .. }
            | Self::Stopped { .. } => Severity::Info,
            // Where packets leave, the capture of those that come in says the same.
            Self::Listening { direction: Direction::Outgoing, .. }
            | Self::NotListening { direction: Direction::Outgoing, .. }
            | Self::TimedOut { .. }
            | Self::Forgot { .. }
            | Self::Solved { .. }
            | Self::Granted
            | Self::CommandRuns { .. }
            | Self::StopCommandDue
            | Self::LinksUnknown { .. }
            | Self::NetworkRead { .. }
            | Self::Stopping => Severity::Debug,
        }
    }
}

//! Words: a report as a sentence, for people.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::time::Duration;

use postern_capture::Shown;
use postern_core::{
    Client, Direction, DropReason, ModuleDigest, PacketCounts, Phase, Report, RuleId, TenantId, ThreadKind,
    Unprotected, What, Why, show_digest,
};
use postern_text::{clean, duration};

/// Characters of a rule's line that are written.
const MAX_WRITTEN: usize = 400;

/// A report in a sentence, without what the log adds to it.
pub(crate) fn words(report: &Report<'_>) -> String {
    let rule = report.rule().map_or_else(|| "-".to_owned(), RuleId::to_string);
    let door = report.door.as_deref().unwrap_or_default();
    let src = Src(report.client);
    match &report.what {
        What::Stage { stage, .. } => format!("{rule}: {src} is at stage {stage}"),
        What::TimedOut { stage } => format!("{rule}: {src} took too long after stage {stage}"),
        What::Forgot { reason, .. } if reason.trim().is_empty() => {
            format!("{rule}: {src} starts over; the rule does not say why")
        }
        What::Forgot { reason, .. } => format!("{rule}: {src} starts over: {reason}"),
        What::Solved { closes: false } => format!("{rule}: {src} knocked right"),
        What::Solved { closes: true } => format!("{rule}: {src} knocked right, to close"),
        What::Fault { detail, pause, .. } if pause.is_zero() => format!("{rule}: {detail}"),
        What::Fault { detail, pause, .. } => {
            format!(
                "{rule}: {detail}; since it keeps faulting, it is not called for {}",
                duration::show(*pause)
            )
        }
        What::OverShare { share } => format!(
            "{}: more than {share} of a processor is used; packets are dropped meanwhile, and counted as {}",
            whose_share(report),
            DropReason::OverShare
        ),
        What::WithinShare { dropped } => format!(
            "{}: no more of a processor is used than there is; {} dropped meanwhile, and counted as {}",
            whose_share(report),
            if *dropped == 1 { "1 packet was".to_owned() } else { format!("{dropped} packets were") },
            DropReason::OverShare
        ),
        What::Says { text, .. } => format!("{rule}: {}", clean(text, MAX_WRITTEN)),
        What::Opened { lasts, .. } => format!("{door} is open for {src} for {}", as_asked(*lasts)),
        What::Extended { lasts } => format!("{door} stays open for {src} for {}", as_asked(*lasts)),
        What::Closed { why: Why::Asked } if is_by_hand(report) => {
            format!("{door} is closed for {src}, by hand")
        }
        What::Closed { why } => format!("{door} is closed for {src}: {}", because(*why)),
        What::Refused { reason, detail } => {
            let detail = if detail.is_empty() { reason.name() } else { detail };
            let (door, is) = if door.is_empty() { ("no door", "is") } else { (door, "is not") };
            format!("{door} {is} opened for {src}: {detail}")
        }
        What::WouldOpen { lasts } => {
            format!("{rule} is on trial: {door} would be open for {src} for {}", as_asked(*lasts))
        }
        What::ByHand { uid, closes } => {
            let act = if *closes { "closed" } else { "opened" };
            format!("user {uid} wants {door} {act} for {src}")
        }
        What::WouldClose => format!("{rule} is on trial: {door} would be closed for {src}"),
        What::Shortened { asked, lasts } => format!(
            "{rule} asked for {} of {door}; it gets {}, the longest that it may have",
            duration::show(*asked),
            duration::show(*lasts)
        ),
        What::StuckOpen { detail, again_in } => {
            let next = match again_in {
                Some(pause) => format!("tried again in {}", duration::show(*pause)),
                None => "given up, please close it by hand".to_owned(),
            };
            format!("{door} does not close for {src}: {detail}; {next}")
        }
        What::Granted => format!("{door}: {src} gets in"),
        What::CommandRuns { line } => format!("{door}: running command: {line}"),
        What::StopCommandDue => format!("{src}: {door}: command timeout"),
        What::CommandFailed { code } => format!("{door}: command returned non-zero status code ({code})"),
        What::CommandNotStarted { error } => format!("{door}: /bin/sh cannot be started: {error}"),
        What::StartCommandTooLong => {
            format!("{door}: the start command for {src} is too long; nothing is run")
        }
        What::StopCommandTooLong => format!("{door}: the stop command for {src} is too long; nothing is run"),
        What::NotRecorded { detail } => {
            format!(
                "{door} is opened for {src} all the same, but {detail}: if this daemon is killed, it stays open"
            )
        }
        What::OneTimeEmpty => {
            format!(
                "no more sequences left in the one time sequences file for door {door} --> disabling the door"
            )
        }
        What::OneTimeFailed { detail } => format!("{rule} opens nothing any more: {detail}"),
        What::Withdrawn => format!(
            "{rule} opens nothing any more: its file is gone, though the reload that takes it away is not in force yet"
        ),
        What::Loaded { module, signer } => {
            let signed = if signer.is_some() { ", which is signed" } else { "" };
            format!("{rule} runs module {}{signed}", short(module))
        }
        What::Untrusted => format!(
            "{rule} does not run any more: its module is not signed by a key that postern.toml trusts now"
        ),
        What::DoorLost { without: None } => format!(
            "{rule} goes on as it was, but it cannot open {door} any more: postern.toml does not grant it"
        ),
        What::DoorLost { without: Some(first) } => format!(
            "{rule} goes on as it was, but it cannot open {door} any more: postern.toml does not grant its first door, {first}, and without that one it opens none"
        ),
        What::TenantCompiling { rules } => format!(
            "modules of tenant {} are being compiled; meanwhile it goes on with {}",
            owner(report),
            counted(*rules, "rule")
        ),
        What::TenantTrying { rules, untried } => format!(
            "rules of tenant {} take long to try: {} to go; meanwhile it goes on with {}",
            owner(report),
            counted(*untried, "rule"),
            counted(*rules, "rule")
        ),
        What::TenantRefused { rules, mistakes, .. } => {
            let tenant = owner(report);
            let rules = match rules {
                0 => "has no rules until then".to_owned(),
                rules => format!("goes on with what it had, {}", counted(*rules, "rule")),
            };
            format!("{} in rules of tenant {tenant}, which {rules}", counted(*mistakes, "mistake"))
        }
        What::Back => format!("{rule} opens again: its file is back"),
        What::JournalFull => format!(
            "{door} is still open for {src}, and too many others are for the journal to keep that; close it by hand"
        ),
        other => of_machine(other).into_owned(),
    }
}

/// What is about no rule, door or client.
fn of_machine<'a>(what: &'a What<'a>) -> Cow<'a, str> {
    match what {
        What::JournalMissing { detail, runs_commands: true } => format!(
            "{detail}; if this daemon is killed, what start commands have opened stays open, and what an earlier one left open does, too"
        ),
        What::JournalMissing { detail, runs_commands: false } => {
            format!("{detail}; what commands of an earlier daemon have opened stays open")
        }
        What::JournalDamaged { path, detail, kept_as } => format!(
            "the journal {} is not used: {detail}; it is kept as {}; close by hand what commands have opened",
            path.display(),
            kept_as.display()
        ),
        What::JournalUnread { detail } => format!("{detail}; what is in it stays open until a later start"),
        What::JournalBadRecord { error } => {
            format!("a record of the journal makes no sense: {error}; close by hand what it was for")
        }
        What::JournalUnwritable { path, error } => format!(
            "the journal {} cannot be written: {error}; see to its disk; meanwhile doors with commands open for no client, or, if they are a knockd.conf's, stay open after a crash; it is tried again every second",
            path.display()
        ),
        What::JournalWritable { path } => format!("the journal {} can be written again", path.display()),
        What::LedgerUnusable { detail } => {
            format!("{detail}; meanwhile every opening that needs a one-time token is refused")
        }
        What::LedgerUsable { path } => format!("used tokens are recorded again in {}", path.display()),
        What::TableOwned => return "the table inet postern is owned: nobody else can change it".into(),
        What::TableUnprotected { why: Unprotected::Kernel } => {
            return "the table inet postern is unprotected: a flush of the ruleset opens the guarded ports until it is put back; Linux 6.9 and later can protect it".into();
        }
        What::TableUnprotected { why: Unprotected::Found } => {
            return "the table inet postern was found without an owner and is unprotected: a flush of the ruleset opens the guarded ports until it is put back; remove the table and start again to have it protected".into();
        }
        What::TableTaken { detail } => {
            format!("{detail}; this daemon waits for that, and opens nothing meanwhile")
        }
        What::GuardDown { detail } => {
            format!("the guard cannot be put up again: {detail}; trying again in a second")
        }
        What::GuardRestored { ports: 0 } => return "the guard is up again".into(),
        What::GuardRestored { ports } => format!(
            "another program took {ports} of the guarded ports and ranges out of the packet filter; they are guarded again, and open doors are open again: have that program leave \
             the table inet postern alone"
        ),
        What::FilterUnwatched { error } => {
            format!("changes that others make to the packet filter will not be noticed: {error}")
        }
        What::LinkBroken { detail } => format!("a link between processes of this daemon is broken: {detail}"),
        What::OpeningsUnread { detail } => format!("what is open cannot be read back: {detail}"),
        What::DoorsRefused { generation, detail } => format!(
            "the doors cannot be changed: {detail}; the running configuration (generation {generation}) is unchanged"
        ),
        What::NotReleased { detail } => format!(
            "ports that nobody guards any more stay closed: {detail}; trying again in two seconds"
        ),
        What::ConnectionsKept { connections } => {
            format!("connections to ports that are guarded from now on live on: {connections}")
        }
        What::ConnectionsCut { connections } => format!(
            "connections to ports that are guarded from now on are cut until their clients knock, as on_close says: {connections}"
        ),
        What::ConnectionsUntracked { error } => format!(
            "connections to ports that are guarded from now on may be cut if they were idle: they cannot be tracked ({error})"
        ),
        What::Listening { interface, direction: Direction::Incoming, .. } => format!("listening on {interface}"),
        What::Listening { interface, direction: Direction::Outgoing, .. } => {
            format!("listening to what leaves on {interface}")
        }
        What::ListeningAgain { interface, was_open: true, .. } => format!("listening again on {interface}"),
        What::ListeningAgain { interface, was_open: false, .. } => format!("listening on {interface} now"),
        What::NotListening { reason, direction: Direction::Incoming, .. } => {
            format!("not listening; trying again until it works: {reason}")
        }
        What::NotListening { reason, direction: Direction::Outgoing, .. } => {
            format!("not listening to what leaves; trying again until it works: {reason}")
        }
        What::CaptureNotStarted { detail } | What::Mistake { detail } => return Cow::Borrowed(detail),
        What::Advice { text } | What::NextStart { detail: text } | What::Library { text, .. } => {
            return Cow::Borrowed(text);
        }
        What::FilterWidened { from, to } => format!(
            "{from} port ranges are too many for the kernel's filter; it lets {to} wider ones through and the daemon sorts them out"
        ),
        What::FilterCramped { .. } => {
            return "the kernel has little room for filters, so unwanted packets may pass at least while they change; raise net.core.optmem_max".into();
        }
        What::LinksUnknown { .. } => return "libpcap does not say on which interface a frame came in".into(),
        What::FramePanicked { .. } => return "a frame made its handler panic".into(),
        What::NetworkRead { .. } => return "read what has changed of addresses and links".into(),
        What::NetworkUnread { error } => {
            format!("cannot read the addresses and links of this machine: {error}; trying again")
        }
        What::NetworkUnfollowed { error } => {
            format!("changes of addresses and links are no longer followed: {error}")
        }
        What::MoreMistakes { mistakes } => {
            format!("{} more; `posternd check` shows all", counted(*mistakes, "mistake"))
        }
        What::StartRefused { mistakes, guards: None, .. } => {
            format!("{}; the daemon does not start", counted(*mistakes, "mistake"))
        }
        What::StartRefused { mistakes, guards: Some(file), .. } => format!(
            "{}; the daemon does not start; guarded ports are closed all the same (`posternd reset --config {file}` opens them)",
            counted(*mistakes, "mistake")
        ),
        What::ReloadRefused { generation, mistakes, .. } => format!(
            "{}; the running configuration (generation {generation}) is unchanged",
            counted(*mistakes, "mistake")
        ),
        What::InForce { generation, rules, doors } => format!(
            "generation {generation} is in force: {}, {}",
            counted(*rules, "rule"),
            counted(*doors, "door")
        ),
        What::Hangup => return "reloading, as SIGHUP says".into(),
        What::Slow { phase, seconds, detail, may_overtake } => slow(*phase, *seconds, detail, *may_overtake),
        What::NoThread { error } => {
            format!("nothing can be reloaded at the moment: {error}; trying again")
        }
        What::CodeNotKept { detail } => {
            format!("compiled rules are not kept, so each start compiles them again: {detail}")
        }
        What::ControlMissing { detail } => {
            format!("nobody can ask this daemon with `postern status` and the like: {detail}")
        }
        What::HookFailed { hook, place: Some(place), detail } => format!("{place}: {hook}: {detail}"),
        What::HookFailed { hook, place: None, detail } => format!("{hook}: {detail}"),
        What::MetricsMissing { detail } => format!("nobody can have metrics of this daemon: {detail}"),
        What::GrantsNotWritten { detail } => {
            format!("`posternd check --tenant` does not see what tenants are granted now: {detail}")
        }
        What::NotWatched { folder: Some(folder), error } => {
            format!("changes in {} will not be noticed ({error}); send SIGHUP instead", folder.display())
        }
        What::NotWatched { folder: None, error } => {
            format!("file changes will not be noticed ({error}); send SIGHUP instead")
        }
        What::Ready { .. } => return "listening on all interfaces".into(),
        What::Confined { role, detail } => format!("the {role} is confined by {detail}"),
        What::BarrierMissing { role, detail } => format!("{role} runs without a barrier: {detail}"),
        What::OneProcess { detail } => format!("everything runs in one process: {detail}"),
        What::TryBegun { lasts } => {
            format!("trying: the guard goes in {} unless it is confirmed", duration::show(*lasts))
        }
        What::TryConfirmed { detail } => format!("the guard stays: {detail}"),
        What::TryNotConfirmed { detail } => format!("the guard does not stay so far: {detail}"),
        What::TryOver { detail } => format!("the trial is over, and the guard with it: {detail}"),
        What::RoleEnded { role, detail, again_in } => {
            format!("the {role} ended ({detail}); the next one starts in {}", duration::show(*again_in))
        }
        What::Panicked { thread } => return panicked(*thread).into(),
        What::Stopping => return "stopping".into(),
        What::Stopped { packets, open } => {
            let packets = match packets {
                Some(PacketCounts { received, lost }) => {
                    format!("{} captured, {lost} lost", counted(*received, "packet"))
                }
                None => "a capture was too busy to say how many packets were captured".to_owned(),
            };
            let open = match open {
                1 => "1 door stays open for its time".to_owned(),
                _ => format!("{open} doors stay open for their time"),
            };
            format!("stopped; {packets}; {open}")
        }
        What::ProbeMissing { detail } => format!(
            "the watchdog's knock has not come back: {detail}; a daemon that stays so is restarted if systemd watches over it"
        ),
        What::Untidy { doors: 1 } => {
            return "1 door could not be closed by its command; please close it by hand".into();
        }
        What::Untidy { doors } => {
            format!("{doors} doors could not be closed by their commands; please close them by hand")
        }
        // These have words above; named, so that something new cannot be forgotten.
        What::Stage { .. }
        | What::TimedOut { .. }
        | What::Forgot { .. }
        | What::Solved { .. }
        | What::Fault { .. }
        | What::OverShare { .. }
        | What::WithinShare { .. }
        | What::Says { .. }
        | What::Opened { .. }
        | What::Extended { .. }
        | What::Closed { .. }
        | What::Refused { .. }
        | What::ByHand { .. }
        | What::WouldOpen { .. }
        | What::WouldClose
        | What::Shortened { .. }
        | What::StuckOpen { .. }
        | What::Granted
        | What::CommandRuns { .. }
        | What::StopCommandDue
        | What::CommandFailed { .. }
        | What::CommandNotStarted { .. }
        | What::StartCommandTooLong
        | What::StopCommandTooLong
        | What::NotRecorded { .. }
        | What::OneTimeEmpty
        | What::OneTimeFailed { .. }
        | What::Withdrawn
        | What::Untrusted
        | What::Loaded { .. }
        | What::DoorLost { .. }
        | What::TenantRefused { .. }
        | What::TenantCompiling { .. }
        | What::TenantTrying { .. }
        | What::Back
        | What::JournalFull => return what.name().into(),
    }
    .into()
}

/// Whose share of a processor a report is about: a single rule's or a tenant's.
fn whose_share(report: &Report<'_>) -> String {
    report.rule().map_or_else(|| format!("rules of tenant {}", owner(report)), RuleId::to_string)
}

/// Enough of a digest for people to tell modules apart.
pub(super) fn short(module: &ModuleDigest) -> String {
    let mut digits = show_digest(module);
    digits.truncate(16);
    digits
}

fn slow(phase: Phase, seconds: u64, detail: &str, may_overtake: Option<bool>) -> String {
    let (what, meanwhile) = match phase {
        Phase::Reload => ("reload", "what was in force stays so meanwhile"),
        Phase::Start => ("start", "guarded ports are closed meanwhile"),
    };
    let next = match may_overtake {
        Some(true) => format!("; {meanwhile}; the next change, or SIGHUP, begins another beside it"),
        Some(false) => {
            format!("; {meanwhile}; none begins any more until it or one of the four before it ends")
        }
        None => String::new(),
    };
    format!("the {what} has taken {seconds} s so far; it is at: {detail}{next}")
}

/// The name of whose it is.
fn owner(report: &Report<'_>) -> String {
    report.tenant().map_or_else(|| "-".to_owned(), TenantId::to_string)
}

const fn panicked(thread: ThreadKind) -> &'static str {
    match thread {
        ThreadKind::Worker => "a worker panicked and starts over; half-finished knocks are lost",
        ThreadKind::Capture => "the capture thread had panicked",
        ThreadKind::Network => "the thread that follows changes of addresses and links had panicked",
    }
}

/// Whether a user of the control socket wanted it, and no rule.
fn is_by_hand(report: &Report<'_>) -> bool {
    report.rule().is_some_and(|rule| &*rule.name == RuleId::BY_HAND)
}

const fn because(why: Why) -> &'static str {
    match why {
        Why::Expired => "its time is over",
        Why::Asked => "a rule said so",
        Why::Failed => "it did not open as it should",
        Why::Stopping => "the daemon stops",
        Why::Changed => "the door cannot be open for such a client any more",
        Why::Removed => "somebody else removed it",
    }
}

/// The time that the door took to answer is part of it, but not of what people asked for.
fn as_asked(lasts: Duration) -> String {
    match lasts.as_secs_f64().round() {
        seconds if seconds >= 1.0 => duration::show(Duration::from_secs_f64(seconds)),
        _ => duration::show(lasts),
    }
}

/// So many of them.
pub(crate) fn counted<N: Display + PartialEq + From<u8>>(number: N, what: &str) -> String {
    let ending = if number == N::from(1) { "" } else { "s" };
    format!("{number} {what}{ending}")
}

/// A client, if there is one.
struct Src(Option<Client>);

impl Display for Src {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |client| Shown(client).fmt(f))
    }
}

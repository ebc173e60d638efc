//! Fields: a report as fields, for programs. Their names are part of the interface that users rely on.

use postern_capture::Shown;
use postern_core::{PacketCounts, Report, What};

use super::Counters;
use super::counters::NamedCounts;
use super::line::Value;

type Fields = Vec<(&'static str, Value)>;

/// Drops so far, by reason.
pub(super) struct Drops {
    /// All, lost log lines included.
    pub(super) all: NamedCounts,
    /// By tenant; empty unless there are some of a tenant besides the host.
    by_tenant: Vec<(String, NamedCounts)>,
}

/// The fields of the line about a report, `event` first; and of what else the line says.
pub(super) fn fields(report: &Report<'_>, dropped: Option<Drops>, suppressed: Option<u64>) -> Fields {
    let mut fields = vec![("event", Value::Text(report.what.name().to_owned()))];
    fields.extend(subject(report));
    fields.extend(own(&report.what));
    if let Some(Drops { all, by_tenant }) = dropped {
        fields.push(("drops", Value::Text(shown(&all))));
        fields.push(("dropped", Value::Counts(all)));
        if !by_tenant.is_empty() {
            fields.push(("dropped_by_tenant", Value::CountsByTenant(by_tenant)));
        }
    }
    fields.extend(suppressed.map(|lines| ("suppressed", Value::Unsigned(lines))));
    fields
}

/// Drops so far if the report is the daemon's last; so many log lines were lost.
pub(super) fn dropped(report: &Report<'_>, counters: &Counters, unsaid: u64) -> Option<Drops> {
    if !matches!(report.what, What::Stopped { .. }) {
        return None;
    }
    let lines = Some(("log-line", unsaid)).filter(|(_, count)| *count > 0);
    let mut by_tenant = counters.by_tenant();
    if by_tenant.iter().all(|(tenant, _)| tenant.is_host()) {
        by_tenant.clear();
    }
    let by_tenant = by_tenant.into_iter().map(|(tenant, counts)| (tenant.to_string(), counts)).collect();
    Some(Drops { all: counters.totals().chain(lines).collect(), by_tenant })
}

/// Counts for people.
pub(super) fn shown(counts: &[(&str, u64)]) -> String {
    let counts: Vec<_> = counts.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// The tenant, rule, client and door that it is about.
fn subject(report: &Report<'_>) -> Fields {
    // An opening always has these, also if no rule is known for it.
    let is_opening = matches!(
        report.what,
        What::Opened { .. }
            | What::Extended { .. }
            | What::Closed { .. }
            | What::Refused { .. }
            | What::WouldOpen { .. }
            | What::WouldClose
            | What::Shortened { .. }
            | What::StuckOpen { .. }
    );
    let mut fields = Fields::new();
    match report.tenant() {
        Some(tenant) => fields.push(("tenant", Value::Plain(tenant.to_string()))),
        None if is_opening => fields.push(("tenant", Value::Text(String::new()))),
        None => {}
    }
    match report.rule() {
        Some(rule) => fields.push(("rule", Value::Text(rule.name.to_string()))),
        None if is_opening => fields.push(("rule", Value::Text("-".to_owned()))),
        None => {}
    }
    fields.extend(report.door.as_deref().map(|door| ("door", Value::Text(door.to_owned()))));
    fields.extend(report.client.map(|client| ("src", Value::Plain(Shown(client).to_string()))));
    fields
}

/// The fields of its kind.
fn own(what: &What<'_>) -> Fields {
    let text = |text: &str| Value::Text(text.to_owned());
    let count = |count: usize| Value::Unsigned(count as u64);
    match what {
        What::Stage { stage, .. } | What::TimedOut { stage } => {
            vec![("stage", Value::Unsigned((*stage).into()))]
        }
        What::ByHand { uid, closes } => {
            vec![("uid", Value::Unsigned((*uid).into())), ("closes", Value::Bool(*closes))]
        }
        What::Forgot { reason, .. } => vec![("reason", text(reason))],
        What::Opened { lasts, module } => {
            let module = module.map(|module| ("module", Value::Module(module)));
            std::iter::once(("lasts_s", Value::Float(lasts.as_secs_f64()))).chain(module).collect()
        }
        What::TryBegun { lasts } | What::Extended { lasts } | What::WouldOpen { lasts } => {
            vec![("lasts_s", Value::Float(lasts.as_secs_f64()))]
        }
        What::Fault { detail, module, .. } => {
            vec![("detail", text(detail)), ("module", Value::Module(*module))]
        }
        What::Loaded { module, signer } => {
            let signer = signer.as_deref().map(|signer| ("signer", text(signer)));
            std::iter::once(("module", Value::Module(*module))).chain(signer).collect()
        }
        What::Closed { why } => vec![("reason", text(why.name()))],
        What::Refused { reason, detail } => vec![("drop", text(reason.name())), ("detail", text(detail))],
        What::CommandRuns { line: detail }
        | What::CommandNotStarted { error: detail }
        | What::NotRecorded { detail }
        | What::OneTimeFailed { detail }
        | What::JournalMissing { detail, .. }
        | What::JournalDamaged { detail, .. }
        | What::JournalUnread { detail }
        | What::JournalBadRecord { error: detail }
        | What::JournalUnwritable { error: detail, .. }
        | What::LedgerUnusable { detail }
        | What::TableTaken { detail }
        | What::GuardDown { detail }
        | What::FilterUnwatched { error: detail }
        | What::LinkBroken { detail }
        | What::OpeningsUnread { detail }
        | What::NotReleased { detail }
        | What::ConnectionsUntracked { error: detail }
        | What::CaptureNotStarted { detail }
        | What::NetworkUnread { error: detail }
        | What::NetworkUnfollowed { error: detail }
        | What::Mistake { detail }
        | What::NextStart { detail }
        | What::Advice { text: detail }
        | What::Slow { detail, .. }
        | What::CodeNotKept { detail }
        | What::GrantsNotWritten { detail }
        | What::ControlMissing { detail }
        | What::MetricsMissing { detail }
        | What::NoThread { error: detail }
        | What::OneProcess { detail }
        | What::TryConfirmed { detail }
        | What::TryNotConfirmed { detail }
        | What::TryOver { detail }
        | What::ProbeMissing { detail }
        | What::NotWatched { error: detail, .. } => vec![("detail", text(detail))],
        What::HookFailed { hook, place, detail } => {
            let place = place.as_deref().map(|place| ("place", text(place)));
            [("hook", text(hook))].into_iter().chain(place).chain([("detail", text(detail))]).collect()
        }
        What::Confined { role, detail } | What::BarrierMissing { role, detail } => {
            vec![("role", text(role)), ("detail", text(detail))]
        }
        What::RoleEnded { role, detail, again_in } => vec![
            ("role", text(role)),
            ("detail", text(detail)),
            ("again_s", Value::Float(again_in.as_secs_f64())),
        ],
        What::StuckOpen { detail, again_in } => {
            let again = again_in.map(|pause| ("again_s", Value::Float(pause.as_secs_f64())));
            std::iter::once(("detail", text(detail))).chain(again).collect()
        }
        What::CommandFailed { code } => vec![("code", Value::Signed((*code).into()))],
        What::DoorsRefused { generation, detail } => {
            vec![("generation", Value::Unsigned(*generation)), ("detail", text(detail))]
        }
        What::GuardRestored { ports } => vec![("ports", count(*ports))],
        What::ConnectionsKept { connections } | What::ConnectionsCut { connections } => {
            vec![("connections", count(*connections))]
        }
        What::Listening { interface, link, .. } | What::ListeningAgain { interface, link, .. } => {
            vec![("interface", text(interface)), ("link", Value::Plain(link.to_string()))]
        }
        What::NotListening { interface, reason, .. } => {
            vec![("interface", text(interface)), ("reason", text(reason))]
        }
        What::FilterWidened { from, to } => vec![("from", count(*from)), ("to", count(*to))],
        What::FilterCramped { interface } | What::LinksUnknown { interface } => {
            vec![("interface", text(interface))]
        }
        What::FramePanicked { interface, panics } => {
            vec![("interface", text(interface)), ("panics", Value::Unsigned(*panics))]
        }
        What::NetworkRead { addresses, links } => {
            vec![("addresses", count(*addresses)), ("links", count(*links))]
        }
        What::StartRefused { mistakes, detail, guards } => {
            let guards = guards.as_deref().map(|file| ("guards", text(file)));
            [("mistakes", count(*mistakes)), ("detail", text(detail))].into_iter().chain(guards).collect()
        }
        What::ReloadRefused { generation, mistakes, detail } => vec![
            ("generation", Value::Unsigned(*generation)),
            ("mistakes", count(*mistakes)),
            ("detail", text(detail)),
        ],
        What::OverShare { share } => vec![("share", Value::Plain(share.to_string()))],
        What::WithinShare { dropped } => vec![("dropped", Value::Unsigned(*dropped))],
        What::DoorLost { without } => {
            without.as_deref().map(|first| ("without", text(first))).into_iter().collect()
        }
        What::TenantCompiling { rules } => vec![("rules", count(*rules))],
        What::TenantTrying { rules, untried } => {
            vec![("rules", count(*rules)), ("untried", count(*untried))]
        }
        What::TenantRefused { rules, mistakes, detail } => {
            vec![("rules", count(*rules)), ("mistakes", count(*mistakes)), ("detail", text(detail))]
        }
        What::InForce { generation, rules, doors } => vec![
            ("generation", Value::Unsigned(*generation)),
            ("rules", count(*rules)),
            ("doors", count(*doors)),
        ],
        What::Ready { generation } => vec![("generation", Value::Unsigned(*generation))],
        What::Stopped { packets, open } => {
            let packets = packets.map(|PacketCounts { received, lost }| {
                [("received", Value::Unsigned(received)), ("lost", Value::Unsigned(lost))]
            });
            packets.into_iter().flatten().chain([("open", count(*open))]).collect()
        }
        What::MoreMistakes { mistakes } => vec![("mistakes", count(*mistakes))],
        What::Untidy { doors } => vec![("doors", count(*doors))],
        What::Solved { .. }
        | What::Says { .. }
        | What::Library { .. }
        | What::WouldClose
        | What::Shortened { .. }
        | What::Granted
        | What::StopCommandDue
        | What::StartCommandTooLong
        | What::StopCommandTooLong
        | What::OneTimeEmpty
        | What::Withdrawn
        | What::Untrusted
        | What::Back
        | What::JournalWritable { .. }
        | What::JournalFull
        | What::LedgerUsable { .. }
        | What::TableOwned
        | What::TableUnprotected { .. }
        | What::Hangup
        | What::Panicked { .. }
        | What::Stopping => Vec::new(),
    }
}

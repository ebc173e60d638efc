//! LineLimits: how many lines of what kind may be written, for each tenant by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use postern_core::{Report, TenantId, What};
use postern_text::panic::PastPanic;

use super::per_tenant::PerTenant;
use super::rate_limit::RateLimit;

/// Rules of a tenant that have a limit of their own for what they write; any more share one.
const MOST_RULES: usize = 1024;

/// Whether a line may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// No outsider can cause many of its kind.
    Always,
    /// Yes, and so many of its kind and tenant were held back before it.
    After(u64),
    Not,
}

/// The limits of all tenants.
#[derive(Debug, Default)]
pub(super) struct LineLimits(PerTenant<TenantLimits>);

#[derive(Debug)]
struct TenantLimits {
    /// Progress of clients: an outsider who knows a first port can cause these lines.
    progress: Mutex<RateLimit>,
    forgotten: Mutex<RateLimit>,
    faults: Mutex<RateLimit>,
    stuck: Mutex<RateLimit>,
    refusals: Mutex<RateLimit>,
    /// Openings take a whole right knock each, so only a client that knows it can cause many.
    openings: Mutex<RateLimit>,
    /// Rules whose files went or came, or that lost doors: a tenant may have thousands of rules, and remove them all at once.
    rule_changes: Mutex<RateLimit>,
    /// What is wrong with a tenant's files, which the tenant may write as often as it likes.
    mistakes: Mutex<RateLimit>,
    says: Mutex<SaysLimits>,
}

/// What the rules of a tenant write: each rule has a limit, and above these all of them have one together.
#[derive(Debug)]
struct SaysLimits {
    /// By rule; all instances of a rule together, so that a new one after a fault gets no new burst.
    rules: HashMap<Arc<str>, RateLimit>,
    other_rules: RateLimit,
    tenant: RateLimit,
}

impl Default for TenantLimits {
    fn default() -> Self {
        let limit = |lines, burst| Mutex::new(RateLimit::per_second(lines, burst));
        Self {
            progress: limit(20, 100),
            forgotten: limit(20, 100),
            faults: limit(2, 10),
            stuck: limit(5, 20),
            refusals: limit(5, 20),
            openings: limit(100, 1000),
            rule_changes: limit(20, 100),
            mistakes: limit(2, 250),
            says: Mutex::default(),
        }
    }
}

/// What one rule may write.
const SAYS: RateLimit = RateLimit::per_second(5, 20);
/// What all rules of a tenant may write together, unless something else is said of it.
const TENANT_SAYS: RateLimit = RateLimit::per_second(50, 50 * TENANT_BURST);
/// How many times the lines of a second may come at once.
const TENANT_BURST: u32 = 4;

impl Default for SaysLimits {
    fn default() -> Self {
        Self { rules: HashMap::new(), other_rules: SAYS, tenant: TENANT_SAYS }
    }
}

impl LineLimits {
    /// What all rules of a tenant may write together from now on: so many lines a second.
    pub(super) fn limit(&self, tenant: &TenantId, lines: u32) {
        let lines = lines.max(1);
        let change = |limits: &TenantLimits| {
            limits.says.lock().past_panic().tenant.change(lines, lines.saturating_mul(TENANT_BURST));
        };
        self.0.with(Some(tenant), change);
    }

    /// Whether a line about this may be written now; `now` is asked only if that matters.
    pub(super) fn admit(&self, report: &Report<'_>, now: impl FnOnce() -> Instant) -> Admitted {
        let limit: fn(&TenantLimits) -> &Mutex<RateLimit> = match &report.what {
            What::Stage { .. } => |limits| &limits.progress,
            What::TimedOut { .. } | What::Forgot { .. } => |limits| &limits.forgotten,
            What::Fault { .. } | What::OverShare { .. } | What::WithinShare { .. } => |limits| &limits.faults,
            What::StuckOpen { .. } => |limits| &limits.stuck,
            What::Refused { .. } | What::Shortened { .. } | What::NotRecorded { .. } => {
                |limits| &limits.refusals
            }
            What::Opened { .. }
            | What::Extended { .. }
            | What::Closed { .. }
            | What::WouldOpen { .. }
            | What::WouldClose => |limits| &limits.openings,
            What::Withdrawn | What::Back | What::DoorLost { .. } | What::Untrusted | What::Loaded { .. } => {
                |limits| &limits.rule_changes
            }
            // They may be run for what outsiders cause.
            What::HookFailed { .. } => |limits| &limits.refusals,
            // The host's are the administrator's own.
            What::Mistake { .. }
            | What::MoreMistakes { .. }
            | What::TenantRefused { .. }
            | What::TenantCompiling { .. }
            | What::TenantTrying { .. }
                if report.tenant().is_some_and(|tenant| !tenant.is_host()) =>
            {
                |limits| &limits.mistakes
            }
            What::Says { .. } => {
                let rule = report.rule().map_or_else(|| "".into(), |rule| Arc::clone(&rule.name));
                return self
                    .0
                    .with(report.tenant(), |limits| limits.says.lock().past_panic().admit(rule, now()));
            }
            _ => return Admitted::Always,
        };
        self.0.with(report.tenant(), |limits| admit(&mut limit(limits).lock().past_panic(), now()))
    }
}

impl SaysLimits {
    fn admit(&mut self, rule: Arc<str>, now: Instant) -> Admitted {
        let Some(of_rule) = self.of_rule(rule, now).admit(now) else { return Admitted::Not };
        match self.tenant.admit(now) {
            Some(of_tenant) => Admitted::After(of_rule + of_tenant),
            None => {
                self.tenant.add_suppressed(of_rule);
                Admitted::Not
            }
        }
    }

    fn of_rule(&mut self, rule: Arc<str>, now: Instant) -> &mut RateLimit {
        let Self { rules, other_rules, tenant } = self;
        if rules.len() >= MOST_RULES && !rules.contains_key(&rule) {
            // An idle limit lets through as many as a new one.
            for (_, idle) in rules.extract_if(|_, limit| limit.is_idle(now)) {
                tenant.add_suppressed(idle.suppressed());
            }
            if rules.len() >= MOST_RULES {
                return other_rules;
            }
        }
        rules.entry(rule).or_insert(SAYS)
    }
}

fn admit(limit: &mut RateLimit, now: Instant) -> Admitted {
    limit.admit(now).map_or(Admitted::Not, Admitted::After)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::time::Duration;

    use postern_core::{RuleId, RuleLogLevel, Severity};

    use super::*;
    use crate::observe::tests::tenant;

    fn rule(tenant_name: &str, name: &str) -> RuleId {
        RuleId { tenant: tenant(tenant_name), name: name.into() }
    }

    /// How many of a hundred and one lines at one moment are written.
    fn written(limits: &LineLimits, rule: &RuleId, what: &What<'static>, now: Instant) -> usize {
        let report = Report::of_rule(rule, what.clone());
        (0..101).filter(|_| limits.admit(&report, || now) != Admitted::Not).count()
    }

    #[test]
    fn one_tenants_lines_never_eat_anothers() {
        let (limits, now) = (LineLimits::default(), Instant::now());
        let stage = What::Stage { stage: 1, lasts: Duration::from_secs(5) };
        assert_eq!(written(&limits, &rule("a", "x"), &stage, now), 100);
        assert_eq!(written(&limits, &rule("a", "y"), &stage, now), 0, "its rules share it");
        assert_eq!(written(&limits, &rule("b", "x"), &stage, now), 100);
        assert_eq!(written(&limits, &rule("a", "x"), &What::Withdrawn, now), 100);
        assert_eq!(written(&limits, &rule("a", "y"), &What::Back, now), 0, "its rules share it");
        assert_eq!(written(&limits, &rule("b", "x"), &What::DoorLost { without: None }, now), 100);
        assert_eq!(written(&limits, &rule("a", "x"), &What::Granted, now), 101);
    }

    const SAYS: What<'static> =
        What::Says { severity: Severity::Info, level: RuleLogLevel::OfDaemon, text: Cow::Borrowed("x") };

    #[test]
    fn each_rule_writes_its_own_lines_and_a_tenants_rules_share_a_limit() {
        let (limits, now) = (LineLimits::default(), Instant::now());
        for a in [TenantId::HOST, "a"] {
            for n in 0..10 {
                assert_eq!(written(&limits, &rule(a, &n.to_string()), &SAYS, now), 20);
            }
            for n in 10..1000 {
                assert_eq!(written(&limits, &rule(a, &n.to_string()), &SAYS, now), 0, "200 for all of {a}");
            }
            assert_eq!(written(&limits, &rule("b", a), &SAYS, now), 20);
        }
        let (second, rule) = (now + Duration::from_secs(1), rule("a", "2000"));
        let says = Report::of_rule(&rule, SAYS);
        // Of 990 rules those lines that the rules' own limits would have let through; each rule tells the others itself.
        assert_eq!(limits.admit(&says, || second), Admitted::After(990 * 20));
        assert_eq!(limits.admit(&says, || second), Admitted::After(0));
    }

    #[test]
    fn the_limits_of_rules_are_bounded_and_what_they_held_back_is_told() {
        let (limits, now) = (LineLimits::default(), Instant::now());
        for n in 0..MOST_RULES {
            written(&limits, &rule("a", &n.to_string()), &SAYS, now);
        }
        let later = now + Duration::from_secs(3);
        assert_eq!(written(&limits, &rule("a", "one more"), &SAYS, later), 20);
        assert_eq!(written(&limits, &rule("a", "another"), &SAYS, later), 0, "they share one");
        let (minute, rule) = (now + Duration::from_secs(60), rule("a", "another"));
        let held_back = (MOST_RULES * 101 - 200) as u64 + 81 + 101;
        let Admitted::After(told) = limits.admit(&Report::of_rule(&rule, SAYS), || minute) else { panic!() };
        let others = limits
            .0
            .with(Some(&rule.tenant), |limits| limits.says.lock().past_panic().other_rules.suppressed());
        // The first line of `one more` told those of the tenant's limit; the others share a limit that tells the rest itself.
        let first_told = (MOST_RULES * 20 - 200) as u64;
        assert_eq!(told + others + first_told, held_back);
    }

    #[test]
    fn what_a_tenants_rules_write_together_can_be_limited_and_nothing_else() {
        let (limits, now) = (LineLimits::default(), Instant::now());
        let says = What::Says {
            severity: Severity::Info,
            level: RuleLogLevel::OfDaemon,
            text: Cow::Borrowed("hello"),
        };
        limits.limit(&tenant("a"), 3);
        let of = |tenant_name: &str, now| {
            (0..40).map(|n| written(&limits, &rule(tenant_name, &n.to_string()), &says, now)).sum::<usize>()
        };
        assert_eq!((of("a", now), of("b", now)), (12, 200));
        limits.limit(&tenant("a"), 6);
        assert_eq!(of("a", now + Duration::from_secs(60)), 24);
        assert_eq!(
            written(&limits, &rule("a", "x"), &What::Stage { stage: 1, lasts: Duration::from_secs(5) }, now),
            100
        );
    }
}

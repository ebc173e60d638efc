//! LineLimits: how many lines of what kind may be written, for each tenant by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use postern_core::{Report, What};
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
    /// Yes, and so many of its kind were held back before it.
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
    /// What rules write, by rule; all instances of a rule together, so that a new one after a fault gets no new burst.
    says: Mutex<HashMap<Arc<str>, RateLimit>>,
    other_says: Mutex<RateLimit>,
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
            says: Mutex::default(),
            other_says: Mutex::new(SAYS),
        }
    }
}

/// What one rule may write.
const SAYS: RateLimit = RateLimit::per_second(5, 20);

impl LineLimits {
    /// Whether a line about this may be written now; `now` is asked only if that matters.
    pub(super) fn admit(&self, report: &Report<'_>, now: impl FnOnce() -> Instant) -> Admitted {
        let limit: fn(&TenantLimits) -> &Mutex<RateLimit> = match &report.what {
            What::Stage { .. } => |limits| &limits.progress,
            What::TimedOut { .. } | What::Forgot { .. } => |limits| &limits.forgotten,
            What::Fault { .. } => |limits| &limits.faults,
            What::StuckOpen { .. } => |limits| &limits.stuck,
            What::Refused { .. } | What::Shortened { .. } | What::NotRecorded { .. } => {
                |limits| &limits.refusals
            }
            What::Opened { .. } | What::Extended { .. } | What::Closed { .. } => |limits| &limits.openings,
            What::Says { .. } => return self.admit_says(report, now()),
            _ => return Admitted::Always,
        };
        self.0.with(report.tenant(), |limits| admit(&mut limit(limits).lock().past_panic(), now()))
    }

    fn admit_says(&self, report: &Report<'_>, now: Instant) -> Admitted {
        let name = report.rule().map_or_else(|| "".into(), |rule| Arc::clone(&rule.name));
        self.0.with(report.tenant(), |limits| {
            let mut says = limits.says.lock().past_panic();
            if says.len() >= MOST_RULES && !says.contains_key(&name) {
                // An idle limit is the same as a new one.
                says.retain(|_, limit| !limit.is_idle(now));
                if says.len() >= MOST_RULES {
                    return admit(&mut limits.other_says.lock().past_panic(), now);
                }
            }
            admit(says.entry(name).or_insert(SAYS), now)
        })
    }
}

fn admit(limit: &mut RateLimit, now: Instant) -> Admitted {
    limit.admit(now).map_or(Admitted::Not, Admitted::After)
}

#[cfg(test)]
mod tests {
    use postern_core::{RuleId, Severity};

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
        let stage = What::Stage { stage: 1 };
        assert_eq!(written(&limits, &rule("a", "x"), &stage, now), 100);
        assert_eq!(written(&limits, &rule("a", "y"), &stage, now), 0, "its rules share it");
        assert_eq!(written(&limits, &rule("b", "x"), &stage, now), 100);
        assert_eq!(written(&limits, &rule("a", "x"), &What::Withdrawn, now), 101);
    }

    #[test]
    fn each_rule_writes_its_own_lines_and_the_rules_are_bounded() {
        let (limits, now) = (LineLimits::default(), Instant::now());
        let says = What::Says { severity: Severity::Info, text: "x".into() };
        assert_eq!(written(&limits, &rule("a", "x"), &says, now), 20);
        assert_eq!(written(&limits, &rule("a", "y"), &says, now), 20);
        for n in 2..MOST_RULES {
            assert_eq!(written(&limits, &rule("a", &n.to_string()), &says, now), 20);
        }
        assert_eq!(written(&limits, &rule("a", "one more"), &says, now), 20);
        assert_eq!(written(&limits, &rule("a", "another"), &says, now), 0, "they share one");
        let later = now + std::time::Duration::from_secs(60);
        assert_eq!(written(&limits, &rule("a", "another"), &says, later), 20);
    }
}

//! RuleObserver: what is reported of one rule whose file says which of its module's lines are logged: each of them has that level.

use std::sync::Arc;

use postern_core::{DropReason, Knock, Observer, Report, RuleId, RuleLogLevel, Silence, TenantId, What};

/// Passes on what is reported of a rule.
pub(crate) struct RuleObserver {
    level: RuleLogLevel,
    to: Arc<dyn Observer>,
}

impl RuleObserver {
    /// What the reports of a rule with this level go to, and from there to `to`.
    pub(crate) fn of(level: RuleLogLevel, to: &Arc<dyn Observer>) -> Arc<dyn Observer> {
        match level {
            RuleLogLevel::OfDaemon => Arc::clone(to),
            level => Arc::new(Self { level, to: Arc::clone(to) }),
        }
    }
}

impl Observer for RuleObserver {
    fn report(&self, report: &Report<'_>) {
        let What::Says { severity, text, .. } = &report.what else { return self.to.report(report) };
        let what = What::Says { severity: *severity, level: self.level, text: (&**text).into() };
        self.to.report(&Report { what, ..report.clone() });
    }

    fn count_drops(&self, tenant: Option<&TenantId>, reason: DropReason, count: u64) {
        self.to.count_drops(tenant, reason, count);
    }

    fn silent(&self, rule: &RuleId, knock: &Knock, silence: Silence) {
        self.to.silent(rule, knock, silence);
    }

    fn arrived(&self, knock: &Knock) {
        self.to.arrived(knock);
    }

    fn passed_over(&self, knock: &Knock, reason: DropReason) {
        self.to.passed_over(knock, reason);
    }

    fn limit_lines(&self, tenant: &TenantId, lines: u32) {
        self.to.limit_lines(tenant, lines);
    }
}

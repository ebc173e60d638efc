//! OwnerMarks: short numbers that stand for rules and their owners, where an opening's note has no room for names.

use std::collections::HashMap;

use crate::tenant::{RuleId, TenantId};

/// A rule and its owner, as digests of their names, so that it means the same to every engine. The default stands for nobody that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OwnerMark {
    pub(crate) tenant: u64,
    pub(crate) rule: u64,
}

impl OwnerMark {
    /// Whether it stands for nobody.
    pub(crate) const fn is_nobodys(self) -> bool {
        self.tenant == 0
    }
}

/// The marks of all rules of a policy, and back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerMarks {
    marks: HashMap<RuleId, OwnerMark>,
    rules: HashMap<OwnerMark, RuleId>,
    /// None if two tenants have the same digest: it stands for neither.
    tenants: HashMap<u64, Option<TenantId>>,
}

impl OwnerMarks {
    /// Those of these rules and tenants. `digest` is that of a name; it must be the same for ever, and no two names that anybody can find may
    /// have the same.
    #[must_use]
    pub fn new<'a>(
        rules: impl IntoIterator<Item = &'a RuleId>,
        tenants: impl IntoIterator<Item = &'a TenantId>,
        digest: impl Fn(&str) -> u64,
    ) -> Self {
        // 0 stands for nobody.
        let number = |name: &str| digest(name).max(1);
        let mut all = Self::default();
        let mut of_tenants = HashMap::new();
        let mut know = |all: &mut Self, tenant: &TenantId| {
            *of_tenants.entry(tenant.clone()).or_insert_with(|| {
                let number = number(tenant.as_str());
                let known = all.tenants.entry(number).or_insert_with(|| Some(tenant.clone()));
                *known = known.take().filter(|known| known == tenant);
                number
            })
        };
        for tenant in tenants {
            know(&mut all, tenant);
        }
        for rule in rules {
            let mark = OwnerMark { tenant: know(&mut all, &rule.tenant), rule: number(&rule.name) };
            all.marks.insert(rule.clone(), mark);
            all.rules.insert(mark, rule.clone());
        }
        all
    }

    /// What stands for a rule; nobody if it is not one of these.
    pub(crate) fn of(&self, rule: &RuleId) -> OwnerMark {
        self.marks.get(rule).copied().unwrap_or_default()
    }

    /// The rule that a mark stands for, as [`RuleId::gone`] if only its owner is there; none if that is not either.
    pub(crate) fn rule(&self, mark: OwnerMark) -> Option<RuleId> {
        let tenant = self.tenants.get(&mark.tenant)?.as_ref()?;
        let rule = self.rules.get(&mark).filter(|rule| rule.tenant == *tenant);
        Some(rule.cloned().unwrap_or_else(|| RuleId::gone(tenant.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(tenant: &str, name: &str) -> RuleId {
        RuleId { tenant: TenantId::new(tenant), name: name.into() }
    }

    /// Not a good digest: names of one length have the same.
    fn length(name: &str) -> u64 {
        name.len() as u64
    }

    #[test]
    fn a_mark_stands_for_one_rule_and_when_that_is_gone_for_its_owner() {
        let (office, lab) = (rule("acme", "office"), rule("acme", "lab"));
        let before = OwnerMarks::new([&office, &lab], [], length);
        let marks = [&office, &lab].map(|rule| before.of(rule));
        assert_eq!(marks.map(|mark| before.rule(mark)), [Some(office.clone()), Some(lab.clone())]);
        let after = OwnerMarks::new([&office], [], length);
        assert_eq!(after.rule(marks[0]), Some(office.clone()));
        assert_eq!(after.rule(marks[1]), Some(RuleId::gone(TenantId::new("acme"))));
        // Its tenant has no rules any more, or is gone.
        let tenant = TenantId::new("acme");
        assert_eq!(OwnerMarks::new([], [&tenant], length).rule(marks[0]), Some(RuleId::gone(tenant)));
        assert_eq!(OwnerMarks::default().rule(marks[0]), None);
        assert!(after.of(&lab).is_nobodys() && after.rule(OwnerMark::default()).is_none());
    }

    #[test]
    fn what_two_tenants_have_in_common_stands_for_neither() {
        let (one, other, third) = (rule("acme", "office"), rule("bits", "office"), rule("a", "office"));
        let marks = OwnerMarks::new([&one, &other, &third], [&one.tenant], length);
        assert_eq!(marks.of(&one), marks.of(&other));
        assert_eq!(marks.rule(marks.of(&one)), None);
        assert_eq!(marks.rule(marks.of(&third)), Some(third));
        // Known twice, and the same.
        assert_eq!(OwnerMarks::new([&one], [&one.tenant], length).rule(marks.of(&one)), Some(one));
    }
}

//! The generation in force: whose verdicts count, and which rules open nothing for a while.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;

use super::Engine;
use crate::action::Action;
use crate::client::Client;
use crate::drop_reason::DropReason;
use crate::report::{Report, What};
use crate::tenant::{Policy, RuleId};
use crate::verdict::OpenRequest;

/// A rule, as it was in one generation, that has judged a knock and asks for something.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskingRule<'a> {
    pub(super) rule: &'a RuleId,
    /// The number of the generation that it judged in.
    pub(super) generation: u64,
    /// The source of the knock.
    pub(super) source: Client,
    /// Whether its one-time sequence was claimed for this request, if it has one.
    pub(super) has_claimed: bool,
}

/// An opening that waits for a claim or a record, and which rule asked for it.
#[derive(Clone, Debug)]
pub(super) struct PendingOpening {
    pub(super) rule: RuleId,
    generation: u64,
    source: Client,
    has_claimed: bool,
    /// Without what was claimed for it.
    pub(super) request: OpenRequest,
}

impl PendingOpening {
    /// Of a verdict that counts in `generation`, the one in force.
    pub(super) fn new(asker: AskingRule<'_>, generation: u64, request: OpenRequest) -> Self {
        let AskingRule { rule, source, has_claimed, .. } = asker;
        Self { rule: rule.clone(), generation, source, has_claimed, request }
    }

    pub(super) const fn asker(&self) -> AskingRule<'_> {
        let Self { rule, generation, source, has_claimed, .. } = self;
        AskingRule { rule, generation: *generation, source: *source, has_claimed: *has_claimed }
    }
}

/// Whether a rule has the same grant in two generations that follow each other.
fn may_do_the_same(before: &Policy, after: &Policy, rule: &RuleId, has_claimed: bool) -> bool {
    let grant = after.grants.get(rule);
    grant == before.grants.get(rule) && grant.is_some_and(|grant| has_claimed || !grant.is_one_time)
}

impl Engine {
    /// The number of the generation in force: 1 at first, and one more with each [`crate::Event::PolicyChanged`].
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether any rule opens nothing at the moment because its file is gone.
    #[must_use]
    pub fn has_suspended(&self) -> bool {
        !self.suspended.is_empty()
    }

    /// Rules that open nothing at the moment because their files are gone.
    #[must_use]
    pub const fn suspended(&self) -> &HashSet<RuleId> {
        &self.suspended
    }

    /// Why a request of a rule is refused, whatever it asks for; none if it counts.
    ///
    /// Workers change to another generation a moment after the engine, so verdicts of the one before count for what the rule may do in both.
    /// Another sequence of a rule whose sequences are used once is another secret.
    pub(super) fn disregards(&self, asker: AskingRule<'_>) -> Option<DropReason> {
        let AskingRule { rule, generation, has_claimed, .. } = asker;
        let is_in_force = generation == self.generation;
        let was_in_force = self.generation.checked_sub(1) == Some(generation);
        let may_do_the_same = || may_do_the_same(&self.policy_before, &self.policy, rule, has_claimed);
        let counts = is_in_force || was_in_force && may_do_the_same();
        if !counts {
            Some(DropReason::Outdated)
        } else if self.suspended.contains(rule) {
            Some(DropReason::Withdrawn)
        } else {
            None
        }
    }

    /// Puts the policy of the next generation in force; rules that it does not have are no longer suspended.
    ///
    /// What waits goes on if its rule may do in both what it asked for, so that it survives any number of reloads that change nothing for it.
    pub(super) fn next_generation(&mut self, policy: Arc<Policy>) {
        self.generation += 1;
        self.policy_before = mem::replace(&mut self.policy, policy);
        for pending in self.claims.pending_mut().chain(self.records.pending_mut()) {
            if pending.generation + 1 == self.generation
                && may_do_the_same(&self.policy_before, &self.policy, &pending.rule, pending.has_claimed)
            {
                pending.generation = self.generation;
            }
        }
        let grants = &self.policy.grants;
        self.suspended.retain(|rule| grants.contains_key(rule));
    }

    /// Suspends rules whose files are gone until a reload has read all files, and resumes those whose files are back. If the reload that would
    /// have removed a rule was refused, the rule stays in force, unless it was suspended before.
    pub(super) fn suspend(&mut self, mut gone: HashSet<RuleId>, is_reloading: bool) {
        gone.retain(|rule| {
            self.policy.grants.contains_key(rule) && (is_reloading || self.suspended.contains(rule))
        });
        let before = mem::replace(&mut self.suspended, gone);
        let withdrawn = self.suspended.difference(&before).map(|rule| (rule.clone(), What::Withdrawn));
        let back = before.difference(&self.suspended).map(|rule| (rule.clone(), What::Back));
        let mut changes: Vec<_> = withdrawn.chain(back).collect();
        // Reported in the same order, whatever order a set has.
        changes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (rule, what) in changes {
            self.report_rule(rule, what);
        }
    }

    /// Reports something about a rule as a whole.
    pub(super) fn report_rule(&mut self, rule: RuleId, what: What<'static>) {
        self.actions.push(Action::Tell(Report { scope: Some(rule).into(), ..Report::new(what) }));
    }
}

//! Openings that wait until something is used up for them.
//!
//! Everything that can refuse an opening is checked before its claim is made, so that no token is used up in vain, and once more when the
//! claim is answered, since that may be later.

use super::by_serial::{BecauseOfRule, BySerial};
use super::generation::{AskingRule, PendingOpening};
use super::{Engine, LONGEST_WAIT};
use crate::action::{Action, Why};
use crate::claim::{Claim, ClaimError, ClaimKind};
use crate::door::OpeningKey;
use crate::drop_reason::DropReason;
use crate::moment::Moment;
use crate::report::What;
use crate::tenant::{RuleId, TenantId};
use crate::verdict::OpenRequest;

/// Openings that wait for the answer of a claim, all rules together. A tenant has its part of it to itself: others may be waiting in all
/// places.
const MOST_WAITING: usize = 1024;

/// Openings that wait, by the number of their claim.
pub(super) type Claims = BySerial<AwaitedClaim>;

/// An opening that waits for the answer of a claim.
#[derive(Debug)]
pub(super) struct AwaitedClaim {
    what: ClaimKind,
    /// Which opening it was to be when it was asked for.
    key: OpeningKey,
    /// As it will be when nothing but the answer is missing.
    pending: PendingOpening,
    /// When it is forgotten.
    until: Moment,
}

impl BecauseOfRule for AwaitedClaim {
    fn rule(&self) -> Option<&RuleId> {
        Some(&self.pending.rule)
    }
}

impl Claims {
    /// The first that has waited until `now`, which does not wait any more.
    fn expire_next(&mut self, now: Moment) -> Option<AwaitedClaim> {
        let (serial, first) = self.first()?;
        if first.until > now {
            return None;
        }
        self.remove(serial)
    }

    /// When the first is to be forgotten.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        // All wait equally long.
        self.first().map(|(_, first)| first.until)
    }

    /// What was asked for and waits.
    pub(super) fn pending_mut(&mut self) -> impl Iterator<Item = &mut PendingOpening> {
        self.values_mut().map(|waiting| &mut waiting.pending)
    }

    fn is_claimed(&self, rule: &RuleId, what: &ClaimKind) -> bool {
        self.iter().any(|(_, waiting)| waiting.pending.rule == *rule && waiting.what.is_same(what))
    }
}

impl Engine {
    /// Has an opening that nothing else refuses wait until what it costs was used up for it; `asker` is as it will be then.
    pub(super) fn claim(
        &mut self,
        asker: AskingRule<'_>,
        key: OpeningKey,
        request: OpenRequest,
        what: ClaimKind,
        now: Moment,
    ) {
        self.forget_claims(now);
        let rule = asker.rule;
        let refusal = if self.claims.is_claimed(rule, &what) {
            Some(ClaimError::AlreadyUsed)
        } else if self.has_most_claims(rule) {
            Some(ClaimError::Busy)
        } else {
            None
        };
        if let Some(error) = refusal {
            return self.refuse_claim(key, rule.clone(), &what, error);
        }
        self.last_serial += 1;
        let serial = self.last_serial;
        let until = now.plus(LONGEST_WAIT);
        let most = self.policy.tenants.get(&rule.tenant).map(|limits| limits.tokens);
        self.actions.push(Action::Claim(Claim { serial, rule: rule.clone(), what: what.clone(), most }));
        let waiting =
            AwaitedClaim { what, key, pending: PendingOpening::new(asker, self.generation, request), until };
        self.claims.insert(serial, waiting);
    }

    /// Opens what waited, if that may still be opened; its time begins now.
    pub(super) fn claimed(&mut self, serial: u64, result: Result<(), ClaimError>, now: Moment) {
        self.forget_claims(now);
        let Some(mut waiting) = self.claims.remove(serial) else { return };
        match result {
            Ok(()) => {
                let request = std::mem::take(&mut waiting.pending.request);
                self.open(waiting.pending.asker(), request, now);
            }
            Err(error) => {
                let AwaitedClaim { key, pending, what, .. } = waiting;
                self.refuse_claim(key, pending.rule, &what, error);
            }
        }
    }

    /// Forgets openings that have waited too long: an answer that comes later opens nothing.
    pub(super) fn forget_claims(&mut self, now: Moment) {
        while let Some(AwaitedClaim { what, key, pending, .. }) = self.claims.expire_next(now) {
            let missing = match what {
                ClaimKind::Sequence { .. } => "its one-time sequence was not crossed out",
                ClaimKind::Once(_) => "its one-time token was not recorded",
            };
            let detail = format!("{missing} within {} s", LONGEST_WAIT.as_secs());
            self.tell(
                key,
                Some(pending.rule),
                What::Refused { reason: DropReason::LedgerBusy, detail: detail.into() },
            );
        }
    }

    /// Forgets every opening that waits: the daemon stops.
    pub(super) fn stop_claims(&mut self) {
        for AwaitedClaim { key, pending, .. } in self.claims.take_all() {
            self.tell(
                key,
                Some(pending.rule),
                What::Refused { reason: DropReason::Stopping, detail: "".into() },
            );
        }
    }

    /// Forgets what waits to open a door for a client, for which a rule of `closer` says by now that it closes.
    pub(super) fn withdraw_claims(&mut self, closed: OpeningKey, closer: &TenantId) {
        let means_it = |waiting: &AwaitedClaim| {
            if !closer.is_host() && waiting.pending.rule.tenant != *closer {
                return false;
            }
            let request = &waiting.pending.request;
            let means = self.granted(waiting.pending.asker(), request.door.as_deref(), request.prefix_length);
            means.is_ok_and(|key| (key.door, key.client) == (closed.door, closed.client))
        };
        let waiting = self.claims.iter().filter(|(_, waiting)| means_it(waiting));
        for serial in waiting.map(|(serial, _)| serial).collect::<Vec<_>>() {
            let Some(AwaitedClaim { pending, .. }) = self.claims.remove(serial) else { continue };
            self.tell(closed, Some(pending.rule), What::Closed { why: Why::Asked });
        }
    }

    /// Whether no more claims of this rule's owner may wait: none of anybody's, beyond what each owner has for itself.
    fn has_most_claims(&self, rule: &RuleId) -> bool {
        let own = if rule.tenant.is_host() { None } else { Some(self.claims.of_tenant(&rule.tenant)) };
        let each = MOST_WAITING / (self.policy.tenants.len() + 1);
        self.claims.len() >= MOST_WAITING && own.is_none_or(|own| own >= each)
    }

    fn refuse_claim(&mut self, key: OpeningKey, rule: RuleId, what: &ClaimKind, error: ClaimError) {
        let reason = error.reason();
        let detail = match (what, error) {
            // The name of the reason says it all.
            (_, ClaimError::AlreadyUsed) => "".into(),
            (ClaimKind::Sequence { .. }, ClaimError::NotRecorded(detail)) => {
                // The rule opens nothing any more, for any client.
                return self.report_rule(rule, What::OneTimeFailed { detail: detail.into() });
            }
            (_, error) => error.to_string().into(),
        };
        self.tell(key, Some(rule), What::Refused { reason, detail });
    }
}

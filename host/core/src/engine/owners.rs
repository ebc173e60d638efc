//! What each owner of rules has of the engine: how many openings, how often, and which it may close.

use super::Engine;
use super::generation::AskingRule;
use super::granted::Refusal;
use crate::door::DoorId;
use crate::drop_reason::DropReason;
use crate::durability::Durability;
use crate::event::Request;
use crate::moment::Moment;
use crate::opening::Opening;
use crate::tenant::{Grant, RuleId, TenantId};

impl Engine {
    /// Does what a verdict asks for, as far as its rule's owner may ask for it now.
    pub(super) fn judged(&mut self, asker: AskingRule<'_>, request: Request, now: Moment) {
        match request {
            Request::Open(requests) => {
                for request in requests {
                    if self.is_in_time(asker, request.door.as_deref(), now) {
                        self.open(asker, request, now);
                    }
                }
            }
            Request::Close(requests) => {
                for request in &requests {
                    if self.is_in_time(asker, request.door.as_deref(), now) {
                        self.close(asker, request, now);
                    }
                }
            }
        }
    }

    /// Whether a rule's tenant does not ask for doors too often; else that is told.
    fn is_in_time(&mut self, asker: AskingRule<'_>, door: Option<&str>, now: Moment) -> bool {
        let is_in_time = self.request_rates.take(&asker.rule.tenant, now);
        if !is_in_time {
            let door = self.meant_door(asker.rule, door);
            self.refuse(asker, None, Refusal { door, ..DropReason::OrdersTooFast.into() });
        }
        is_in_time
    }

    /// Whether there is no place for an opening, whosever it is.
    pub(super) fn is_full(&self, is_new: bool, durability: Durability) -> bool {
        let most = self.policy.max_openings;
        // An opening that waits for its claim counts already.
        is_new && self.openings.len() + self.claims.len() >= most
            || self.under_way.len() >= most
            || durability != Durability::None && self.records.len() >= most
    }

    /// Whether a rule's tenant has all openings that it may have. `before` is the opening as it is.
    pub(super) fn is_tenants_full(
        &self,
        rule: &RuleId,
        before: Option<&Opening>,
        durability: Durability,
    ) -> bool {
        let Some(limits) = self.policy.tenants.get(&rule.tenant) else { return false };
        let tenant = &rule.tenant;
        let counts = |opening: &Opening| opening.rule.as_ref().is_some_and(|rule| rule.tenant == *tenant);
        let is_new = !before.is_some_and(counts);
        is_new && self.openings.of_tenant(tenant) + self.claims.of_tenant(tenant) >= limits.openings
            || self.under_way.of_tenant(tenant) >= limits.openings
            || durability != Durability::None && self.records.of_tenant(tenant) >= limits.openings
    }

    /// Whether a tenant's rule may close an opening: its own, and not one that another owner's rule opened as well. Whose an opening is that
    /// was found at the start is not known; it is the tenant's if no other may open the door.
    pub(super) fn may_close(&self, tenant: &TenantId, door: DoorId, opening: &Opening) -> bool {
        let opens_it =
            |(rule, grant): (&RuleId, &Grant)| rule.tenant != *tenant && grant.doors.contains(&door);
        tenant.is_host()
            || match &opening.rule {
                Some(rule) => rule.tenant == *tenant && !opening.is_shared,
                None => !self.policy.grants.iter().any(opens_it),
            }
    }
}

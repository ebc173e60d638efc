//! What each owner of rules has of the engine: how many openings, and how often.

use super::Engine;
use super::generation::AskingRule;
use super::granted::Refusal;
use crate::drop_reason::DropReason;
use crate::durability::Durability;
use crate::event::Request;
use crate::moment::Moment;
use crate::opening::Opening;
use crate::tenant::RuleId;

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
        let is_new = before.is_none_or(|opening| opening.part_of(tenant).is_none());
        is_new && self.openings.of_tenant(tenant) + self.claims.of_tenant(tenant) >= limits.openings
            || self.under_way.of_tenant(tenant) >= limits.openings
            || durability != Durability::None && self.records.of_tenant(tenant) >= limits.openings
    }
}

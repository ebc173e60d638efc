//! What each owner of rules has of an opening: its own time, and what it is told.
//!
//! A door is open for a client once, whoever opened it, and until the last of those who did has it open no more. Each of them sees, hears,
//! extends and closes what its own rules asked for, as if there were nobody else. Of one owner there is one part, whichever of its rules
//! opened it: a tenant has as many parts as it may have openings.

use std::time::Duration;

use super::{Engine, Purpose};
use crate::action::Why;
use crate::door::{Act, DoorId, OpeningKey};
use crate::moment::Moment;
use crate::opening::{Opening, OpeningPart, OpeningState};
use crate::report::What;
use crate::tenant::{Grant, RuleId, TenantId};

impl Engine {
    /// Whether a rule's owner may close what somebody has of an opening: what is its own. Whose it is what was found without a note is not
    /// known; it is the tenant's if no other may open the door.
    pub(super) fn may_close(&self, tenant: &TenantId, door: DoorId, part: &OpeningPart) -> bool {
        let opens_it =
            |(rule, grant): (&RuleId, &Grant)| rule.tenant != *tenant && grant.doors.contains(&door);
        tenant.is_host()
            || match &part.rule {
                Some(rule) => rule.tenant == *tenant,
                None => part.is_unknown() && !self.policy.grants.iter().any(opens_it),
            }
    }

    /// Keeps open what is open, or about to be, for one more, or for longer.
    pub(super) fn open_again(&mut self, key: OpeningKey, part: OpeningPart, now: Moment) {
        let Some(rule) = part.rule.clone() else { return };
        let Some(before) = self.openings.find(key) else { return };
        let (state, newest_order, keeps_time) = (before.state, before.newest_order, before.keeps_time);
        let find = |is_it: &dyn Fn(&OpeningPart) -> bool| before.parts().iter().position(is_it);
        // What was found open goes on as the part of whoever could close it.
        let is_to_take =
            |part: &OpeningPart| part.rule.is_none() && self.may_close(&rule.tenant, key.door, part);
        let own = find(&|part| part.is_of(&rule.tenant)).or_else(|| find(&is_to_take));
        let is_new = own.is_none();
        // A command that runs does so for what was asked before it began, and for whoever comes to it.
        let waits =
            matches!(state, OpeningState::Recording { .. }) || is_new && state == OpeningState::Opening;
        let part = if waits { part } else { OpeningPart { lasts: Duration::ZERO, ..part } };
        self.openings.change_parts(key, |parts| match own.and_then(|own| parts.get_mut(own)) {
            Some(own) => {
                // Opening again never takes time away.
                (own.until, own.lasts) = (own.until.max(part.until), own.lasts.max(part.lasts));
                own.since = own.since.filter(|_| own.rule.is_some());
                (own.rule, own.mark) = (part.rule, part.mark);
            }
            None => parts.push(OpeningPart { newest_order, ..part }),
        });
        let (mut until, mut all_until) = (now, now);
        self.openings.change(key, |opening| {
            if keeps_time || state == OpeningState::Open {
                opening.due = opening.first_end();
            }
            all_until = opening.until();
            let Some(own) = opening.part_mut(&rule.tenant) else { return };
            until = own.until;
            if is_new && !keeps_time && state == OpeningState::Open {
                (own.since, own.known) = (Some(now), Some(until));
            }
        });
        let lasts = until.since(now);
        if keeps_time {
            return self.order(
                key,
                Act::Extend(all_until.since(now)),
                Purpose::Extend { until },
                Some(rule),
                now,
            );
        }
        self.write_down(key, all_until.since(now), now);
        if !is_new {
            self.tell(key, Some(rule), What::Extended { lasts });
        } else if state == OpeningState::Open {
            let module = self.module(&rule);
            self.tell(key, Some(rule), What::Opened { lasts, module });
        }
    }

    /// Ends what is over of an opening that others keep open; whether there was any.
    pub(super) fn end_parts(&mut self, key: OpeningKey, now: Moment) -> bool {
        // Until its command has ended it is not known when anybody's part of it ends.
        let runs = |opening: &Opening| match opening.state {
            OpeningState::Open => true,
            OpeningState::Opening => opening.keeps_time,
            OpeningState::Recording { .. } | OpeningState::Closing { .. } => false,
        };
        let goes_on =
            |opening: &&Opening| runs(opening) && opening.until() > now && opening.first_end() <= now;
        let Some(opening) = self.openings.find(key).filter(goes_on) else { return false };
        let over = opening.parts().iter().filter(|part| part.until <= now);
        let over: Vec<_> = over.map(|part| part.rule.clone()).collect();
        self.openings.change_parts(key, |parts| parts.retain(|part| part.until > now));
        self.openings.change(key, |opening| {
            // What is to be opened again is due for that.
            let is_lost = opening.is_missing && opening.state == OpeningState::Open;
            opening.due = if is_lost { now } else { opening.first_end() };
        });
        self.tell_each(key, over, &What::Closed { why: Why::Expired });
        true
    }

    /// Takes away what `is_left` says of an opening that others keep open, because a rule closes it.
    pub(super) fn leave(
        &mut self,
        key: OpeningKey,
        asker: &RuleId,
        is_left: impl Fn(&OpeningPart) -> bool,
        now: Moment,
    ) {
        let Some(opening) = self.openings.find(key) else { return };
        let (state, newest_order, keeps_time) = (opening.state, opening.newest_order, opening.keeps_time);
        let left = opening.parts().iter().filter(|part| is_left(part));
        let of: Vec<_> = left.map(|part| told_as(part, Some(asker))).collect();
        let rest = self.openings.change_parts(key, |parts| parts.retain(|part| !is_left(part)));
        let lasts = rest.map_or(now, Opening::until).since(now);
        self.openings.change(key, |opening| {
            if keeps_time || state == OpeningState::Open {
                opening.due = opening.first_end();
            }
        });
        if keeps_time {
            // It is open as long as the others asked, and no longer.
            self.openings.change(key, |opening| opening.outlasts = true);
            return self.order(key, Act::Extend(lasts), Purpose::Leave { of }, Some(asker.clone()), now);
        }
        if matches!(state, OpeningState::Recording { .. }) {
            of.iter().flatten().for_each(|rule| self.records.withdraw(newest_order, &rule.tenant));
        }
        self.write_down(key, lasts, now);
        self.tell_each(key, of, &What::Closed { why: Why::Asked });
    }

    /// An opening is in place as the order with this number said: for its owner, and for all whose own orders came before. If these had
    /// failed, they have it open now.
    pub(super) fn holds(&mut self, key: OpeningKey, serial: u64, now: Moment) {
        let mut open = Vec::new();
        self.openings.change(key, |opening| {
            opening.outlasts &= opening.newest_order != serial;
            for part in opening.parts_mut().iter_mut().filter(|part| part.newest_order <= serial) {
                let known = part.known.replace(part.until);
                if let (Some(rule), None) = (&part.rule, known) {
                    part.since = Some(now);
                    open.push((rule.clone(), part.until.since(now)));
                }
            }
        });
        for (rule, lasts) in open {
            let module = self.module(&rule);
            self.tell(key, Some(rule), What::Opened { lasts, module });
        }
    }

    /// The newest order for an opening of a door that keeps the time has failed: it is open for as long as it is known to be.
    pub(super) fn go_back(&mut self, key: OpeningKey) {
        self.openings.change_parts(key, |parts| {
            parts.retain_mut(|part| {
                part.until = part.known.unwrap_or(part.until);
                part.known.is_some()
            });
        });
        self.openings.change(key, |opening| {
            if opening.state == OpeningState::Opening {
                opening.state = OpeningState::Open;
                opening.is_missing = true;
            }
            if opening.state == OpeningState::Open {
                opening.due = opening.first_end();
            }
        });
    }

    /// What these owners had of an opening is closed by the order with this number: nothing else is known of what they asked for after it.
    pub(super) fn forget_before(&mut self, key: OpeningKey, of: &[Option<RuleId>], serial: u64) {
        let under_way = &self.under_way;
        self.openings.change(key, |opening| {
            for rule in of.iter().flatten() {
                let part = opening.part_mut(&rule.tenant);
                let is_newer = |part: &&mut OpeningPart| {
                    part.newest_order > serial && under_way.contains_key(&part.newest_order)
                };
                if let Some(part) = part.filter(is_newer) {
                    (part.since, part.known) = (None, None);
                }
            }
        });
    }

    /// Somebody else opens what was to be closed, and no order is under way that closes it: for those who had it open it is.
    pub(super) fn taken_over(&mut self, key: OpeningKey, before: &Opening, by: &TenantId) {
        let OpeningState::Closing { why, .. } = before.state else { return };
        if !self.under_way.contains_key(&before.newest_order) {
            let others = before.rules().into_iter().flatten().filter(|rule| rule.tenant != *by);
            self.tell_each(key, others.map(Some).collect(), &What::Closed { why });
        }
    }

    /// Removes an opening; each of those who had it open is told this.
    pub(super) fn forget_opening(&mut self, key: OpeningKey, what: &What<'static>) {
        let rules = self.openings.remove(key).map(|opening| opening.rules());
        self.tell_each(key, rules.unwrap_or_default(), what);
    }

    pub(super) fn tell_each(&mut self, key: OpeningKey, rules: Vec<Option<RuleId>>, what: &What<'static>) {
        rules.into_iter().for_each(|rule| self.tell(key, rule, what.clone()));
    }
}

impl Opening {
    /// The rules for which it is open.
    pub(super) fn rules(&self) -> Vec<Option<RuleId>> {
        self.parts().iter().map(|part| part.rule.clone()).collect()
    }
}

/// By which rule somebody's part of an opening is closed, as its owner hears it: a rule of its own, or the one that had opened it. What nobody
/// is known to own is whose it is that closes it.
pub(super) fn told_as(part: &OpeningPart, asker: Option<&RuleId>) -> Option<RuleId> {
    match (&part.rule, asker) {
        (Some(rule), Some(asker)) if rule.tenant != asker.tenant => Some(rule.clone()),
        (Some(rule), None) => Some(rule.clone()),
        (_, asker) => asker.cloned(),
    }
}

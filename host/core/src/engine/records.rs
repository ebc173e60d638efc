//! Openings that are recorded before they are ordered.
//!
//! Such an opening has its place among the openings at once, so that one more for the same door and client extends it. What it may do is
//! looked at once more when it is recorded, since that may be later. A record that no order follows is struck out when it is answered, and
//! not before: it may be on its way to the disk until then.

use std::time::Duration;

use super::by_serial::{BecauseOfRule, BySerial};
use super::generation::PendingOpening;
use super::parts::told_as;
use super::{ANSWER_LIMIT, Engine, LONGEST_WAIT, Purpose};
use crate::action::Action;
use crate::door::{Act, OpeningKey};
use crate::drop_reason::DropReason;
use crate::durability::{Durability, RecordError};
use crate::moment::Moment;
use crate::opening::{Opening, OpeningPart, OpeningState, UnheardClose};
use crate::report::{Report, What};
use crate::tenant::{RuleId, TenantId};

/// Records that have no answer yet, by number. Some are of openings that are not wanted any more.
pub(super) type Records = BySerial<AwaitedRecord>;

/// An opening that is being recorded.
#[derive(Debug)]
pub(super) struct AwaitedRecord {
    key: OpeningKey,
    /// The rule that asked for it first.
    rule: RuleId,
    /// What each owner's rules asked last.
    pending: Vec<PendingOpening>,
}

impl BecauseOfRule for AwaitedRecord {
    fn rule(&self) -> Option<&RuleId> {
        Some(&self.rule)
    }
}

impl Records {
    /// What waits, if this is the number of a record, was asked for once more, perhaps by another rule.
    pub(super) fn ask_again(&mut self, serial: u64, pending: PendingOpening) {
        self.withdraw(serial, &pending.rule.tenant);
        if let Some(waiting) = self.get_mut(serial) {
            waiting.pending.push(pending);
        }
    }

    /// What an owner's rules asked for is not wanted any more.
    pub(super) fn withdraw(&mut self, serial: u64, tenant: &TenantId) {
        if let Some(waiting) = self.get_mut(serial) {
            waiting.pending.retain(|pending| pending.rule.tenant != *tenant);
        }
    }

    /// What was asked for and waits.
    pub(super) fn pending_mut(&mut self) -> impl Iterator<Item = &mut PendingOpening> {
        self.values_mut().flat_map(|waiting| &mut waiting.pending)
    }
}

impl Engine {
    /// Has an opening that nothing refuses recorded. `unclosed` is the close that it was to have, if it may be open still.
    pub(super) fn record(
        &mut self,
        pending: PendingOpening,
        key: OpeningKey,
        part: OpeningPart,
        unclosed: Option<UnheardClose>,
        now: Moment,
    ) {
        self.last_serial += 1;
        let (serial, rule, lasts) = (self.last_serial, pending.rule.clone(), part.lasts);
        // The record of what is being closed waits until the command has ended, however long that takes.
        let limit = if unclosed.is_some() { ANSWER_LIMIT } else { LONGEST_WAIT };
        let (state, part) =
            (OpeningState::Recording { unclosed }, OpeningPart { newest_order: serial, ..part });
        let mut opening = Opening::new(part, state, now.plus(limit), false);
        opening.newest_order = serial;
        self.openings.put(key, opening);
        self.records.insert(serial, AwaitedRecord { key, rule: rule.clone(), pending: vec![pending] });
        let note = self.note(key, now.plus(lasts), now);
        self.actions.push(Action::Record { serial, key, rule, lasts, note });
    }

    /// Orders what was recorded, if that may still be opened.
    pub(super) fn recorded(&mut self, serial: u64, result: Result<(), RecordError>, now: Moment) {
        let Some(AwaitedRecord { key, pending, .. }) = self.records.remove(serial) else { return };
        let is_recorded = result.is_ok();
        let is_waiting = |engine: &Self| {
            engine.openings.find(key).is_some_and(|opening| {
                opening.newest_order == serial && matches!(opening.state, OpeningState::Recording { .. })
            })
        };
        if is_waiting(self) {
            if self.openings.find(key).is_some_and(|opening| opening.due <= now) {
                self.forget_record(key, now);
            } else {
                pending.iter().for_each(|pending| self.check_again(key, pending, now));
            }
        }
        if is_waiting(self) {
            match self.not_recorded(key, result) {
                Some((reason, detail)) => self.refuse_record(key, reason, detail, now),
                None => self.order_recorded(key, now),
            }
        }
        // What is there is newer: its own record is on the disk, or on its way there.
        if is_recorded && self.openings.find(key).is_none() {
            self.actions.push(Action::StrikeOut { key });
        }
    }

    /// Takes what an owner's rule asked for out of an opening that was recorded, if the rule may not have that any more.
    fn check_again(&mut self, key: OpeningKey, pending: &PendingOpening, now: Moment) {
        let request = &pending.request;
        let refusal = match self.granted(pending.asker(), request.door.as_deref(), request.prefix_length) {
            Err(refusal) => (refusal.reason, refusal.detail.into_owned()),
            Ok(there) if (there.door, there.client) != (key.door, key.client) => {
                (DropReason::Outdated, String::new())
            }
            Ok(_) => return,
        };
        let Some(opening) = self.openings.find(key) else { return };
        let (reason, detail) = refusal;
        if opening.parts().iter().all(|part| part.is_of(&pending.rule.tenant)) {
            return self.refuse_record(key, reason, detail, now);
        }
        self.openings.change_parts(key, |parts| parts.retain(|part| !part.is_of(&pending.rule.tenant)));
        self.tell(key, Some(pending.rule.clone()), What::Refused { reason, detail: detail.into() });
    }

    /// Why what could not be recorded is not opened, and more about it.
    fn not_recorded(
        &mut self,
        key: OpeningKey,
        result: Result<(), RecordError>,
    ) -> Option<(DropReason, String)> {
        match (self.doors[&key.door].durability, result.err()?) {
            (Durability::Required, error) => {
                Some((DropReason::NotRecorded, format!("nothing was run, since {error}")))
            }
            (_, RecordError::NoJournal) => None,
            (_, RecordError::Failed(detail)) => {
                let door = self.door_name(key.door).to_string();
                let report = Report::new(What::NotRecorded { detail: detail.into() });
                let report = Report { door: Some(door.into()), ..report.with_client(key.client) };
                self.actions.push(Action::Tell(report));
                None
            }
        }
    }

    fn order_recorded(&mut self, key: OpeningKey, now: Moment) {
        let (mut until, mut lasts, mut rule) = (now, Duration::ZERO, None);
        self.openings.change(key, |opening| {
            opening.state = OpeningState::Opening;
            // What a command opens is open when the command has ended, and not closed before.
            opening.due = now.plus(ANSWER_LIMIT);
            until = opening.until();
            lasts = opening.parts().iter().map(|part| part.lasts).max().unwrap_or_default();
            rule = opening.rules().into_iter().flatten().next();
        });
        self.order(key, Act::Open(lasts), Purpose::Open { until }, rule, now);
    }

    /// Gives up an opening whose record was not answered in time.
    pub(super) fn forget_record(&mut self, key: OpeningKey, now: Moment) {
        let detail = "nothing was run, since how to close it was not recorded in time".to_owned();
        self.refuse_record(key, DropReason::NotRecorded, detail, now);
    }

    fn refuse_record(&mut self, key: OpeningKey, reason: DropReason, detail: String, now: Moment) {
        let what = What::Refused { reason, detail: detail.into() };
        let Some(opening) = self.openings.find(key) else { return };
        let OpeningState::Recording { unclosed } = opening.state else { return };
        match unclosed {
            Some(UnheardClose { why, .. }) => {
                self.tell_each(key, opening.rules(), &what);
                self.order_close(key, why, None, now);
            }
            None => drop(self.withdraw_record(key, None, &what)),
        }
    }

    /// Whether an opening that is being recorded is being closed still, since it was open before. Then it only waits for that once more, for
    /// those who had it open then: one opening is not closed twice.
    pub(super) fn closes_already(&mut self, key: OpeningKey, now: Moment) -> bool {
        let Some(Opening { state: OpeningState::Recording { unclosed: Some(close) }, .. }) =
            self.openings.find(key)
        else {
            return false;
        };
        let UnheardClose { why, tries, order } = *close;
        let Some(of) = self.under_way.closes(order) else { return false };
        let parts = of.iter().map(|rule| OpeningPart { rule: rule.clone(), ..OpeningPart::found(now) });
        let parts: Vec<_> = parts.collect();
        self.openings.change_parts(key, |before| *before = parts);
        self.openings.change(key, |opening| {
            opening.state = OpeningState::Closing { tries, why };
            opening.newest_order = order;
            opening.due = now.plus(ANSWER_LIMIT);
        });
        true
    }

    /// What was open before of an opening that is there anew was closed.
    pub(super) fn closed_before(&mut self, key: OpeningKey, now: Moment) {
        let under_way = &self.under_way;
        self.openings.change(key, |opening| match opening.state {
            OpeningState::Recording { unclosed: Some(_) } => {
                opening.state = OpeningState::Recording { unclosed: None };
                opening.due = now.plus(LONGEST_WAIT);
            }
            // An answer from before was taken for one of its own.
            OpeningState::Open if opening.keeps_time && under_way.contains_key(&opening.newest_order) => {
                opening.state = OpeningState::Opening;
                for part in opening.parts_mut() {
                    (part.since, part.known) = (None, None);
                }
            }
            _ => {}
        });
    }

    /// Takes an opening back that is being recorded, if nothing can be open of it; whether it did.
    pub(super) fn withdraw_record(
        &mut self,
        key: OpeningKey,
        asker: Option<&RuleId>,
        what: &What<'static>,
    ) -> bool {
        let is_it = |opening: &&Opening| opening.state == OpeningState::Recording { unclosed: None };
        let Some(opening) = self.openings.find(key).filter(is_it) else { return false };
        let of: Vec<_> = opening.parts().iter().map(|part| told_as(part, asker)).collect();
        self.openings.remove(key);
        self.tell_each(key, of, what);
        self.retire(key.door);
        true
    }
}

//! Openings that are recorded before they are ordered.
//!
//! Such an opening has its place among the openings at once, so that one more for the same door and client extends it. What it may do is
//! looked at once more when it is recorded, since that may be later. A record that no order follows is struck out when it is answered, and
//! not before: it may be on its way to the disk until then.

use std::time::Duration;

use super::by_serial::{BecauseOfRule, BySerial};
use super::generation::{AskingRule, PendingOpening};
use super::{ANSWER_LIMIT, Engine, LONGEST_WAIT, Purpose};
use crate::action::Action;
use crate::door::{Act, OpeningKey};
use crate::drop_reason::DropReason;
use crate::durability::{Durability, RecordError};
use crate::moment::Moment;
use crate::opening::{Opening, OpeningState, UnheardClose};
use crate::report::{Report, What};
use crate::tenant::RuleId;
use crate::verdict::OpenRequest;

/// Records that have no answer yet, by number. Some are of openings that are not wanted any more.
pub(super) type Records = BySerial<AwaitedRecord>;

/// An opening that is being recorded.
#[derive(Debug)]
pub(super) struct AwaitedRecord {
    key: OpeningKey,
    /// What was asked last.
    pending: PendingOpening,
    /// The longest that was asked.
    lasts: Duration,
}

impl BecauseOfRule for AwaitedRecord {
    fn rule(&self) -> Option<&RuleId> {
        Some(&self.pending.rule)
    }
}

impl Records {
    /// What waits was asked for once more, perhaps by another rule.
    fn ask_again(&mut self, serial: u64, pending: PendingOpening, lasts: Duration) {
        if let Some(AwaitedRecord { key, lasts: before, .. }) = self.remove(serial) {
            self.insert(serial, AwaitedRecord { key, pending, lasts: lasts.max(before) });
        }
    }

    /// What was asked for and waits.
    pub(super) fn pending_mut(&mut self) -> impl Iterator<Item = &mut PendingOpening> {
        self.values_mut().map(|waiting| &mut waiting.pending)
    }
}

impl Engine {
    /// Has an opening that nothing refuses recorded. `unclosed` is the close that it was to have, if it may be open still.
    pub(super) fn record(
        &mut self,
        pending: PendingOpening,
        key: OpeningKey,
        lasts: Duration,
        unclosed: Option<UnheardClose>,
        now: Moment,
    ) {
        self.last_serial += 1;
        let (serial, rule) = (self.last_serial, pending.rule.clone());
        // The record of what is being closed waits until the command has ended, however long that takes.
        let limit = if unclosed.is_some() { ANSWER_LIMIT } else { LONGEST_WAIT };
        let opening = Opening {
            newest_order: serial,
            ..Opening::new(
                Some(rule.clone()),
                OpeningState::Recording { unclosed },
                now.plus(lasts),
                now.plus(limit),
                false,
            )
        };
        self.openings.put(key, opening);
        self.records.insert(serial, AwaitedRecord { key, pending, lasts });
        self.actions.push(Action::Record { serial, key, rule, lasts });
    }

    /// What is being recorded was asked for once more, perhaps by another rule.
    pub(super) fn ask_again(
        &mut self,
        serial: u64,
        asker: AskingRule<'_>,
        request: OpenRequest,
        lasts: Duration,
    ) {
        self.records.ask_again(serial, PendingOpening::new(asker, self.generation, request), lasts);
    }

    /// Orders what was recorded, if that may still be opened.
    pub(super) fn recorded(&mut self, serial: u64, result: Result<(), RecordError>, now: Moment) {
        let Some(waiting) = self.records.remove(serial) else { return };
        let key = waiting.key;
        let is_recorded = result.is_ok();
        let is_waiting = |opening: &&Opening| {
            opening.newest_order == serial && matches!(opening.state, OpeningState::Recording { .. })
        };
        if let Some(due) = self.openings.find(key).filter(is_waiting).map(|opening| opening.due) {
            if due <= now {
                self.forget_record(key, now);
            } else if let Some((reason, detail)) = self.refuses(&waiting, result) {
                self.refuse_record(key, reason, detail, now);
            } else {
                self.order_recorded(&waiting, now);
            }
        }
        // What is there is newer: its own record is on the disk, or on its way there.
        if is_recorded && self.openings.find(key).is_none() {
            self.actions.push(Action::StrikeOut { key });
        }
    }

    /// Why what was to be recorded is not opened, and more about it.
    fn refuses(
        &mut self,
        waiting: &AwaitedRecord,
        result: Result<(), RecordError>,
    ) -> Option<(DropReason, String)> {
        let AwaitedRecord { key, pending, .. } = waiting;
        match self.granted(pending.asker(), pending.request.door.as_deref(), pending.request.prefix_length) {
            Err(refusal) => return Some((refusal.reason, refusal.detail.into_owned())),
            Ok(there) if (there.door, there.client) != (key.door, key.client) => {
                return Some((DropReason::Outdated, String::new()));
            }
            Ok(_) => {}
        }
        let error = result.err()?;
        match (self.doors[&key.door].durability, error) {
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

    fn order_recorded(&mut self, waiting: &AwaitedRecord, now: Moment) {
        let AwaitedRecord { key, lasts, .. } = *waiting;
        let (mut until, mut rule) = (now, None);
        self.openings.change(key, |opening| {
            opening.state = OpeningState::Opening;
            // What a command opens is open when the command has ended, and not closed before.
            opening.due = now.plus(ANSWER_LIMIT);
            (until, rule) = (opening.until, opening.rule.clone());
        });
        self.order(key, Act::Open(lasts), Purpose::Open { lasts, until }, rule);
    }

    /// Gives up an opening whose record was not answered in time.
    pub(super) fn forget_record(&mut self, key: OpeningKey, now: Moment) {
        let detail = "nothing was run, since how to close it was not recorded in time".to_owned();
        self.refuse_record(key, DropReason::NotRecorded, detail, now);
    }

    fn refuse_record(&mut self, key: OpeningKey, reason: DropReason, detail: String, now: Moment) {
        let what = What::Refused { reason, detail: detail.into() };
        let Some(Opening { state: OpeningState::Recording { unclosed }, rule, .. }) = self.openings.find(key)
        else {
            return;
        };
        match *unclosed {
            Some(UnheardClose { why, .. }) => {
                let rule = rule.clone();
                self.tell(key, rule, what);
                self.order_close(key, why, None, now);
            }
            None => drop(self.withdraw_record(key, None, what)),
        }
    }

    /// Whether an opening that is being recorded is being closed still, since it was open before. Then it only waits for that once more: one
    /// opening is not closed twice.
    pub(super) fn closes_already(&mut self, key: OpeningKey, now: Moment) -> bool {
        let Some(Opening { state: OpeningState::Recording { unclosed: Some(close) }, .. }) =
            self.openings.find(key)
        else {
            return false;
        };
        let UnheardClose { why, tries, order } = *close;
        let is_under_way = self.under_way.contains_key(&order);
        if is_under_way {
            self.openings.change(key, |opening| {
                opening.state = OpeningState::Closing { tries, why };
                opening.newest_order = order;
                opening.due = now.plus(ANSWER_LIMIT);
            });
        }
        is_under_way
    }

    /// What was open before of an opening that is being recorded was closed.
    pub(super) fn closed_before(&mut self, key: OpeningKey, now: Moment) {
        self.openings.change(key, |opening| {
            if let OpeningState::Recording { unclosed: unclosed @ Some(_) } = &mut opening.state {
                *unclosed = None;
                opening.due = now.plus(LONGEST_WAIT);
            }
        });
    }

    /// Takes an opening back that is being recorded, if nothing can be open of it; whether it did.
    pub(super) fn withdraw_record(
        &mut self,
        key: OpeningKey,
        asker: Option<RuleId>,
        what: What<'static>,
    ) -> bool {
        let opening = self.openings.find(key);
        let Some(Opening { state: OpeningState::Recording { unclosed: None }, rule, .. }) = opening else {
            return false;
        };
        let rule = asker.or_else(|| rule.clone());
        self.openings.remove(key);
        self.tell(key, rule, what);
        self.retire(key.door);
        true
    }
}

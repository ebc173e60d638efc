//! What doors answer to orders: what is open then, what is told of it, and what is tried again.

use super::under_way::Awaited;
use super::{Engine, FIRST_RETRY, MAX_TRIES, Purpose};
use crate::action::{Action, Why};
use crate::door::{OpeningKey, OrderError, Receipt};
use crate::moment::Moment;
use crate::opening::{Opening, OpeningState};
use crate::report::What;
use crate::tenant::RuleId;

impl Engine {
    pub(super) fn answered(&mut self, Receipt { serial, outcome }: Receipt, now: Moment) {
        let Some(Awaited { key, purpose, rule, module }) = self.under_way.remove(serial) else { return };
        // An answer to an older order changes nothing: the newest decides.
        let newest = self.openings.find(key).filter(|opening| opening.newest_order == serial);
        let newest = newest.map(|opening| opening.state);
        match (purpose, outcome) {
            (Purpose::Close { why, of }, Ok(())) => self.did_close(key, why, of, newest, now),
            (Purpose::Close { why, of }, Err(error)) => self.did_not_close(key, why, of, newest, &error, now),
            (Purpose::Leave { of }, outcome) => {
                match outcome {
                    Ok(()) => self.holds(key, serial, now),
                    // It is open no longer than the others asked for all the same: the engine closes it then.
                    Err(_) if newest.is_some() => self.go_back(key),
                    Err(_) => {}
                }
                self.forget_before(key, &of, serial);
                self.tell_each(key, of, &What::Closed { why: Why::Asked });
            }
            (Purpose::Reopen { .. }, Ok(())) if self.openings.find(key).is_some() => {
                self.did_reopen(key, now)
            }
            (purpose, Ok(())) => self.did_open(serial, Awaited { key, purpose, rule, module }, now),
            (purpose, Err(error)) => {
                self.did_not_open(Awaited { key, purpose, rule, module }, newest, &error, now);
            }
        }
        self.retire(key.door);
    }

    /// A door is open as the order with this number says, that was given for a rule.
    fn did_open(&mut self, serial: u64, Awaited { key, purpose, rule, module }: Awaited, now: Moment) {
        let keeps_time = self.doors.get(&key.door).is_some_and(|door| door.keeps_time);
        let is_to_open = !matches!(purpose, Purpose::Extend { .. });
        let mut until = match purpose {
            Purpose::Open { until } | Purpose::Reopen { until } | Purpose::Extend { until } => until,
            Purpose::Leave { .. } | Purpose::Close { .. } => now,
        };
        let mut all_until = until;
        let mut had_it_open = true;
        self.openings.change(key, |opening| {
            opening.is_missing = false;
            let begins = opening.state == OpeningState::Opening;
            if begins {
                opening.state = OpeningState::Open;
            }
            if begins && !keeps_time {
                // The time of what a command opened begins when the command has ended.
                for part in opening.parts_mut() {
                    part.until = part.until.max(now.plus(std::mem::take(&mut part.lasts)));
                }
                all_until = opening.until();
            }
            let own = rule.as_ref().and_then(|rule| opening.part_mut(&rule.tenant));
            if let Some(own) = own {
                had_it_open = own.known.is_some();
                own.since = own.since.or_else(|| (!had_it_open).then_some(now));
                if begins && !keeps_time {
                    until = own.until;
                }
                own.known = own.known.max(Some(until.min(own.until)));
            }
            if begins {
                opening.due = opening.first_end();
            }
        });
        if !keeps_time {
            self.write_down(key, all_until.since(now), now);
        }
        let lasts = until.since(now);
        let is_new = is_to_open || !had_it_open;
        self.tell(key, rule, if is_new { What::Opened { lasts, module } } else { What::Extended { lasts } });
        self.holds(key, serial, now);
    }

    /// What was lost is open again, for everybody who had it open.
    fn did_reopen(&mut self, key: OpeningKey, now: Moment) {
        let mut open = Vec::new();
        self.openings.change(key, |opening| {
            opening.is_missing = false;
            if opening.state == OpeningState::Opening {
                opening.state = OpeningState::Open;
                opening.due = opening.first_end();
            }
            for part in opening.parts_mut() {
                part.since = Some(now);
                open.push((part.rule.clone(), part.until.since(now)));
            }
        });
        for (rule, lasts) in open {
            let module = rule.as_ref().and_then(|rule| self.module(rule));
            self.tell(key, rule, What::Opened { lasts, module });
        }
    }

    fn did_not_open(
        &mut self,
        awaited: Awaited,
        newest: Option<OpeningState>,
        error: &OrderError,
        now: Moment,
    ) {
        let Awaited { key, purpose, rule, .. } = awaited;
        let is_opening = newest == Some(OpeningState::Opening);
        let keeps_time = self.doors.get(&key.door).is_some_and(|door| door.keeps_time);
        let what = What::Refused { reason: error.reason(), detail: error.to_string().into() };
        // One order was for all of them.
        let is_for_all = !keeps_time || matches!(purpose, Purpose::Reopen { .. });
        match self.openings.find(key).filter(|_| newest.is_some() && is_for_all).map(Opening::rules) {
            Some(rules) => self.tell_each(key, rules, &what),
            None => self.tell(key, rule, what),
        }
        match purpose {
            _ if newest.is_none() => {}
            // The set may be back later; the listing after that opens it again.
            Purpose::Reopen { .. } => self.not_reopened(key),
            _ if keeps_time => self.go_back(key),
            // A command that failed may have done half of its work.
            _ if is_opening => self.order_close(key, Why::Failed, None, now),
            _ => {}
        }
    }

    fn did_close(
        &mut self,
        key: OpeningKey,
        why: Why,
        of: Vec<Option<RuleId>>,
        newest: Option<OpeningState>,
        now: Moment,
    ) {
        match newest {
            Some(_) => drop(self.openings.remove(key)),
            None => self.closed_before(key, now),
        }
        self.tell_each(key, of, &What::Closed { why });
    }

    fn did_not_close(
        &mut self,
        key: OpeningKey,
        why: Why,
        of: Vec<Option<RuleId>>,
        newest: Option<OpeningState>,
        error: &OrderError,
        now: Moment,
    ) {
        let keeps_time = self.doors.get(&key.door).is_some_and(|door| door.keeps_time);
        // A stopping daemon does not wait for a retry.
        let is_last = self.stopping && !keeps_time;
        let again_in = match newest {
            Some(OpeningState::Closing { tries, .. }) if tries < MAX_TRIES && !is_last => {
                Some(FIRST_RETRY.saturating_mul(1 << tries.saturating_sub(1)))
            }
            _ => None,
        };
        let outlasts = self.openings.find(key).is_some_and(|opening| newest.is_some() && opening.outlasts);
        if keeps_time && why == Why::Expired && !outlasts {
            // It has closed by its own clock, whatever became of our order.
            return self.did_close(key, why, of, newest, now);
        }
        match (again_in, newest) {
            (Some(pause), Some(_)) => {
                self.openings.change(key, |opening| opening.due = now.plus(pause));
            }
            (_, Some(_)) => {
                self.openings.remove(key);
                if !keeps_time {
                    self.actions.push(Action::Abandon { key });
                }
            }
            (_, None) => {}
        }
        self.tell_each(key, of, &What::StuckOpen { detail: error.to_string().into(), again_in });
    }
}

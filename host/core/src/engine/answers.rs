//! What doors answer to orders: what is open then, what is told of it, and what is tried again.

use std::time::Duration;

use super::under_way::Awaited;
use super::{Engine, FIRST_RETRY, MAX_TRIES, Purpose};
use crate::action::{Action, Why};
use crate::door::{OpeningKey, Receipt};
use crate::moment::Moment;
use crate::opening::{Opening, OpeningState};
use crate::report::What;
use crate::tenant::RuleId;

impl Engine {
    pub(super) fn answered(&mut self, receipt: Receipt, now: Moment) {
        let Some(Awaited { key, purpose, rule, module }) = self.under_way.remove(receipt.serial) else {
            return;
        };
        let opening = self.openings.find(key).cloned();
        // An answer to an older order changes nothing: the newest decides.
        let newest = opening.clone().filter(|opening| opening.newest_order == receipt.serial);
        match (purpose, receipt.outcome) {
            (Purpose::Close { why }, Ok(())) => {
                match newest {
                    Some(_) => drop(self.openings.remove(key)),
                    None => self.closed_before(key, now),
                }
                self.tell(key, rule, What::Closed { why });
            }
            (Purpose::Close { why }, Err(error)) => {
                self.did_not_close(key, why, newest, rule, error.to_string(), now);
            }
            (purpose, Ok(())) => {
                let is_new = !matches!(purpose, Purpose::Extend { .. })
                    || opening.as_ref().is_some_and(|opening| opening.state == OpeningState::Opening);
                let keeps_time = self.doors.get(&key.door).is_some_and(|door| door.keeps_time);
                let (mut until, lasts) = match purpose {
                    Purpose::Open { lasts, until } => (until, lasts),
                    Purpose::Reopen { until } | Purpose::Extend { until, .. } => (until, until.since(now)),
                    Purpose::Close { .. } => (now, Duration::ZERO),
                };
                if let Some(opening @ Opening { state: OpeningState::Opening, .. }) = opening {
                    // The time of what a command opened begins when the command has ended.
                    let due = if keeps_time { opening.until } else { opening.until.max(now.plus(lasts)) };
                    until = if keeps_time { until } else { due };
                    let since = Some(now);
                    self.openings
                        .put(key, Opening { state: OpeningState::Open, since, until: due, due, ..opening });
                }
                self.openings.change(key, |opening| opening.is_missing = false);
                if let (Purpose::Extend { until, .. }, Some(newest)) = (purpose, self.openings.find(key)) {
                    self.under_way.is_known(newest.newest_order, until);
                }
                let lasts = until.since(now);
                if !keeps_time {
                    self.actions.push(Action::Note { key, lasts });
                }
                let what = if is_new { What::Opened { lasts, module } } else { What::Extended { lasts } };
                self.tell(key, rule, what);
            }
            (purpose, Err(error)) => {
                let (reason, detail) = (error.reason(), error.to_string().into());
                self.tell(key, rule, What::Refused { reason, detail });
                if let Some(opening) = newest {
                    self.did_not_open(key, purpose, opening, now);
                }
            }
        }
        self.retire(key.door);
    }

    fn did_not_open(&mut self, key: OpeningKey, purpose: Purpose, opening: Opening, now: Moment) {
        match (purpose, opening.state) {
            // The set may be back later; the listing after that opens it again.
            (Purpose::Reopen { .. }, OpeningState::Opening) => {
                self.openings.put(key, Opening { state: OpeningState::Open, is_missing: true, ..opening });
            }
            (_, OpeningState::Opening) if self.doors[&key.door].keeps_time => {
                self.openings.remove(key);
            }
            // A command that failed may have done half of its work.
            (_, OpeningState::Opening) => self.order_close(key, Why::Failed, None, now),
            (Purpose::Extend { before, .. }, OpeningState::Open) => {
                self.openings.put(key, Opening { until: before, due: before, ..opening });
            }
            _ => {}
        }
    }

    fn did_not_close(
        &mut self,
        key: OpeningKey,
        why: Why,
        newest: Option<Opening>,
        rule: Option<RuleId>,
        detail: String,
        now: Moment,
    ) {
        let keeps_time = self.doors.get(&key.door).is_some_and(|door| door.keeps_time);
        // A stopping daemon does not wait for a retry.
        let is_last = self.stopping && !keeps_time;
        let again_in = match newest {
            Some(Opening { state: OpeningState::Closing { tries, .. }, .. })
                if tries < MAX_TRIES && !is_last =>
            {
                Some(FIRST_RETRY.saturating_mul(1 << tries.saturating_sub(1)))
            }
            _ => None,
        };
        if keeps_time && why == Why::Expired {
            // It has closed by its own clock, whatever became of our order.
            if newest.is_some() {
                self.openings.remove(key);
            }
            return self.tell(key, rule, What::Closed { why });
        }
        match (again_in, newest) {
            (Some(pause), Some(opening)) => {
                self.openings.put(key, Opening { due: now.plus(pause), ..opening });
            }
            (_, Some(_)) => {
                self.openings.remove(key);
                if !keeps_time {
                    self.actions.push(Action::Abandon { key });
                }
            }
            (_, None) => {}
        }
        self.tell(key, rule, What::StuckOpen { detail: detail.into(), again_in });
    }
}

//! What others did to doors: an earlier run left them open, or another program emptied sets or removed elements.

use std::time::Duration;

use super::{Engine, Purpose};
use crate::action::Why;
use crate::door::{Act, OpeningKey};
use crate::moment::Moment;
use crate::opening::{Opening, OpeningState};
use crate::opening_note::OpeningNote;
use crate::report::What;
use crate::tenant::DoorPolicy;

/// An opening that is missing this short before its end was closed by the door's own clock, which may be early, and was not removed.
const LEFT_TO_THE_CLOCK: Duration = Duration::from_secs(1);

impl Engine {
    pub(super) fn found(&mut self, key: OpeningKey, remaining: Duration, note: &OpeningNote, now: Moment) {
        let Some(&DoorPolicy { keeps_time, .. }) = self.doors.get(&key.door) else { return };
        if self.openings.find(key).is_none() {
            let parts = self.noted_parts(note, now.plus(remaining), now);
            self.openings.put(key, Opening::found(parts, keeps_time));
        }
    }

    /// An opening was lost with its set. It becomes due at once, so that it is opened again in a bounded piece with whatever else is due.
    pub(super) fn lost(&mut self, key: OpeningKey, now: Moment) {
        self.openings.change(key, |opening| {
            if opening.state == OpeningState::Open && opening.until() > now {
                opening.is_missing = true;
                opening.due = now;
            }
        });
    }

    /// Opens a lost opening again for its remaining time.
    pub(super) fn reopen(&mut self, key: OpeningKey, now: Moment) {
        let may_open = self.policy.doors.contains_key(&key.door) && !self.stopping;
        let (mut until, mut rule) = (now, None);
        self.openings.change(key, |opening| {
            opening.due = opening.first_end();
            if may_open {
                opening.state = OpeningState::Opening;
                (until, rule) = (opening.until(), opening.rules().into_iter().flatten().next());
            }
        });
        if may_open {
            self.order(key, Act::Open(until.since(now)), Purpose::Reopen { until }, rule, now);
        }
    }

    /// A lost opening could not be opened again.
    pub(super) fn not_reopened(&mut self, key: OpeningKey) {
        self.openings.change(key, |opening| {
            if opening.state == OpeningState::Opening {
                opening.state = OpeningState::Open;
                opening.is_missing = true;
            }
        });
    }

    /// Another program or the operator removed an opening, and it stays closed, unless an order without a receipt decides about it anyway.
    pub(super) fn removed(&mut self, key: OpeningKey, now: Moment) {
        let is_ours = |opening: &Opening| {
            opening.state == OpeningState::Open
                && !self.under_way.contains_key(&opening.newest_order)
                // The door's own clock may be a little early.
                && opening.until().since(now) > LEFT_TO_THE_CLOCK
        };
        let Some(opening) = self.openings.find(key).filter(|opening| is_ours(opening)) else { return };
        if opening.is_missing {
            // It was lost with its set, which is back by now, and was not removed on purpose.
            return self.lost(key, now);
        }
        self.forget_opening(key, &What::Closed { why: Why::Removed });
    }
}

//! What the engine asks for, looked at and passed on.

use std::time::Duration;

use postern_core::{Act, Action, Claim, Durability, OpeningKey, OpeningNote, OpeningState, Order};

use super::{Awaited, World};
use crate::commands::Row;
use crate::configuration::SSH;
use crate::grants::Asking;

/// The longest that a client waits for a record.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
impl World {
    pub(super) fn carry_out(&mut self, actions: Vec<Action>, asking: Option<Asking>) {
        for action in actions {
            match action {
                Action::Order { order, note, .. } => self.order(order, note),
                Action::Claim(claim) => self.claim(&claim, asking),
                Action::Record { serial, key, lasts, note, .. } => {
                    let door = self.door(key.door);
                    assert!(lasts <= self.grants.longest(door, key.client), "{key:?} for {lasts:?}");
                    let state = self
                        .engine
                        .openings()
                        .find(|(known, _)| *known == key)
                        .map(|(_, opening)| opening.state);
                    let is_fresh = matches!(state, Some(OpeningState::Recording { unclosed: None }));
                    self.recorded.insert(key, is_fresh.then_some(self.now));
                    self.awaited.insert(serial, Awaited::Record);
                    self.runner.record(key, serial, Row { door, until: self.now + lasts, note }, self.now);
                }
                Action::StrikeOut { key } => self.runner.strike_out(key),
                Action::Note { key, lasts, note } => {
                    let longest = self.grants.longest(self.door(key.door), key.client);
                    assert!(lasts <= longest, "{key:?} is noted for {lasts:?} instead of {longest:?}");
                    self.runner.note(key, self.now + lasts, note);
                }
                Action::Abandon { key } => {
                    let is_kept =
                        self.runner.has_row(key) || self.durability(key.door) != Durability::Required;
                    // It may be closed, if that was not heard.
                    let is_open = self.runner.open().any(|open| open == key);
                    assert!(is_kept || !is_open, "{key:?} is given up and not recorded");
                    self.runner.abandon(key);
                }
                Action::Tell(report) => self.hear_report(&report),
            }
        }
    }

    fn claim(&mut self, claim: &Claim, asking: Option<Asking>) {
        self.claims.insert(claim.serial, asking.expect("a claim is made for a verdict"));
        self.ledger.claim(claim, self.now);
    }

    fn order(&mut self, order: Order, note: OpeningNote) {
        let Order { serial, door: id, client, occurrence, act } = order;
        let (key, door) = (OpeningKey { door: id, client, occurrence }, self.door(id));
        let awaited = if door == SSH { Awaited::OfFilter } else { Awaited::Command(door, client) };
        assert!(self.awaited.insert(serial, awaited).is_none(), "a number is used twice: {order:?}");
        if door == SSH {
            if let Act::Open(lasts) | Act::Extend(lasts) = act {
                let granted = self.grants.until(door, client);
                assert!(
                    self.now + lasts <= granted,
                    "{order:?} at {:?}, granted until {granted:?}",
                    self.now
                );
            }
            return self.filter.order(order, note, self.now);
        }
        if let Act::Open(lasts) = act {
            assert!(lasts <= self.grants.longest(door, client), "{order:?} was not granted");
            let recorded = self.recorded.get(&key).expect("it is recorded before it is ordered");
            let is_in_time = recorded.is_none_or(|since| self.now < since + LONGEST_WAIT);
            assert!(is_in_time, "{order:?} at {:?} was to be recorded at {recorded:?}", self.now);
            let is_kept = self.runner.has_row(key) || self.durability(id) != Durability::Required;
            assert!(is_kept, "{order:?} is not in the journal");
        }
        self.runner.order(key, order, door, self.now);
    }
}

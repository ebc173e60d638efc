//! What must hold after every step, and once everything was said.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_core::OpeningState;

use super::World;
use crate::configuration::{MAX_OPENINGS, SSH};

/// What is missing this short before its end was closed by the door's own clock.
const NEAR: Duration = Duration::from_secs(1);
impl World {
    /// What must hold whenever the engine has nothing to do.
    pub(super) fn check(&mut self) {
        let openings = self.engine.openings().count();
        assert!(self.awaited.len() <= 2 * MAX_OPENINGS + openings, "too much is under way");
        let by_command = self.engine.openings().filter(|(_, opening)| !opening.keeps_time).count();
        assert_eq!(self.engine.left_to_close(), by_command);
        assert_eq!(self.engine.is_settled(), self.awaited.is_empty(), "{:?}", self.awaited);
        self.check_stories();
        for (key, opening) in self.engine.openings() {
            let door = self.door(key.door);
            for part in opening.parts() {
                if part.rule.is_none() || opening.state != OpeningState::Open {
                    continue;
                }
                let latest = match door {
                    SSH => self.grants.until(door, key.client),
                    _ => self.grants.latest(door, key.client),
                };
                // What was found late is closed at once.
                assert!(
                    self.started + part.until.0 <= latest.max(self.now),
                    "{key:?} {opening:?}, granted until {latest:?}"
                );
            }
        }
        for key in self.runner.open() {
            assert!(self.engine.openings().any(|(known, _)| known == key), "{key:?} is open and forgotten");
        }
    }

    /// The engine and the packet filter know of the same openings, once everything was said.
    pub(super) fn check_agreement(&mut self) {
        let there: BTreeMap<_, _> = self.filter.elements().filter(|(_, until)| *until > self.now).collect();
        let of_filter = self.engine.openings().filter(|(_, opening)| opening.keeps_time);
        let known: BTreeMap<_, _> = of_filter.map(|(key, opening)| (key.client, opening)).collect();
        for client in there.keys() {
            assert!(known.contains_key(client), "the engine does not know that {client} is let in");
        }
        // It does not know what became of an order whose answer was lost.
        for (client, opening) in known.into_iter().filter(|_| !self.has_lost_answers) {
            if opening.state == OpeningState::Open && self.plan.ids.contains_key(&SSH) {
                let until = self.started + opening.until().0;
                let is_open = there.get(&client).is_some_and(|there| *there >= until);
                assert!(
                    is_open || until <= self.now + NEAR,
                    "the engine is wrong that {client} is let in: {opening:?}"
                );
            }
        }
    }
}

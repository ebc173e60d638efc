//! What an engine finds open, held against what the one before it knew.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_core::{Client, Opening, OpeningKey, OpeningPart, OpeningState, TenantId};

use super::World;

/// Until when each owner has a door open for a client, by the door's place.
pub(super) type Parts = BTreeMap<(usize, Client, TenantId), Duration>;

/// Times are noted in milliseconds, and no part is noted to last longer.
const ROUNDED: Duration = Duration::from_millis(1);

impl World {
    /// What the next engine is to find in the packet filter; none if it is not sure what is open there, or its set is about to be another one.
    pub(super) fn parts_in_filter(&self) -> Option<Parts> {
        let elements: BTreeMap<_, _> =
            self.filter.elements().filter(|(_, until)| *until > self.now).collect();
        let is_sure = self.is_sure(true)
            && self.filter.is_idle()
            && !self.filter.has_failed
            && self.next_plan.is_none();
        // An order counts its time from when it is carried out: what ended for the engine goes on a little.
        let ends_as_known = |(key, opening): (OpeningKey, &Opening)| {
            let known = self.started + opening.until().0;
            !opening.keeps_time
                || elements.get(&key.client).is_some_and(|until| until.abs_diff(known) <= ROUNDED)
        };
        let is_sure = is_sure && self.engine.openings().all(ends_as_known);
        is_sure.then(|| self.parts_of(|key| self.keeps_time(key)))
    }

    /// What it is to find of commands; none if it is not sure what these have opened.
    pub(super) fn parts_of_commands(&self) -> Option<Parts> {
        let is_sure = self.is_sure(false) && !self.runner.has_abandoned();
        let is_kept = |key: &OpeningKey| !self.keeps_time(key) && self.runner.has_row(*key);
        is_sure.then(|| self.parts_of(is_kept))
    }

    /// Whether everything was said, and nothing is half closed.
    fn is_sure(&self, keeps_time: bool) -> bool {
        let mut openings = self.engine.openings().filter(|(_, opening)| opening.keeps_time == keeps_time);
        let is_open = |opening: &Opening| opening.state == OpeningState::Open && !opening.is_missing;
        !self.has_lost_answers && self.awaited.is_empty() && openings.all(|(_, opening)| is_open(opening))
    }

    fn keeps_time(&self, key: &OpeningKey) -> bool {
        self.opening(*key).is_some_and(|opening| opening.keeps_time)
    }

    /// What is open of these; the longest of those of one owner.
    fn parts_of(&self, is_it: impl Fn(&OpeningKey) -> bool) -> Parts {
        let mut parts = Parts::new();
        for (key, opening) in self.engine.openings() {
            for part in opening.parts().iter().filter(|_| opening.state == OpeningState::Open && is_it(&key))
            {
                let Some(tenant) = part.tenant() else { continue };
                let until = parts.entry((self.door(key.door), key.client, tenant.clone())).or_default();
                *until = (*until).max(self.started + part.until.0);
            }
        }
        parts
    }

    pub(super) fn check_found_in_filter(&mut self) {
        let Some(expected) = self.to_find.take() else { return };
        let found = self.parts_of(|key| self.keeps_time(key));
        self.check_found(&expected, &found);
    }

    pub(super) fn check_found_of_commands(&self, expected: &Parts) {
        let found = self.parts_of(|key| !self.keeps_time(key));
        self.check_found(expected, &found);
    }

    /// Whoever had a part has it still, for as long as before, and nobody has more.
    fn check_found(&self, expected: &Parts, found: &Parts) {
        for (place, until) in expected {
            let is_over = *until <= self.now + ROUNDED;
            let is_there = found.get(place).is_some_and(|found| found.abs_diff(*until) <= ROUNDED);
            assert!(is_there || is_over, "{place:?} until {until:?} at {:?}: {found:?}", self.now);
        }
        for (place, until) in found {
            let known = expected.get(place);
            assert!(
                known.is_some_and(|known| *until <= *known),
                "{place:?} until {until:?}, and not {known:?}"
            );
        }
        let all = self.engine.openings().flat_map(|(_, opening)| opening.parts());
        let nobodys = all.filter(|part| part.tenant().is_none()).collect::<Vec<&OpeningPart>>();
        assert!(nobodys.is_empty(), "{nobodys:?}");
    }
}

//! What each owner of rules was told of its openings: for it there is nobody else.

use std::collections::{BTreeMap, BTreeSet};

use postern_core::{Client, Opening, OpeningPart, OpeningState, Report, TenantId, What};

use super::World;
use crate::configuration::DOORS;

/// A door, for a client, of an owner.
type Place = (usize, Client, TenantId);

/// Which doors are open for a client, as their owners were told.
#[derive(Default)]
pub(super) struct Stories {
    open: BTreeSet<Place>,
    /// Those of which the owner was told last that something could not be done: of what is gone it hears nothing more.
    doubtful: BTreeSet<Place>,
    /// What was open more than once at a time, or by a command that the door does not run any more: what is told says not which.
    ambiguous: BTreeSet<Place>,
}

impl World {
    pub(super) fn hear_report(&mut self, report: &Report<'_>) {
        let door = DOORS.iter().position(|name| report.door.as_deref() == Some(*name));
        let (Some(door), Some(client), Some(rule)) = (door, report.client, report.rule()) else { return };
        let place = (door, client, rule.tenant.clone());
        match report.what {
            // What was given up meanwhile is nobody's, and what was found open is extended.
            What::Opened { .. } | What::Extended { .. } if self.parts(&place).count() > 0 => {
                self.stories.doubtful.remove(&place);
                self.stories.open.insert(place);
            }
            What::Closed { .. } => drop(self.stories.open.remove(&place)),
            What::StuckOpen { again_in: None, .. } | What::Refused { .. } => {
                self.stories.doubtful.insert(place);
            }
            _ => {}
        }
    }

    /// What an engine found open is known to its owner since it was opened.
    pub(super) fn know_found(&mut self) {
        let found = self.engine.openings().flat_map(|(key, opening)| {
            let owners = opening.parts().iter().filter(|part| part.since.is_some());
            owners.filter_map(move |part| Some((key.door, key.client, part.tenant()?.clone())))
        });
        let found: Vec<_> = found.map(|(door, client, tenant)| (self.door(door), client, tenant)).collect();
        self.stories.open.extend(found);
    }

    /// What an owner has of the openings of a door for a client.
    fn parts<'a>(
        &'a self,
        (door, client, tenant): &'a Place,
    ) -> impl Iterator<Item = (&'a Opening, &'a OpeningPart)> {
        let is_it = |key: &postern_core::OpeningKey| (self.door(key.door), key.client) == (*door, *client);
        let openings = self.engine.openings().filter(move |(key, _)| is_it(key));
        openings.filter_map(|(_, opening)| Some((opening, opening.part_of(tenant)?)))
    }

    /// Each owner knows what it has, and nothing else.
    pub(super) fn check_stories(&mut self) {
        let tenants = ["a", "b", TenantId::HOST].map(TenantId::new);
        for (key, opening) in self.engine.openings() {
            let owners: Vec<_> = opening.parts().iter().map(OpeningPart::tenant).collect();
            let is_once = owners.iter().enumerate().all(|(n, owner)| !owners[..n].contains(owner));
            assert!(is_once && !owners.is_empty(), "{key:?} {opening:?}");
        }
        let mut places: BTreeMap<Place, usize> = BTreeMap::new();
        for (key, opening) in self.engine.openings() {
            for tenant in opening.parts().iter().filter_map(OpeningPart::tenant) {
                let door = self.door(key.door);
                let is_of_before = !opening.keeps_time && self.plan.ids.get(&door) != Some(&key.door);
                let count = places.entry((door, key.client, tenant.clone())).or_default();
                *count += if is_of_before { 2 } else { 1 };
            }
        }
        let ambiguous = places.iter().filter(|(_, count)| **count > 1).map(|(place, _)| place.clone());
        self.stories.ambiguous.extend(ambiguous);
        for place in places.keys().filter(|place| !self.stories.ambiguous.contains(place)) {
            let is_open = |(opening, part): (&Opening, &OpeningPart)| {
                opening.state == OpeningState::Open && (part.since.is_some() || self.awaited.is_empty())
            };
            let is_told = self.stories.open.contains(place) || self.stories.doubtful.contains(place);
            assert!(is_told || !self.parts(place).any(is_open), "that {place:?} is open was not told");
        }
        for tenant in &tenants {
            let own = |opening: &Opening| opening.part_of(tenant).is_some();
            let all: Vec<_> = self.engine.openings().filter(|(_, opening)| own(opening)).collect();
            assert_eq!(self.engine.openings_of_tenant(tenant, None).collect::<Vec<_>>(), all, "{tenant}");
            assert_eq!(self.engine.tenants_count(tenant), all.len());
        }
        let parts = self.engine.openings().map(|(_, opening)| opening.parts().len());
        assert_eq!(self.engine.parts_count(), parts.sum::<usize>());
        if self.awaited.is_empty() {
            for place in self.stories.open.difference(&self.stories.ambiguous) {
                let is_there = places.contains_key(place) || self.stories.doubtful.contains(place);
                assert!(is_there, "that {place:?} is closed was not told");
            }
        }
    }
}

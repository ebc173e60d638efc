//! What is open in the packet filter, held against the openings that the engine knows.

use super::Engine;
use crate::door::OpeningKey;
use crate::listing::{ListedOpening, Listing};
use crate::moment::Moment;
use crate::opening::OpeningState;

impl Engine {
    /// Reconciles the table of openings with the listing, in one pass over both; orders are given in bounded pieces.
    ///
    /// An opening that is missing in the listing was removed on purpose, and stays closed, if its set is the same as before. If its set is gone
    /// or was made anew, the opening is lost, and is opened again for its remaining time. A listed opening that is not known was made by an
    /// earlier run, and is whose that noted.
    pub(super) fn listed(&mut self, listing: Listing, now: Moment) {
        let Listing { mut openings, lived_on } = listing;
        let place = |there: &ListedOpening| (there.door, there.client);
        // One pass if they are sorted.
        openings.sort_unstable_by_key(place);
        let (mut found, mut gone) = (Vec::new(), Vec::new());
        let mut listed = openings.into_iter().peekable();
        for (key, opening) in self.openings() {
            let here = (key.door, key.client);
            while let Some(there) = listed.next_if(|there| place(there) < here) {
                found.push(there);
            }
            let is_there = listed.next_if(|there| place(there) == here).is_some();
            if !is_there && opening.state == OpeningState::Open && self.keeps_time(key.door) {
                gone.push(key);
            }
        }
        for ListedOpening { door, client, remaining, note } in found.into_iter().chain(listed) {
            self.found(OpeningKey { door, client, occurrence: 0 }, remaining, &note, now);
        }
        for key in gone {
            match lived_on.contains(&key.door) {
                true => self.removed(key, now),
                false => self.lost(key, now),
            }
        }
        self.do_due(now);
    }
}

//! What is open in the packet filter, held against the ledger.

use std::collections::BTreeSet;

use postern_core::{DoorId, Engine, Event, State};
use postern_doorman::{Listing, Opening};

/// What the packet filter has open, by door and client as the ledger has it.
pub(super) struct Listed<'a> {
    openings: Vec<&'a Opening>,
    lived_on: &'a BTreeSet<DoorId>,
}

impl<'a> Listed<'a> {
    pub(super) fn new(listing: &'a Listing) -> Self {
        let mut openings: Vec<_> = listing.openings.iter().collect();
        openings.sort_unstable_by_key(|opening| (opening.door, opening.client));
        Self { openings, lived_on: &listing.lived_on }
    }

    /// What happened to openings behind the engine's back, in one pass over both.
    ///
    /// What should be open and is not was removed by somebody who meant it, unless its set is gone or went and came back: then it is lost,
    /// and is opened again for the time that it has left. What is open and is not in the ledger was opened by an earlier run.
    pub(super) fn differences(self, engine: &Engine) -> Vec<Event> {
        let mut events = Vec::new();
        let mut listed = self.openings.into_iter().peekable();
        for (key, opening) in engine.openings() {
            let (door, client) = (key.door, key.client);
            while let Some(found) = listed.next_if(|there| (there.door, there.client) < (door, client)) {
                events.push(Self::found(found));
            }
            let is_there = listed.next_if(|there| (there.door, there.client) == (door, client)).is_some();
            if is_there || opening.state != State::Open || !engine.keeps_time(door) {
                continue;
            }
            events.push(match self.lived_on.contains(&door) {
                true => Event::Removed { door, client },
                false => Event::Lost { door, client },
            });
        }
        events.extend(listed.map(Self::found));
        events
    }

    fn found(there: &Opening) -> Event {
        let Opening { door, client, remaining } = *there;
        Event::Found { door, client, remaining }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::time::Duration;

    use postern_core::{Again, Client, DoorPolicy, Moment, Policy};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SSH: DoorId = DoorId(1);
    const LAMP: DoorId = DoorId(2);
    const WEB: DoorId = DoorId(3);

    /// Two doors in the packet filter and one of commands, each open for clients 2, 4 and 6.
    fn engine() -> Engine {
        let door = |name: &str, keeps_time| DoorPolicy {
            name: name.into(),
            lasts: MINUTE,
            keeps_time,
            again: Again::Extend,
            prefixes: Vec::new(),
            takes_links: false,
        };
        let doors = [(SSH, door("ssh", true)), (LAMP, door("lamp", false)), (WEB, door("web", true))];
        let policy = Policy { doors: HashMap::from(doors), max_openings: 100, ..Policy::default() };
        let mut engine = Engine::new(Arc::new(policy));
        for door in [SSH, LAMP, WEB] {
            for n in [2, 4, 6] {
                let (client, remaining) = (Client::alone([192, 0, 2, n].into()), MINUTE);
                engine.handle(Event::Found { door, client, remaining }, Moment::default());
            }
        }
        engine
    }

    /// The differences in words, if these are listed; of `web` the set went and came back.
    fn differences(listed: &[(DoorId, u8)]) -> Vec<String> {
        let opening = |(door, n): &(DoorId, u8)| Opening {
            door: *door,
            client: Client::alone([192, 0, 2, *n].into()),
            remaining: MINUTE,
        };
        let openings = listed.iter().map(opening).collect();
        let engine = engine();
        let listing = Listing { openings, lived_on: BTreeSet::from([SSH]) };
        let events = Listed::new(&listing).differences(&engine);
        let words = |event: &Event| match event {
            Event::Found { door, client, .. } => format!("{} found {client}", engine.door_name(*door)),
            Event::Lost { door, client } => format!("{} lost {client}", engine.door_name(*door)),
            Event::Removed { door, client } => format!("{} removed {client}", engine.door_name(*door)),
            other => format!("{other:?}"),
        };
        events.iter().map(words).collect()
    }

    #[test]
    fn what_is_the_same_on_both_sides_is_left_alone() {
        let listed = [6, 4, 2].map(|n| [(SSH, n), (WEB, n)]);
        assert_eq!(differences(&listed.concat()), [""; 0]);
    }

    #[test]
    fn what_is_gone_was_removed_unless_its_set_is_another() {
        assert_eq!(
            differences(&[(SSH, 4), (WEB, 6)]),
            ["ssh removed 192.0.2.2", "ssh removed 192.0.2.6", "web lost 192.0.2.2", "web lost 192.0.2.4",]
        );
    }

    #[test]
    fn what_is_new_is_found() {
        let mut listed = [2, 4, 6].map(|n| [(SSH, n), (WEB, n)]).concat();
        listed.extend([(SSH, 1), (SSH, 5), (WEB, 7)]);
        assert_eq!(
            differences(&listed),
            ["ssh found 192.0.2.1", "ssh found 192.0.2.5", "web found 192.0.2.7"]
        );
    }
}

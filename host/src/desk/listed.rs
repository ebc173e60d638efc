//! What is open in the packet filter, held against the ledger.

use postern_core::{Client, DoorId, Engine, Event, State};
use postern_doorman::Opening;

/// What the packet filter has open, by door and client as the ledger has it.
pub(super) struct Listed<'a>(Vec<(DoorId, Client, &'a Opening)>);

impl<'a> Listed<'a> {
    pub(super) fn new(open: &'a [Opening]) -> Self {
        let mut listed: Vec<_> =
            open.iter().map(|opening| (opening.door, Client::alone(opening.client), opening)).collect();
        listed.sort_unstable_by_key(|(door, client, _)| (*door, *client));
        Self(listed)
    }

    /// What happened to openings behind the engine's back, in one pass over both.
    ///
    /// What should be open and is not was removed by somebody who meant it, unless its set went and came back: then it is lost, and is
    /// opened again for the time that it has left. So is an opening of which only a part is there. What is open and is not in the ledger
    /// was opened by an earlier run.
    pub(super) fn differences(self, engine: &Engine, is_renewed: impl Fn(DoorId) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        let mut listed = self.0.into_iter().peekable();
        for (key, opening) in engine.openings() {
            let (door, client) = (key.door, key.client);
            while let Some(found) = listed.next_if(|(at, of, _)| (*at, *of) < (door, client)) {
                events.push(Self::found(found));
            }
            let there = listed.next_if(|(at, of, _)| (*at, *of) == (door, client));
            if opening.state != State::Open || !engine.keeps_time(door) {
                continue;
            }
            match there {
                Some((.., there)) if there.whole => {}
                None if !is_renewed(door) => events.push(Event::Removed { door, client }),
                _ => events.push(Event::Lost { door, client }),
            }
        }
        events.extend(listed.map(Self::found));
        events
    }

    fn found((door, client, opening): (DoorId, Client, &Opening)) -> Event {
        Event::Found { door, client, remaining: opening.remaining }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::time::Duration;

    use postern_core::{Again, DoorPolicy, Moment, Policy};

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
    fn differences(listed: &[(DoorId, u8, bool)]) -> Vec<String> {
        let opening = |(door, n, whole): &(DoorId, u8, bool)| Opening {
            door: *door,
            client: [192, 0, 2, *n].into(),
            remaining: MINUTE,
            whole: *whole,
        };
        let open: Vec<_> = listed.iter().map(opening).collect();
        let engine = engine();
        let events = Listed::new(&open).differences(&engine, |door| door == WEB);
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
        let listed = [6, 4, 2].map(|n| [(SSH, n, true), (WEB, n, true)]);
        assert_eq!(differences(&listed.concat()), [""; 0]);
    }

    #[test]
    fn what_is_gone_was_removed_unless_its_set_is_another() {
        assert_eq!(
            differences(&[(SSH, 4, true), (WEB, 6, true)]),
            ["ssh removed 192.0.2.2", "ssh removed 192.0.2.6", "web lost 192.0.2.2", "web lost 192.0.2.4",]
        );
    }

    #[test]
    fn what_is_there_in_part_is_put_back_and_what_is_new_is_found() {
        let mut listed = [2, 4, 6].map(|n| [(SSH, n, n != 4), (WEB, n, true)]).concat();
        listed.extend([(SSH, 1, true), (SSH, 5, true), (WEB, 7, true)]);
        assert_eq!(
            differences(&listed),
            ["ssh found 192.0.2.1", "ssh lost 192.0.2.4", "ssh found 192.0.2.5", "web found 192.0.2.7"]
        );
    }
}

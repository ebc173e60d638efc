//! InheritedDoors: what an earlier run opened by commands has a door of its own, which is in no policy. It is still that of the name for whoever
//! closes it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::client::Client;
use crate::door::DoorId;

/// Such doors, by the name of the door that was opened and for whom. As many as are open.
#[derive(Debug, Default)]
pub(super) struct InheritedDoors {
    by_name: HashMap<(Arc<str>, Client), BTreeSet<DoorId>>,
    known: HashMap<DoorId, (Arc<str>, Client)>,
}

impl InheritedDoors {
    pub(super) fn insert(&mut self, door: DoorId, name: Arc<str>, client: Client) {
        self.remove(door);
        self.by_name.entry((Arc::clone(&name), client)).or_default().insert(door);
        self.known.insert(door, (name, client));
    }

    /// Nothing of this door is open any more.
    pub(super) fn remove(&mut self, door: DoorId) {
        let Some(place) = self.known.remove(&door) else { return };
        let Some(doors) = self.by_name.get_mut(&place) else { return };
        doors.remove(&door);
        if doors.is_empty() {
            self.by_name.remove(&place);
        }
    }

    /// Those that were opened for this client under this name.
    pub(super) fn of(&self, name: &Arc<str>, client: Client) -> impl Iterator<Item = DoorId> {
        self.by_name.get(&(Arc::clone(name), client)).into_iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_found_by_its_name_and_client_until_it_goes() {
        let mut doors = InheritedDoors::default();
        let (lamp, bell) = (Arc::<str>::from("lamp"), Arc::<str>::from("bell"));
        let clients = ["192.0.2.1", "192.0.2.2"].map(|client| client.parse().unwrap());
        doors.insert(DoorId(1), Arc::clone(&lamp), clients[0]);
        doors.insert(DoorId(2), Arc::clone(&lamp), clients[0]);
        doors.insert(DoorId(3), Arc::clone(&lamp), clients[1]);
        doors.insert(DoorId(3), Arc::clone(&bell), clients[1]);
        let found = |doors: &InheritedDoors, name, client| doors.of(name, client).collect::<Vec<_>>();
        assert_eq!(found(&doors, &lamp, clients[0]), [DoorId(1), DoorId(2)]);
        assert_eq!(found(&doors, &lamp, clients[1]), []);
        assert_eq!(found(&doors, &bell, clients[1]), [DoorId(3)]);
        (1..=4).for_each(|door| doors.remove(DoorId(door)));
        assert!(doors.by_name.is_empty() && doors.known.is_empty());
    }
}

//! Which doors the engine knows: those of the policy in force, and those of earlier ones until nothing of them is open.

use std::sync::Arc;

use super::Engine;
use crate::door::DoorId;
use crate::tenant::Policy;

impl Engine {
    pub(super) fn change_policy(&mut self, policy: Arc<Policy>) {
        self.doors.extend(policy.doors.iter().map(|(id, door)| (*id, door.clone())));
        self.policy = policy;
        let gone: Vec<_> =
            self.doors.keys().filter(|id| !self.policy.doors.contains_key(*id)).copied().collect();
        for door in gone {
            if let Some(successor) = self.successor(door) {
                self.ledger.rename(door, successor);
                for order in self.under_way.values_mut().filter(|order| order.key.door == door) {
                    order.key.door = successor;
                }
            }
            self.retire(door);
        }
    }

    /// The door of the policy that a door has become, if what is open at the one is open at the other: both are in the packet
    /// filter. What a command opened only the command that goes with it can close.
    fn successor(&self, door: DoorId) -> Option<DoorId> {
        let before = self.doors.get(&door).filter(|door| door.keeps_time)?;
        let mut doors = self.policy.doors.iter();
        doors.find(|(_, after)| after.keeps_time && after.name == before.name).map(|(id, _)| *id)
    }

    /// A door that is in no policy any more and keeps the time itself is left to its own clock.
    pub(super) fn closes_without_us(&self, door: DoorId) -> bool {
        !self.policy.doors.contains_key(&door) && self.doors[&door].keeps_time
    }

    /// Forgets a door that is in no policy any more once nothing of it is open.
    pub(super) fn retire(&mut self, door: DoorId) {
        let in_use = self.policy.doors.contains_key(&door)
            || self.ledger.iter().any(|(key, _)| key.door == door)
            || self.under_way.values().any(|order| order.key.door == door);
        if !in_use {
            self.doors.remove(&door);
        }
    }
}

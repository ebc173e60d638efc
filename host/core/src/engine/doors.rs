//! Which doors the engine knows: those of the policy in force, and those of earlier ones until nothing of them is open.

use std::collections::HashMap;
use std::sync::Arc;

use super::Engine;
use crate::action::Why;
use crate::client::Client;
use crate::door::DoorId;
use crate::report::What;
use crate::tenant::Policy;
use crate::width::Width;

impl Engine {
    pub(super) fn change_policy(&mut self, policy: Arc<Policy>) {
        self.doors.extend(policy.doors.iter().map(|(id, door)| (*id, door.clone())));
        self.next_generation(policy);
        let gone: Vec<_> =
            self.doors.keys().filter(|id| !self.policy.doors.contains_key(*id)).copied().collect();
        let successors = self.successors(&gone);
        self.under_way.rename(&successors);
        for (door, successor) in successors {
            self.openings.rename(door, successor);
            self.strike_unfit(successor);
        }
        gone.into_iter().for_each(|door| self.retire(door));
    }

    /// Removes a door's openings for clients that it cannot be opened for any more: their elements are gone with their set.
    fn strike_unfit(&mut self, door: DoorId) {
        let policy = &self.policy.doors[&door];
        let fits = |client: &Client| match Width::of(client.net()) {
            Some(width) if !client.is_single() => policy.prefixes.contains(&width),
            _ => client.is_single() && (client.link() == 0 || policy.takes_links),
        };
        let unfit: Vec<_> =
            self.openings.of_door(door).map(|(key, _)| key).filter(|key| !fits(&key.client)).collect();
        for key in unfit {
            self.forget_opening(key, &What::Closed { why: Why::Changed });
        }
    }

    /// The doors of the policy that doors have become, if what is open at the one is open at the other: both are in the packet
    /// filter. What a command opened only the command that goes with it can close.
    fn successors(&self, gone: &[DoorId]) -> HashMap<DoorId, DoorId> {
        let timed = self.policy.doors.iter().filter(|(_, door)| door.keeps_time);
        let by_name: HashMap<&str, DoorId> = timed.map(|(id, door)| (&*door.name, *id)).collect();
        let successor = |id: &DoorId| {
            let before = self.doors.get(id).filter(|door| door.keeps_time)?;
            Some((*id, *by_name.get(&*before.name)?))
        };
        gone.iter().filter_map(successor).collect()
    }

    /// Whether a door closes without an order: it is in no policy any more and keeps the time itself.
    pub(super) fn closes_without_us(&self, door: DoorId) -> bool {
        !self.policy.doors.contains_key(&door) && self.doors[&door].keeps_time
    }

    /// Forgets a door that is in no policy any more once nothing of it is open.
    pub(super) fn retire(&mut self, door: DoorId) {
        let in_use = self.policy.doors.contains_key(&door)
            || self.openings.has_door(door)
            || self.under_way.has_door(door);
        if !in_use {
            self.doors.remove(&door);
            self.inherited.remove(door);
        }
    }
}

//! Orders that have no answer yet, by number, with a count for each door.

use std::collections::HashMap;

use super::Purpose;
use super::by_serial::{BecauseOfRule, BySerial};
use crate::door::{DoorId, OpeningKey};
use crate::module_digest::ModuleDigest;
use crate::tenant::{RuleId, TenantId};

/// An order that has no answer yet.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) key: OpeningKey,
    pub(super) purpose: Purpose,
    pub(super) rule: Option<RuleId>,
    /// What the rule ran when this was ordered.
    pub(super) module: Option<ModuleDigest>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    orders: BySerial<Awaited>,
    /// Doors without any are not here.
    per_door: HashMap<DoorId, usize>,
}

impl BecauseOfRule for Awaited {
    fn rule(&self) -> Option<&RuleId> {
        self.rule.as_ref()
    }
}

impl UnderWay {
    pub(super) fn insert(&mut self, serial: u64, order: Awaited) {
        *self.per_door.entry(order.key.door).or_default() += 1;
        self.orders.insert(serial, order);
    }

    pub(super) fn remove(&mut self, serial: u64) -> Option<Awaited> {
        let order = self.orders.remove(serial)?;
        if let Some(count) = self.per_door.get_mut(&order.key.door) {
            *count -= 1;
            if *count == 0 {
                self.per_door.remove(&order.key.door);
            }
        }
        Some(order)
    }

    pub(super) fn contains_key(&self, serial: &u64) -> bool {
        self.orders.get(*serial).is_some()
    }

    /// For whom an order closes, as whose rules they are told it; none if it is no such order.
    pub(super) fn closes(&self, serial: u64) -> Option<&[Option<RuleId>]> {
        match &self.orders.get(serial)?.purpose {
            Purpose::Close { of, .. } => Some(of),
            _ => None,
        }
    }

    /// Whether a door has an order without an answer.
    pub(super) fn has_door(&self, door: DoorId) -> bool {
        self.per_door.contains_key(&door)
    }

    /// Has the orders of doors be those of their successors, in one pass over all orders however many doors there are.
    pub(super) fn rename(&mut self, successors: &HashMap<DoorId, DoorId>) {
        if !successors.keys().any(|door| self.has_door(*door)) {
            return;
        }
        for order in self.orders.values_mut() {
            if let Some(door) = successors.get(&order.key.door) {
                order.key.door = *door;
            }
        }
        for (from, to) in successors {
            if let Some(count) = self.per_door.remove(from) {
                *self.per_door.entry(*to).or_default() += count;
            }
        }
    }

    /// How many are of a tenant's rules.
    pub(super) fn of_tenant(&self, tenant: &TenantId) -> usize {
        self.orders.of_tenant(tenant)
    }

    pub(super) fn len(&self) -> usize {
        self.orders.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }
}

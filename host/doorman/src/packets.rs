//! Packets: how many packets came through an opening, as the kernel has counted them. It asks for one element at a time and changes nothing.

use postern_core::{Act, Client, DoorId, Order};

use crate::base_chains::CHAINS;
use crate::check::CheckedDoor;
use crate::counter::Counter;
use crate::doorman::Doorman;
use crate::elements;

impl Doorman {
    /// How many packets of this client the guard has let through since the door was opened for it. Of a set door: how often rules have found the
    /// client in the user's set since the opening was last extended, if that set is declared with a counter. None if that is not counted, or the
    /// door is not open for this client.
    ///
    /// A guard door's element is found once in each base chain, so a packet counts as often; what is returned is divided by their number and
    /// rounded up. A packet that only one of the chains guards, because its port is redirected, counts half as much.
    pub fn packets(&mut self, door: DoorId, client: Client) -> Option<u64> {
        let is_guard = matches!(self.doors.get(&door)?, CheckedDoor::Guard(..));
        let Counter { packets, .. } = self.counter(door, client)?;
        Some(if is_guard { packets.div_ceil(CHAINS.len() as u64) } else { packets })
    }

    /// What the opening has counted that an order extends, for its next element to count on from there.
    pub(crate) fn counted_so_far(&mut self, order: &Order) -> Option<Counter> {
        let goes_on = matches!(order.act, Act::Extend(_))
            && self.guard.counts()
            && matches!(self.doors.get(&order.door), Some(CheckedDoor::Guard(..)));
        goes_on.then(|| self.counter(order.door, order.client)).flatten()
    }

    fn counter(&mut self, door: DoorId, client: Client) -> Option<Counter> {
        let target = self.target(door, client).ok()?;
        let (family, question) = (target.set.name.family, elements::question(&target.set.name, &target.key));
        let read = |attributes: &[u8]| {
            let mut found = Vec::with_capacity(1);
            elements::read(attributes, &mut found);
            found.pop()?.counter
        };
        self.socket.ask(family, question, read).ok()??
    }
}

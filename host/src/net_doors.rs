//! NetDoors: the doors of the packet filter, wherever they are kept.

use postern_core::{Client, DoorId, DoorsTable, Listing, Posture, Release};
use postern_doorman::{DoormanError, DoormanHandle, NotedOrder};
use postern_link::NotInPlace;
use postern_text::chain;

use crate::not_in_place::not_in_place;

/// Takes the answer to a request, on any thread. It is dropped without a call only if the doors are stopped.
pub type DoorsReply<T> = Box<dyn FnOnce(T) + Send>;

/// Keeps the doors of the packet filter. Nothing here waits but [`NetDoors::stop`].
pub trait NetDoors: Send {
    /// Carries out an order, now or soon; its receipt comes as an event, also if it fails. Calls do not overlap.
    fn carry_out(&self, order: NotedOrder);

    /// Puts the doors of a table in place, from now on: orders after this go by it. If it fails nothing has changed.
    fn put_in_place(
        &self,
        table: &DoorsTable,
        release: Release,
        reply: DoorsReply<Result<Posture, NotInPlace>>,
    );

    /// Says what is open in the packet filter, from this run or an earlier one, or in words why that is not known.
    fn list(&self, reply: DoorsReply<Result<Listing, String>>);

    /// Says how many packets came through an opening, as [`postern_doorman::Doorman::packets`]; none also if that cannot be asked.
    fn packets(&self, door: DoorId, client: Client, reply: DoorsReply<Option<u64>>);

    /// Asks whether whoever keeps the doors works, and the kernel answers; nothing is changed. In words why not, if that is known: what hangs
    /// does not answer.
    fn probe(&self, reply: DoorsReply<Result<(), String>>);

    /// Ends it after everything that was asked before, within a second. Openings stay open until their timeout.
    fn stop(&mut self);
}

/// Doors that this process keeps itself.
impl NetDoors for DoormanHandle {
    fn carry_out(&self, order: NotedOrder) {
        Self::carry_out(self, order);
    }

    fn put_in_place(
        &self,
        table: &DoorsTable,
        release: Release,
        reply: DoorsReply<Result<Posture, NotInPlace>>,
    ) {
        self.set_doors(table.doors.clone(), release, |outcome| reply(outcome.map_err(not_in_place)));
    }

    fn list(&self, reply: DoorsReply<Result<Listing, String>>) {
        Self::list(self, |listing| reply(listing.map_err(|error: DoormanError| chain(&error).to_string())));
    }

    fn packets(&self, door: DoorId, client: Client, reply: DoorsReply<Option<u64>>) {
        Self::packets(self, door, client, reply);
    }

    fn probe(&self, reply: DoorsReply<Result<(), String>>) {
        Self::probe(self, |answer| reply(answer.map_err(|error: DoormanError| chain(&error).to_string())));
    }

    fn stop(&mut self) {
        Self::stop(self);
    }
}

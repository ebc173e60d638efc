//! Lanes: the lanes of all clients, bounded however many sources a capture has.

use std::collections::HashMap;

use postern_core::Client;

use super::lane::{ClientLane, Weight};
use crate::replay::seen::Seen;
use crate::replay::teller::{Told, Turn};

/// Lanes that are shown.
const MOST_SHOWN: usize = 200;
/// Lanes that are kept. When there are more, those at which there is nothing to see go.
const MOST_KEPT: usize = 4096;

/// The lanes of all clients.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// In the order in which they began.
    lanes: Vec<ClientLane>,
    places: HashMap<Client, usize>,
    /// Who has had a door opened for more than its own address.
    widened: HashMap<Client, Client>,
    /// Clients without a lane, at least.
    left_out: u64,
}

/// What is shown of them.
pub(super) struct ShownLanes<'a> {
    /// In the order in which they began.
    pub(super) lanes: Vec<&'a ClientLane>,
    /// Clients without a lane, at least.
    pub(super) left_out: u64,
}

impl Lanes {
    /// A packet came, and this came of it.
    pub(super) fn packet(&mut self, seen: &Seen, told: &[Told]) {
        let Some(knock) = &seen.knock else { return };
        let client = Client::on_link(knock.source, knock.link);
        for told in told {
            if let (Turn::Opened(_), Some(wide)) = (told.turn, told.client)
                && wide != client
            {
                self.widened.insert(wide, client);
            }
        }
        let is_its_own = |told: &&Told| told.client.is_none_or(|of| of == client || !of.is_single());
        if let Some(lane) = self.lane(client) {
            lane.packet(seen, told.iter().filter(is_its_own));
        }
        told.iter().filter(|told| !is_its_own(told)).for_each(|told| self.tell(told));
    }

    /// Something happened that is not of the packet at hand.
    pub(super) fn tell(&mut self, told: &Told) {
        let Some(client) = told.client else { return };
        let client = self.widened.get(&client).copied().unwrap_or(client);
        if let Some(lane) = self.lane(client) {
            lane.tell(told);
        }
    }

    /// Those that show most.
    pub(super) fn shown(&self) -> ShownLanes<'_> {
        let mut lanes: Vec<_> = self.lanes.iter().enumerate().collect();
        lanes.sort_by_key(|(place, lane)| (std::cmp::Reverse(lane.weight), *place));
        let left_out = self.left_out + lanes.len().saturating_sub(MOST_SHOWN) as u64;
        lanes.truncate(MOST_SHOWN);
        lanes.sort_by_key(|(place, _)| *place);
        ShownLanes { lanes: lanes.into_iter().map(|(_, lane)| lane).collect(), left_out }
    }

    /// The lane of a client, a new one if it has none; none if there is no room.
    fn lane(&mut self, client: Client) -> Option<&mut ClientLane> {
        if !self.places.contains_key(&client) {
            if self.lanes.len() == MOST_KEPT {
                self.clear_away();
            }
            if self.lanes.len() == MOST_KEPT {
                self.left_out += 1;
                return None;
            }
            self.places.insert(client, self.lanes.len());
            self.lanes.push(ClientLane::new(client));
        }
        self.lanes.get_mut(self.places[&client])
    }

    /// Drops lanes at which there is nothing to see, but as many as are shown.
    fn clear_away(&mut self) {
        let before = self.lanes.len();
        let mut left = MOST_SHOWN;
        self.lanes.retain(|lane| {
            let stays = lane.weight > Weight::None || left > 0;
            left = left.saturating_sub(usize::from(lane.weight == Weight::None));
            stays
        });
        self.left_out += (before - self.lanes.len()) as u64;
        self.places = self.lanes.iter().enumerate().map(|(place, lane)| (lane.client, place)).collect();
    }
}

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
/// Bytes of the words in all of them: a rule may log 64 KiB at each packet. What comes then is counted.
const MOST_WORDS: usize = 64 << 20;

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
    /// Whether there are as many as are kept, and something to see at each that could go.
    is_full: bool,
    /// Bytes of the words in them.
    words: usize,
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
                // Who comes later has a lane of the network.
                if self.widened.len() < MOST_KEPT {
                    self.widened.insert(wide, client);
                }
            }
        }
        let is_its_own = |told: &&Told| told.client.is_none_or(|of| of == client || !of.is_single());
        let has_room = self.words < MOST_WORDS;
        if let Some(lane) = self.lane(client) {
            self.words += lane.packet(seen, told.iter().filter(is_its_own), has_room);
        }
        told.iter().filter(|told| !is_its_own(told)).for_each(|told| self.tell(told));
    }

    /// Something happened that is not of the packet at hand.
    pub(super) fn tell(&mut self, told: &Told) {
        let Some(client) = told.client else { return };
        let client = self.widened.get(&client).copied().unwrap_or(client);
        let has_room = self.words < MOST_WORDS;
        if let Some(lane) = self.lane(client) {
            self.words += lane.tell(told, has_room);
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
            if self.lanes.len() == MOST_KEPT && !self.is_full {
                self.clear_away();
                self.is_full = self.lanes.len() == MOST_KEPT;
            }
            if self.is_full {
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
        self.words = self.lanes.iter().map(ClientLane::words).sum();
        self.places = self.lanes.iter().enumerate().map(|(place, lane)| (lane.client, place)).collect();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use postern_core::Moment;

    use super::*;
    use crate::observe::Line;

    /// Tells `lanes` something about the client of this number.
    fn tell(lanes: &mut Lanes, client: u32, turn: Turn, words: &str) {
        let client = Some(Client::alone(IpAddr::V4(Ipv4Addr::from_bits(client))));
        let line = Line { level: "", words: words.to_owned(), fields: Vec::new() };
        lanes.tell(&Told { at: Moment::default(), client, door: None, turn, line });
    }

    #[test]
    fn as_many_lanes_are_kept_as_there_is_something_to_see_at() {
        let mut lanes = Lanes::default();
        (0..10_000).for_each(|client| tell(&mut lanes, client, Turn::Other, "it is there"));
        tell(&mut lanes, 10_000, Turn::Solved, "it knocked right");
        assert!(!lanes.is_full && lanes.shown().lanes.iter().any(|lane| lane.weight == Weight::Most));
        (20_000..30_000).for_each(|client| tell(&mut lanes, client, Turn::Solved, "it knocked right"));
        assert!(lanes.is_full && lanes.lanes.len() == MOST_KEPT);
        assert_eq!(lanes.shown().left_out, 20_001 - MOST_SHOWN as u64);
        // Who has a lane has one still.
        tell(&mut lanes, 10_000, Turn::Refused, "again");
        assert!(lanes.lanes.iter().any(|lane| lane.words() == "it knocked right".len() + "again".len()));
    }

    #[test]
    fn words_are_kept_up_to_a_bound_and_counted_then() {
        let mut lanes = Lanes::default();
        let words = "x".repeat(64 << 10);
        (0..2000).for_each(|n| tell(&mut lanes, n % 50, Turn::Other, &words));
        assert!((MOST_WORDS..MOST_WORDS + words.len()).contains(&lanes.words), "{}", lanes.words);
        assert_eq!(lanes.words, lanes.lanes.iter().map(ClientLane::words).sum::<usize>());
        let left_out: u64 = lanes.lanes.iter().map(|lane| lane.left_out).sum();
        assert_eq!(left_out, 2000 - (MOST_WORDS / words.len()) as u64);
    }
}

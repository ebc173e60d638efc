//! Connections: who may be connected at the same time, and who leaves when there are too many. The time is an argument, and nothing is sent or read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Who may be connected at the same time: one monitoring system, a second one, and somebody who looks.
pub(super) const MOST_CLIENTS: usize = 8;
/// How long somebody who has asked may read in any case, whoever else comes.
const UNDISTURBED: Duration = Duration::from_secs(1);

/// Who is connected.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// By number; the one that came first has the lowest.
    held: BTreeMap<u64, Connection>,
    next: u64,
}

/// One who is connected.
#[derive(Debug)]
struct Connection {
    /// Since when it reads its answer; none while it has not asked yet.
    reading_since: Option<Instant>,
    /// That it must leave.
    leave: Arc<Notify>,
}

impl Connections {
    /// One more has connected: its number, and what tells it that it must leave. None if there is no place for it.
    ///
    /// If all are taken the oldest that has not asked makes room: whoever wants something says it at once. If all have asked it is the oldest that
    /// has had time to read.
    pub(super) fn take(&mut self, now: Instant) -> Option<(u64, Arc<Notify>)> {
        if self.held.len() >= MOST_CLIENTS {
            let had_time = |since: Instant| now.duration_since(since) >= UNDISTURBED;
            let asks = self.held.iter().find(|(_, place)| place.reading_since.is_none());
            let reads = || self.held.iter().find(|(_, place)| place.reading_since.is_some_and(had_time));
            let oldest = *asks.or_else(reads)?.0;
            self.held.remove(&oldest)?.leave.notify_one();
        }
        let (number, leave) = (self.next, Arc::<Notify>::default());
        self.next += 1;
        self.held.insert(number, Connection { reading_since: None, leave: Arc::clone(&leave) });
        Some((number, leave))
    }

    /// It has asked, and reads from now on.
    pub(super) fn has_asked(&mut self, number: u64, now: Instant) {
        if let Some(place) = self.held.get_mut(&number) {
            place.reading_since = Some(now);
        }
    }

    /// It has gone.
    pub(super) fn leave(&mut self, number: u64) {
        self.held.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those who hold places, in their order.
    fn held(places: &Connections) -> Vec<u64> {
        places.held.keys().copied().collect()
    }

    #[test]
    fn whoever_has_not_asked_makes_room_the_oldest_first() {
        let (mut places, now) = (Connections::default(), Instant::now());
        for number in 0..8 {
            assert_eq!(places.take(now).unwrap().0, number);
        }
        places.has_asked(0, now);
        places.has_asked(2, now);
        assert_eq!(places.take(now).unwrap().0, 8);
        assert_eq!(held(&places), [0, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(places.take(now).unwrap().0, 9);
        assert_eq!(held(&places), [0, 2, 4, 5, 6, 7, 8, 9]);
        // One that has gone leaves room for another.
        places.leave(0);
        assert_eq!(places.take(now).unwrap().0, 10);
        assert_eq!(held(&places), [2, 4, 5, 6, 7, 8, 9, 10]);
        // What it does later changes nothing.
        places.has_asked(3, now);
        places.leave(3);
        assert_eq!(held(&places).len(), MOST_CLIENTS);
    }

    #[test]
    fn whoever_reads_is_left_alone_for_a_while() {
        let (mut places, start) = (Connections::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for number in 0..8 {
            places.take(start);
            places.has_asked(number, at(10 * number));
        }
        assert!(places.take(at(999)).is_none(), "all read, and the first not for long");
        assert_eq!(places.take(at(1000)).unwrap().0, 8);
        assert_eq!(held(&places), [1, 2, 3, 4, 5, 6, 7, 8]);
        // The newest is the first to go as long as it has not asked.
        assert_eq!(places.take(at(5000)).unwrap().0, 9);
        assert_eq!(held(&places), [1, 2, 3, 4, 5, 6, 7, 9]);
    }
}

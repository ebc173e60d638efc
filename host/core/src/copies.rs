//! Copies: recognises one packet that is captured on several interfaces, so that it counts once.
//!
//! A packet shows on each interface that it passes on its way through this machine: on a port and on its bridge, on a bond, on the
//! device of its VLAN. Which capture sees it first is a race. So the order of interfaces does not matter: the same bytes on
//! *another* interface are the same packet, and the same bytes once more on the same interface are another packet. Bytes that came
//! twice on one interface and twice on another were two packets.
//!
//! A copy that an attacker sends first, on another interface, is judged in the packet's place: it must be the same to the last byte, which
//! takes guessing what the client will send, and a rule that names its own interfaces is shown what comes there all the same.

use std::time::Duration;

use crate::knock::{Sighting, Timestamp};

/// How long the same bytes on another interface are the same packet, counted from when they were last seen.
const WINDOW: Duration = Duration::from_millis(50);
/// Interfaces that one packet is followed over. On more than these it counts once more.
const INTERFACES: usize = 6;
/// Packets in a bucket. What comes to a full one takes the place of the oldest.
const BUCKET: usize = 4;

/// The packets seen lately, in a table of fixed size that is allocated with the first packet. A packet that was evicted may count twice, which
/// does no other harm.
#[derive(Debug)]
pub struct Copies {
    /// Empty until the first packet.
    buckets: Vec<Bucket>,
    /// How many there will be; a power of two.
    size: usize,
}

/// A few packets. Keys and times come first, in one cache line: in a flood of new packets a look-up touches nothing else.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Bucket {
    keys: [u64; BUCKET],
    /// When each was last seen.
    times: [Timestamp; BUCKET],
    seen: [[Seen; INTERFACES]; BUCKET],
}

/// How often a packet was seen on an interface.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// 0 in a place that is free.
    interface: u32,
    count: u32,
}

impl Copies {
    /// A table for so many packets, rounded up to a power of two, of 64 bytes each. It takes no memory before it is used.
    #[must_use]
    pub fn new(packets: usize) -> Self {
        Self { buckets: Vec::new(), size: packets.div_ceil(BUCKET).next_power_of_two() }
    }

    /// Notes a packet, and says whether it is a copy of one that was seen on another interface. Packets of different `scope`s are never
    /// copies of each other.
    pub fn is_copy(&mut self, sighting: Sighting, scope: u64, time: Timestamp) -> bool {
        if self.buckets.is_empty() {
            self.buckets = vec![Bucket::EMPTY; self.size];
        }
        // Fingerprints are keyed hashes, so an attacker cannot aim at one bucket. The remainder always fits a usize.
        let key = sighting.fingerprint ^ scope;
        let bucket = usize::try_from(key % self.size as u64).unwrap_or_default();
        self.buckets[bucket].note(key, sighting.interface, time)
    }
}

impl Bucket {
    const EMPTY: Self = Self {
        keys: [0; BUCKET],
        times: [Timestamp(0); BUCKET],
        seen: [[Seen::NOWHERE; INTERFACES]; BUCKET],
    };

    fn note(&mut self, key: u64, interface: u32, time: Timestamp) -> bool {
        // Clocks may step, and captures are read by several threads, so what was seen before may have been seen later.
        let ages = self.times.map(|last| last.0.abs_diff(time.0));
        let known = self.keys.iter().position(|known| *known == key);
        if let Some(place) = known
            && u128::from(ages[place]) <= WINDOW.as_micros()
            && let Some(is_copy) = note_on(&mut self.seen[place], interface)
        {
            self.times[place] = self.times[place].max(time);
            return is_copy;
        }
        let oldest =
            (1..BUCKET).fold(0, |oldest, place| if ages[place] > ages[oldest] { place } else { oldest });
        let place = known.unwrap_or(oldest);
        (self.keys[place], self.times[place]) = (key, time);
        self.seen[place] = [Seen::NOWHERE; INTERFACES];
        self.seen[place][0] = Seen { interface, count: 1 };
        false
    }
}

impl Seen {
    const NOWHERE: Self = Self { interface: 0, count: 0 };
}

/// Counts a packet on this interface; whether it has come as often on another one. None if no more can be counted.
fn note_on(seen: &mut [Seen; INTERFACES], interface: u32) -> Option<bool> {
    let place = seen.iter().position(|seen| seen.interface == interface || seen.interface == 0)?;
    let count = seen[place].count.checked_add(1)?;
    seen[place] = Seen { interface, count };
    let is_elsewhere = |(n, other): (usize, &Seen)| n != place && other.count >= count;
    Some(seen.iter().enumerate().any(is_elsewhere))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sightings, each as a letter for the bytes, the interface, and when in milliseconds; which of them count.
    #[track_caller]
    fn check(sightings: &[(char, u32, u64)], counted: &[bool]) {
        let mut copies = Copies::new(64);
        let is_counted = |&(packet, interface, millis): &(char, u32, u64)| {
            let sighting = Sighting { fingerprint: u64::from(packet), interface };
            !copies.is_copy(sighting, 0, Timestamp(1_000_000 + 1000 * millis))
        };
        assert_eq!(sightings.iter().map(is_counted).collect::<Vec<_>>(), counted, "{sightings:?}");
    }

    #[test]
    fn a_packet_on_several_interfaces_counts_once() {
        check(&[('a', 2, 0), ('a', 3, 0)], &[true, false]);
        check(&[('a', 2, 0), ('a', 3, 0), ('a', 4, 1), ('b', 4, 1)], &[true, false, false, true]);
        // The capture of the second interface was read first, after a long while.
        check(&[('a', 3, 40), ('a', 2, 0)], &[true, false]);
    }

    #[test]
    fn twice_on_one_interface_is_two_packets() {
        check(&[('a', 2, 0), ('a', 2, 0)], &[true, true]);
        check(&[('a', 2, 0), ('a', 2, 0), ('a', 3, 0), ('a', 3, 0)], &[true, true, false, false]);
        check(&[('a', 2, 0), ('a', 3, 0), ('a', 2, 0), ('a', 3, 0)], &[true, false, true, false]);
        check(&[('a', 2, 0), ('a', 3, 0), ('a', 3, 0), ('a', 2, 0)], &[true, false, true, false]);
        // One of them was lost on the first interface.
        check(&[('a', 2, 0), ('a', 3, 0), ('a', 3, 1), ('a', 3, 2)], &[true, false, true, true]);
    }

    #[test]
    fn after_a_while_it_is_another_packet() {
        check(&[('a', 2, 0), ('a', 3, 50)], &[true, false]);
        check(&[('a', 2, 0), ('a', 3, 51)], &[true, true]);
        // The same bytes again and again: the while is counted from the last.
        check(
            &[('a', 2, 0), ('a', 3, 0), ('a', 2, 40), ('a', 3, 40), ('a', 2, 80), ('a', 3, 80)],
            &[true, false, true, false, true, false],
        );
    }

    #[test]
    fn a_clock_that_steps_costs_nothing_but_a_second_count() {
        check(&[('a', 2, 9000), ('a', 3, 0), ('a', 2, 0)], &[true, true, false]);
    }

    #[test]
    fn on_more_interfaces_than_are_followed_it_counts_once_more() {
        let everywhere: Vec<_> = (1..=7).map(|interface| ('a', interface, 0)).collect();
        check(&everywhere, &[true, false, false, false, false, false, true]);
    }

    #[test]
    fn scopes_have_nothing_to_do_with_each_other() {
        let mut copies = Copies::new(64);
        let mut note =
            |scope, interface| copies.is_copy(Sighting { fingerprint: 1, interface }, scope, Timestamp(1));
        assert_eq!([note(0, 2), note(7, 3), note(0, 3), note(7, 2)], [false, false, true, true]);
    }

    #[test]
    fn a_flood_is_bounded_and_costs_no_more_than_a_second_count() {
        let mut copies = Copies::new(64);
        let mut note = |fingerprint, interface, time| {
            copies.is_copy(Sighting { fingerprint, interface }, 0, Timestamp(time))
        };
        for packet in 1..=100_000_u64 {
            assert!(!note(packet, 2, packet), "never seen before");
            assert!(note(packet, 3, packet), "its copy comes at once");
        }
        assert!(!note(1, 3, 100_000), "forgotten long ago");
        assert_eq!(copies.buckets.len() * BUCKET, 64);
    }

    #[test]
    fn no_memory_before_the_first_packet() {
        let mut copies = Copies::new(1000);
        assert_eq!((copies.buckets.capacity(), size_of::<Bucket>()), (0, 64 * BUCKET));
        copies.is_copy(Sighting { fingerprint: 1, interface: 1 }, 0, Timestamp(0));
        assert_eq!(copies.buckets.len(), 256);
    }
}

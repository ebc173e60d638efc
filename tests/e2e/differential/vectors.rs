//! Vectors: knocks whose outcome is known for both daemons.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use postern_tests::{Lab, eventually, sleep_until, tool};

use super::hit::{Hit, client};
use super::pair::{Listener, Pair};
use super::{Deviation, Outcome, section, target};

/// Doors, a knock at them and what is said of it; `2:a1` is of client 2, and without a number it is client 1.
struct Vector {
    doors: &'static [&'static str],
    knock: &'static str,
    outcome: Outcome,
}

const fn both(doors: &'static [&'static str], knock: &'static str, story: &'static str) -> Vector {
    Vector { doors, knock, outcome: Outcome::Both(story) }
}

const THREE: &[&str] = &["a=7000,8000,9000 syn"];
const CHAIN: &[&str] = &["a=1,2 syn", "b=5,6"];
const OPENED: &str = "a1 a2 a3 a!";

/// Only without an anchor: what happens when the oldest attempt goes. Each leaves nothing unfinished behind.
const OLDEST: [Vector; 4] = [
    Vector {
        doors: THREE,
        knock: "2:7000 3:7000 2:9000 3:8000 3:9000",
        outcome: Outcome::Apart(Deviation::OldestTakesAll, "2:a1 3:a1", "2:a1 3:a1 3:a2 3:a3 3:a!"),
    },
    both(THREE, "2:7000 3:7000 3:9000 2:8000 2:9000", "2:a1 2:a2 2:a3 2:a! 3:a1"),
    Vector {
        doors: &["a=7000,8000 syn", "b=7000,8000,9000 syn"],
        knock: "7000 8000 9000",
        outcome: Outcome::Apart(Deviation::OldestTakesAll, "a1 b1 a2 a! b2", "a1 b1 a2 a! b2 b3 b!"),
    },
    both(&["b=7000,8000,9000 syn", "a=7000,8000 syn"], "7000 8000 9000", "b1 a1 b2 a2 a! b3 b!"),
];

const VECTORS: [Vector; 23] = [
    both(THREE, "7000 8000 9000", OPENED),
    both(THREE, "7000 1234 8000 9000", OPENED),
    both(THREE, "7000 7000 8000 9000", "a1"),
    both(THREE, "7000 7000 7000 8000 9000", "a1 a1 a2 a3 a!"),
    both(THREE, "7000 8000/ack 8000 9000", OPENED),
    both(THREE, "7000/syn+ack 8000/syn+fin+rst+urg 9000", OPENED),
    both(THREE, "7000/none 8000/fin 9000/ack", ""),
    both(THREE, "7000 8000/udp 8000 9000", OPENED),
    both(THREE, "2:7000 1:7000 2:8000 1:8000 2:9000 1:9000", "a1 a2 a3 a! 2:a1 2:a2 2:a3 2:a!"),
    both(CHAIN, "1 5/ack 2", "a1 a2 a!"),
    both(CHAIN, "1 5 2", "a1"),
    both(&["a=1,2 syn", "b=5:udp,6"], "1 5/udp 2", "a1"),
    both(&["a=7,8", "b=9,10 @10.78.1.1"], "7 9 8", "a1 a2 a!"),
    both(&["a=1000,2000", "b=2000,3000"], "1000 2000 3000", "a1 a2 a!"),
    both(&["a=7", "b=7", "c=8,7"], "7 8 7", "a1 a! b1 b! c1 c2 c!"),
    both(&["a=7,7,7"], "7 7 7 7", "a1 a2 a3 a! a1"),
    both(&["a=7000:udp,8000,9000:udp syn"], "7000/udp 8000/udp 8000 9000 9000/udp", OPENED),
    both(&["a=7000:udp,8000", "b=1,8000:udp"], "7000/udp 8000/udp 8000", "a1"),
    both(&["a=7"], "7/rst 7/fin+ack 7/none", "a1 a! a1 a! a1 a!"),
    both(&["a=7 syn,!ack"], "7/syn+ack 7/ack 7/syn+urg", "a1 a!"),
    both(&["a=1,2 syn,!ack", "b=1,3 ack"], "1/syn+ack 1 2 3/ack", "b1 b2 b!"),
    both(&["a=1,2,3", "b=4", "c=3,4"], "1 4 4 3 4 4", "a1 b1 b! c1 c2 c! b1 b!"),
    // With an anchor the shorter door does not take the longer one with it.
    both(&["a=7000,8000 syn", "b=7000,8000,9000 syn"], "7000 8000 9000", "a1 b1 a2 a! b2 b3 b!"),
];

#[test]
fn the_oldest_attempt_takes_nobody_with_it() {
    check(&OLDEST, false);
}

#[test]
fn known_knocks() {
    check(&VECTORS, true);
}

fn check(vectors: &[Vector], is_anchored: bool) {
    let (Some(knockd), Some(lab)) = (tool("knockd"), Lab::if_possible()) else { return };
    let numbered = || (1..).zip(vectors);
    let mut pair =
        Pair::start(&lab, &knockd, &numbered().map(|(number, it)| it.conf(number)).collect::<String>());
    if is_anchored {
        pair.anchor();
    }
    for (number, vector) in numbered() {
        let to: IpAddr = target(number).parse().expect("an address");
        for hit in Hit::all(vector.knock) {
            pair.send(&hit.frame(client(number, hit.client), to));
        }
        pair.settle();
        let (of_knockd, of_postern) = vector.outcome.stories();
        vector.expect(number, &pair.knockd, of_knockd);
        vector.expect(number, &pair.postern, of_postern);
    }
    // Nothing came late.
    pair.settle();
    for (number, vector) in numbered() {
        let (of_knockd, of_postern) = vector.outcome.stories();
        for (listener, story) in [(&pair.knockd, of_knockd), (&pair.postern, of_postern)] {
            assert_eq!(vector.told(number, listener), (story.to_owned(), true), "{}", vector.knock);
        }
    }
}

#[test]
fn time_runs_out_for_both() {
    let (Some(knockd), Some(lab)) = (tool("knockd"), Lab::if_possible()) else { return };
    let conf = section(THREE[0], Some(&target(1))).replace("3600", "3");
    let mut pair = Pair::start(&lab, &knockd, &conf);
    let vector = both(THREE, "7000 8000 7000 8000 9000", "a1 a?1 a1 a2 a3 a!");
    let to: IpAddr = target(1).parse().expect("an address");
    let hits = Hit::all(vector.knock);
    pair.send(&hits[0].frame(client(1, 1), to));
    sleep_until(Instant::now() + Duration::from_millis(3200));
    hits[1..].iter().for_each(|hit| pair.send(&hit.frame(client(1, 1), to)));
    pair.settle();
    vector.expect(1, &pair.knockd, "a1 a?1 a1 a2 a3 a!");
    vector.expect(1, &pair.postern, "a1 a?1 a1 a2 a3 a!");
}

impl Vector {
    fn conf(&self, number: u8) -> String {
        let own = target(number);
        let doors = self.doors.iter().map(|door| match door.split_once(" @") {
            Some((door, elsewhere)) => section(door, Some(elsewhere)),
            None => section(door, Some(&own)),
        });
        doors.collect()
    }

    /// What a daemon says, in the words of an outcome, and whether it did what it says.
    fn told(&self, number: u8, listener: &Listener) -> (String, bool) {
        let accounts = listener.accounts();
        let clients: BTreeSet<_> = Hit::all(self.knock).iter().map(|hit| hit.client).collect();
        let mut words = Vec::new();
        let mut is_complete = true;
        for from in clients {
            let Some(account) = accounts.get(&client(number, from)) else { continue };
            let prefix = if from == 1 { String::new() } else { format!("{from}:") };
            words.extend(account.story.iter().map(|word| format!("{prefix}{word}")));
            is_complete &= account.is_complete();
        }
        (words.join(" "), is_complete)
    }

    #[track_caller]
    fn expect(&self, number: u8, listener: &Listener, story: &str) {
        let is = || self.told(number, listener);
        eventually(&format!("{:?}: {}: `{story}`, but {:?}", self.doors, self.knock, is()), || {
            (is() == (story.to_owned(), true)).then_some(())
        });
    }
}

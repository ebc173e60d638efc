//! Random knocks at random doors: whatever knockd makes of them, Postern makes the same.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::{Lab, PATIENCE, Random, SERVER4, SERVER6, tool};

use super::hit::{Hit, client, client6};
use super::pair::{Account, Pair};
use super::{section, target};

/// Configurations, each with doors of its own, and knocks at each.
const CONFIGURATIONS: u8 = 10;
const KNOCKS: u8 = 30;

/// Few, so that doors overlap.
const PORTS: [u16; 4] = [11, 22, 33, 44];
const DOOR_FLAGS: [&str; 5] = ["", "", " syn", " syn,!ack", " ack"];
const HIT_FLAGS: [Option<u8>; 5] = [Some(0x02), Some(0x02), Some(0x12), Some(0x10), Some(0x00)];

/// Every knock is one client's, and an attempt that never ends is older than all of theirs: so knockd, which forgets everybody when
/// its oldest attempt goes, has no occasion to. That deviation has tests of its own.
#[test]
fn random_knocks() {
    let (Some(knockd), Some(lab)) = (tool("knockd"), Lab::if_possible()) else { return };
    let seed = std::env::var("POSTERN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_125);
    let mut random = Random::new(seed);
    let configurations: Vec<Vec<String>> = (0..CONFIGURATIONS)
        .map(|_| (0..2 + random.below(3)).map(|n| door(n, &mut random)).collect())
        .collect();
    let mut conf = String::new();
    for (number, doors) in (1..).zip(&configurations) {
        // The last one is for whatever is sent to the server itself.
        let target = (number < CONFIGURATIONS).then(|| target(number));
        conf.extend(doors.iter().map(|door| section(door, target.as_deref())));
    }
    let mut pair = Pair::start(&lab, &knockd, &conf);
    pair.anchor();
    let mut knocks = BTreeMap::new();
    for number in 1..=CONFIGURATIONS {
        for knocker in 1..=KNOCKS {
            let hits: Vec<Hit> = (0..3 + random.below(8)).map(|_| hit(&mut random)).collect();
            let (from, to) = way(number, knocker);
            for hit in &hits {
                pair.send(&hit.frame(from, to));
            }
            knocks.insert(from, (number, hits));
        }
        pair.settle();
    }
    // Once more, for what may have come late.
    pair.settle();
    let deadline = Instant::now() + PATIENCE;
    let opened = loop {
        let (knockd, postern) = (pair.knockd.accounts(), pair.postern.accounts());
        let nothing = Account::default();
        let of = |from| (knockd.get(from).unwrap_or(&nothing), postern.get(from).unwrap_or(&nothing));
        let different = knocks.iter().find(|(from, _)| {
            let (knockd, postern) = of(from);
            let is_complete = knockd.is_complete() && postern.is_complete();
            !is_complete || openings(knockd) != openings(postern)
        });
        let Some((from, (number, hits))) = different else {
            break knocks.keys().map(|from| openings(of(from).0).len()).sum::<usize>();
        };
        let (doors, told) = (&configurations[usize::from(*number) - 1], of(from));
        assert!(
            Instant::now() < deadline,
            "seed {seed}: {from} at {doors:?} with {hits:?}\nknockd:  {:?}\nPostern: {:?}",
            told.0,
            told.1
        );
        thread::sleep(Duration::from_millis(20));
    };
    assert!(opened > knocks.len() / 3, "the knocks are worth comparing: {opened} doors opened");
}

/// From where and to where a knock goes: to the target of its configuration, or, for the last one, to the server's own address of
/// either kind.
fn way(number: u8, knocker: u8) -> (IpAddr, IpAddr) {
    match (number == CONFIGURATIONS, knocker.is_multiple_of(2)) {
        (false, _) => (client(number, knocker), target(number).parse().expect("an address")),
        (true, true) => (client(number, knocker), SERVER4),
        (true, false) => (client6(number, knocker), SERVER6),
    }
}

/// What opened, in order. Of stages Postern tells 20 a second, as `host/docs/knockd.md` says, but of every opening.
fn openings(account: &Account) -> Vec<String> {
    account.story.iter().filter(|word| word.ends_with('!')).cloned().collect()
}

fn door(number: usize, random: &mut Random) -> String {
    let name = ["a", "b", "c", "d"][number];
    let steps: Vec<_> = (0..=random.below(3))
        .map(|_| format!("{}{}", random.of(&PORTS), random.of(&["", "", ":udp"])))
        .collect();
    format!("{name}={}{}", steps.join(","), random.of(&DOOR_FLAGS))
}

fn hit(random: &mut Random) -> Hit {
    let flags = if random.below(3) == 0 { None } else { random.of(&HIT_FLAGS) };
    Hit { client: 1, port: random.of(&PORTS), flags }
}

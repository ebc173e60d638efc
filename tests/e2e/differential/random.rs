//! Random knocks at random doors: whatever knockd makes of them, Postern makes the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use postern_tests::{Lab, eventually, tool};

use super::hit::{Hit, client};
use super::pair::{Account, Pair};
use super::{section, target};

/// Configurations, each with doors of its own, and knocks at each.
const CONFIGURATIONS: u8 = 10;
const KNOCKS: u8 = 30;

/// Few, so that doors overlap.
const PORTS: [u16; 4] = [11, 22, 33, 44];
const DOOR_FLAGS: [&str; 5] = ["", "", " syn", " syn,!ack", " ack"];
const HIT_FLAGS: [Option<u8>; 5] = [Some(0x02), Some(0x02), Some(0x12), Some(0x10), Some(0x00)];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % bound as u64).expect("below a usize")
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Every knock is one client's, and an attempt that never ends is older than all of theirs: so knockd, which forgets everybody when
/// its oldest attempt goes, has no occasion to. That deviation has tests of its own.
#[test]
fn random_knocks() {
    let (Some(knockd), Some(lab)) = (tool("knockd"), Lab::if_possible()) else { return };
    let seed = std::env::var("POSTERN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_125);
    let mut random = Random(seed);
    let configurations: Vec<Vec<String>> = (0..CONFIGURATIONS)
        .map(|_| (0..2 + random.below(3)).map(|n| door(n, &mut random)).collect())
        .collect();
    let mut conf = String::new();
    for (number, doors) in (1..).zip(&configurations) {
        conf.extend(doors.iter().map(|door| section(door, Some(&target(number)))));
    }
    let mut pair = Pair::start(&lab, &knockd, &conf);
    pair.anchor();
    let mut knocks = BTreeMap::new();
    for number in 1..=CONFIGURATIONS {
        let to: IpAddr = target(number).parse().expect("an address");
        for knocker in 1..=KNOCKS {
            let hits: Vec<Hit> = (0..3 + random.below(8)).map(|_| hit(&mut random)).collect();
            for hit in &hits {
                pair.send(&hit.frame(client(number, knocker), to));
            }
            knocks.insert(client(number, knocker), (number, hits));
        }
        pair.settle();
    }
    let mut opened = 0;
    for (from, (number, hits)) in &knocks {
        let accounts = || {
            let of = |mut accounts: BTreeMap<IpAddr, Account>| accounts.remove(from).unwrap_or_default();
            (of(pair.knockd.accounts()), of(pair.postern.accounts()))
        };
        let doors = &configurations[usize::from(*number) - 1];
        let told = |(knockd, postern): &(Account, Account)| {
            let mut text = format!("seed {seed}: doors {doors:?}, hits");
            hits.iter().for_each(|hit| write!(text, " {hit:?}").expect("memory"));
            text + &format!("\nknockd:  {:?}\nPostern: {:?}", knockd.story, postern.story)
        };
        eventually(&told(&accounts()), || {
            let (knockd, postern) = accounts();
            let is_complete = knockd.is_complete() && postern.is_complete();
            (is_complete && openings(&knockd) == openings(&postern)).then_some(())
        });
        opened += openings(&accounts().0).len();
    }
    assert!(opened > knocks.len() / 3, "the knocks are worth comparing: {opened} doors opened");
}

/// What opened, in order. Postern tells of fewer stages than there are when they come in crowds, but of every opening.
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

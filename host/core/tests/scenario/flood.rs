//! Floods of half-finished knocks, in virtual time: who gets in all the same.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use postern_core::{Bounds, HashedClient, Memories, MemoryId, Progress, Remembered, TenantId, Timestamp};

/// First knocks a second, from a source of its own each.
const RATE: u64 = 200_000;
const SECOND: u64 = 1_000_000;
/// From the first step of a knock to its last.
const WITHIN: Duration = Duration::from_secs(10);
const STEPS: u8 = 3;

/// Rules of three steps each and nothing else: what the shard does around a rule is done here, one step at a time.
struct Gate {
    memories: Memories,
    rules: Vec<MemoryId>,
    opened: usize,
    evicted: usize,
    /// Steps that nobody remembers.
    dropped: usize,
}

impl Gate {
    fn new(ceiling: Bounds, bounds: Bounds, rules: usize) -> Self {
        let mut memories = Memories::new(ceiling, &HashMap::new());
        let rules = (0..rules).map(|_| memories.add(&TenantId::host(), bounds)).collect();
        Self { memories, rules, opened: 0, evicted: 0, dropped: 0 }
    }

    /// With a rule of each of so many tenants, and one of the host's behind them.
    fn of_tenants(ceiling: Bounds, bounds: Bounds, tenants: usize) -> Self {
        let ids: Vec<_> = (0..tenants).map(|n| TenantId::new(&n.to_string())).collect();
        let of_tenants = ids.iter().map(|id| (id.clone(), bounds)).collect();
        let mut memories = Memories::new(ceiling, &of_tenants);
        let rules = ids.iter().chain([&TenantId::host()]).map(|id| memories.add(id, bounds)).collect();
        Self { memories, rules, opened: 0, evicted: 0, dropped: 0 }
    }

    fn client(&self, address: Ipv4Addr) -> HashedClient {
        self.memories.client(IpAddr::V4(address), 0)
    }

    /// The step of this number, from 1; whatever is not the one that should come makes the client start over.
    fn step(&mut self, rule: usize, client: HashedClient, step: u8, now: u64) {
        let (rule, now) = (self.rules[rule], Timestamp(now));
        self.memories.expire(rule, client, now);
        (0..2).map_while(|_| self.memories.expire_next(rule, now)).for_each(drop);
        let (done, until) = match self.memories.recall(rule, client, now) {
            Some([done, start @ ..]) => {
                let start = Timestamp(u64::from_le_bytes(start.try_into().unwrap()));
                (*done, start.plus(WITHIN))
            }
            _ => (0, now.plus(WITHIN)),
        };
        if step != done + 1 || step == STEPS {
            self.opened += usize::from(step == done + 1);
            self.memories.forget(rule, client);
            return;
        }
        let start = until.0 - u64::try_from(WITHIN.as_micros()).unwrap();
        let bytes = [&[step][..], &start.to_le_bytes()].concat().into();
        let progress = Progress { stage: step.into(), bytes, until };
        let Remembered { is_kept, evicted } = self.memories.remember(rule, client, progress, now);
        self.evicted += evicted;
        self.dropped += usize::from(!is_kept);
    }
}

fn made_up(number: u64) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x6440_0000 + u32::try_from(number % (1 << 22)).unwrap())
}

const PERSON: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

#[test]
fn a_client_with_a_second_between_its_steps_gets_in_through_a_flood_of_first_knocks() {
    let mut gate = Gate::new(Bounds::OF_ALL_RULES, Bounds::OF_A_RULE, 1);
    let person = gate.client(PERSON);
    // The table is full when the person comes.
    for number in 0..7 * RATE / 2 {
        let now = number * SECOND / RATE;
        if let Some(step) = [3, 5, 7].iter().position(|half| *half * RATE == 2 * number + 2) {
            gate.step(0, person, u8::try_from(step + 1).unwrap(), now);
        }
        gate.step(0, gate.client(made_up(number)), 1, now);
    }
    assert_eq!((gate.opened, gate.dropped), (1, 0));
    assert_eq!(gate.memories.len(), Bounds::OF_A_RULE.entries);
    assert!(gate.evicted > 400_000, "{}", gate.evicted);
}

#[test]
fn when_all_have_come_further_first_steps_are_dropped_until_some_expire() {
    const FEW: Bounds = Bounds { entries: 1000, bytes: 1 << 20 };
    let mut gate = Gate::new(Bounds::OF_ALL_RULES, FEW, 1);
    for number in 0..1000 {
        let insider = gate.client(made_up(number));
        gate.step(0, insider, 1, number);
        gate.step(0, insider, 2, number);
    }
    let person = gate.client(PERSON);
    gate.step(0, person, 1, SECOND);
    assert_eq!((gate.dropped, gate.evicted), (1, 0));
    // Nor does the one that is refused knock again and again for nothing: its place comes free with the first that expire.
    gate.step(0, person, 1, 10 * SECOND + 1);
    gate.step(0, person, 2, 10 * SECOND + 2);
    gate.step(0, person, 3, 10 * SECOND + 3);
    assert_eq!((gate.dropped, gate.evicted, gate.opened), (1, 0, 1));
    // Who keeps knocking cannot keep its place either: a first step once more is a wrong one.
    let insider = gate.client(made_up(999));
    gate.step(0, insider, 1, 10 * SECOND + 4);
    assert_eq!(gate.memories.recall(gate.rules[0], insider, Timestamp(10 * SECOND + 6)), None);
}

#[test]
fn floods_of_many_rules_stay_below_the_ceiling_and_cost_no_other_rule_its_clients() {
    const CEILING: Bounds = Bounds { entries: 1 << 14, bytes: 4 << 20 };
    const RULES: usize = 1000;
    let mut gate = Gate::new(CEILING, Bounds::OF_A_RULE, RULES);
    // Ten persons at each of the last hundred rules, half of them further than the other half.
    let person = |gate: &Gate, number: u32| gate.client(Ipv4Addr::from_bits(0x0a00_0000 + number));
    let persons: Vec<_> = (0..1000).map(|n| (900 + n as usize % 100, person(&gate, n), n % 2 == 0)).collect();
    for (rule, client, is_further) in &persons {
        gate.step(*rule, *client, 1, 0);
        if *is_further {
            gate.step(*rule, *client, 2, 0);
        }
    }
    // Four floods at once, one after the other at all rules but those.
    for number in 0..RATE {
        let now = number * SECOND / RATE;
        let flooded = usize::try_from(number % 4 + number / 900 * 4).unwrap() % 900;
        gate.step(flooded, gate.client(made_up(number)), 1, now);
        assert!(gate.memories.len() <= CEILING.entries);
    }
    assert_eq!((gate.dropped, gate.opened), (0, 0));
    let now = SECOND;
    for (rule, client, is_further) in &persons {
        if !is_further {
            gate.step(*rule, *client, 2, now);
        }
        gate.step(*rule, *client, 3, now);
    }
    assert_eq!(gate.opened, persons.len());
}

#[test]
fn floods_at_most_tenants_evict_no_client_of_the_others() {
    // More is promised than there is: each tenant and the host get a part of it.
    const TENANTS: usize = 9;
    const CEILING: Bounds = Bounds { entries: 1 << 15, bytes: 8 << 20 };
    const OF_A_TENANT: Bounds = Bounds { entries: 1 << 13, bytes: 2 << 20 };
    let mut gate = Gate::of_tenants(CEILING, OF_A_TENANT, TENANTS);
    // Two thousand clients at the first step at one tenant, at another and at the host.
    let quiet = [0, 5, TENANTS];
    let person = |gate: &Gate, number: u32| gate.client(Ipv4Addr::from_bits(0x0a00_0000 + number));
    let persons: Vec<_> = (0..6000).map(|n| (quiet[n as usize % 3], person(&gate, n))).collect();
    persons.iter().for_each(|(rule, client)| gate.step(*rule, *client, 1, 0));
    let flooded: Vec<_> = (0..=TENANTS).filter(|rule| !quiet.contains(rule)).collect();
    for number in 0..RATE {
        let now = number * SECOND / RATE;
        let rule = flooded[usize::try_from(number).unwrap() % flooded.len()];
        gate.step(rule, gate.client(made_up(number)), 1 + u8::from(number % 3 == 0), now);
        assert!(gate.memories.len() <= CEILING.entries);
    }
    for step in [2, 3] {
        persons.iter().for_each(|(rule, client)| gate.step(*rule, *client, step, SECOND));
    }
    assert_eq!((gate.opened, gate.memories.of_rule(gate.rules[5])), (persons.len(), 0));
}

use std::net::Ipv4Addr;

use super::*;

const ROOMY: Bounds = Bounds { entries: 100, bytes: 1 << 20 };
const HUGE: Bounds = Bounds { entries: 1 << 20, bytes: 1 << 30 };

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + n).into()
}

fn host() -> TenantId {
    TenantId::host()
}

/// Without tenants that have bounds.
fn memories(ceiling: Bounds) -> Memories {
    Memories::new(ceiling, &HashMap::new())
}

fn progress(stage: u32, bytes: &[u8], until: u64) -> Progress {
    Progress { stage, bytes: bytes.into(), until: Timestamp(until) }
}

/// The memory of one rule, whose clients are numbers.
struct One {
    memories: Memories,
    rule: MemoryId,
}

impl One {
    fn new(bounds: Bounds) -> Self {
        let mut memories = memories(HUGE);
        let rule = memories.add(&host(), bounds);
        Self { memories, rule }
    }

    fn client(&self, n: u32) -> HashedClient {
        self.memories.client(address(n), 0)
    }

    fn remember(&mut self, n: u32, progress: Progress, now: u64) -> Remembered {
        self.memories.remember(self.rule, self.client(n), progress, Timestamp(now))
    }

    fn recall(&self, n: u32, now: u64) -> Option<&[u8]> {
        self.memories.recall(self.rule, self.client(n), Timestamp(now))
    }

    fn expire_next(&mut self, now: u64) -> Option<(IpAddr, u32)> {
        self.memories.expire_next(self.rule, Timestamp(now))
    }

    fn forget(&mut self, n: u32) -> bool {
        self.memories.forget(self.rule, self.client(n))
    }

    fn known(&self, clients: std::ops::RangeInclusive<u32>, now: u64) -> Vec<u32> {
        clients.filter(|n| self.recall(*n, now).is_some()).collect()
    }
}

const KEPT: Remembered = Remembered { is_kept: true, evicted: 0 };
const KEPT_FOR_ANOTHER: Remembered = Remembered { is_kept: true, evicted: 1 };
const NOT_KEPT: Remembered = Remembered { is_kept: false, evicted: 0 };

#[test]
fn recalls_what_was_remembered_last_and_until_its_time() {
    let mut one = One::new(ROOMY);
    one.remember(1, progress(1, b"a", 50), 0);
    one.remember(1, progress(1, b"b", 60), 10);
    one.remember(2, progress(1, b"c", 60), 10);
    assert_eq!(one.recall(1, 59), Some(&b"b"[..]));
    assert_eq!(one.recall(1, 60), None);
    assert!(one.forget(1));
    assert!(!one.forget(1));
    assert_eq!(one.recall(1, 20), None);
    assert_eq!(one.recall(2, 20), Some(&b"c"[..]));
}

#[test]
fn the_same_link_local_address_on_two_links_is_two_clients() {
    let mut memories = memories(HUGE);
    let rule = memories.add(&host(), ROOMY);
    let address: IpAddr = "fe80::1".parse().unwrap();
    let [two, three] = [2, 3].map(|link| memories.client(address, link));
    memories.remember(rule, two, progress(1, b"a", 50), Timestamp(0));
    assert_eq!(memories.recall(rule, three, Timestamp(1)), None);
    memories.remember(rule, three, progress(1, b"b", 60), Timestamp(1));
    assert_eq!(memories.recall(rule, two, Timestamp(2)), Some(&b"a"[..]));
    assert_eq!(memories.expire_next(rule, Timestamp(50)), Some((address, 1)));
    assert_eq!(memories.recall(rule, three, Timestamp(50)), Some(&b"b"[..]));
}

#[test]
fn addresses_of_both_kinds_come_back_as_they_were() {
    for address in ["192.0.2.1", "2001:db8::1", "fe80::1"].map(|address| address.parse::<IpAddr>().unwrap()) {
        assert_eq!(memories(HUGE).client(address, 7).address(), address);
    }
}

#[test]
fn few_bytes_and_many_come_back_as_they_were() {
    assert_eq!(size_of::<ClientSlot>(), 64);
    let mut one = One::new(ROOMY);
    for length in 0..100 {
        let bytes: Vec<u8> = (1..=length).collect();
        one.remember(1, progress(1, &bytes, 50), 0);
        assert_eq!(one.recall(1, 1), Some(&bytes[..]));
    }
    one.forget(1);
    assert_eq!((one.memories.used, one.memories.tenants.most()), (Bounds::NOTHING, None));
}

#[test]
fn what_expired_is_told_once() {
    let mut one = One::new(ROOMY);
    let (rule, client) = (one.rule, one.client(1));
    one.remember(1, progress(1, b"a", 50), 0);
    assert_eq!(one.memories.expire(rule, client, Timestamp(49)), None);
    assert_eq!(one.memories.expire(rule, client, Timestamp(50)), Some(1));
    assert_eq!(one.memories.expire(rule, client, Timestamp(50)), None);
    one.remember(2, progress(7, b"a", 70), 50);
    assert_eq!(one.expire_next(69), None);
    assert_eq!(one.expire_next(70), Some((address(2), 7)));
    assert_eq!(one.expire_next(70), None);
    assert!(one.memories.is_empty());
}

#[test]
fn what_ends_at_once_is_not_kept_and_replaces_what_was() {
    let mut one = One::new(ROOMY);
    one.remember(1, progress(1, b"a", 50), 0);
    one.remember(1, progress(1, b"b", 10), 10);
    assert!(one.memories.is_empty());
}

#[test]
fn of_those_equally_far_the_entry_written_longest_ago_goes_first() {
    let mut one = One::new(Bounds { entries: 3, ..ROOMY });
    for n in 1..=3 {
        one.remember(n, progress(1, b"x", 100), 0);
    }
    one.remember(1, progress(1, b"again", 100), 1);
    assert_eq!(one.remember(4, progress(1, b"x", 100), 2), KEPT_FOR_ANOTHER);
    assert_eq!(one.known(1..=4, 3), [1, 3, 4]);
}

#[test]
fn who_came_further_stays_and_first_steps_are_dropped_when_all_did() {
    let mut one = One::new(Bounds { entries: 3, ..ROOMY });
    one.remember(1, progress(1, b"x", 100), 0);
    one.remember(2, progress(1, b"x", 100), 1);
    one.remember(1, progress(2, b"x", 100), 2);
    for n in 3..=50 {
        one.remember(n, progress(1, b"x", 100), 3);
    }
    assert_eq!(one.known(1..=50, 4), [1, 49, 50]);
    one.remember(49, progress(2, b"x", 100), 5);
    one.remember(50, progress(3, b"x", 100), 5);
    assert_eq!(one.remember(51, progress(1, b"x", 100), 6), NOT_KEPT);
    assert_eq!(one.known(1..=51, 6), [1, 49, 50]);
    // One that has come as far as others takes the place of the one that was there first.
    assert_eq!(one.remember(52, progress(2, b"x", 100), 7), KEPT_FOR_ANOTHER);
    assert_eq!(one.known(1..=52, 7), [49, 50, 52]);
}

#[test]
fn what_is_beyond_a_knock_goes_last_and_is_not_half_way() {
    let mut one = One::new(Bounds { entries: 2, ..ROOMY });
    one.remember(1, progress(0, b"open", 100), 0);
    one.remember(2, progress(64, b"x", 100), 0);
    let half_way = |one: &One, n| one.memories.is_half_way(one.rule, one.client(n), Timestamp(1));
    assert_eq!([1, 2, 3].map(|n| half_way(&one, n)), [false, true, false]);
    assert_eq!(one.remember(3, progress(64, b"x", 100), 1), KEPT_FOR_ANOTHER);
    assert_eq!(one.known(1..=3, 1), [1, 3]);
    one.remember(3, progress(0, b"open", 100), 1);
    assert_eq!(one.remember(4, progress(64, b"x", 100), 2), NOT_KEPT);
    assert_eq!(one.remember(4, progress(0, b"open", 100), 2), KEPT_FOR_ANOTHER);
    assert_eq!(one.known(1..=4, 3), [3, 4]);
}

#[test]
fn the_expired_make_room_before_anybody_else_however_late_they_came_and_however_far() {
    let mut one = One::new(Bounds { entries: 4, ..ROOMY });
    one.remember(1, progress(1, b"x", 1000), 0);
    one.remember(2, progress(2, b"x", 1000), 0);
    one.remember(3, progress(1, b"x", 400), 1);
    one.remember(4, progress(2, b"x", 200), 2);
    assert_eq!(one.remember(5, progress(1, b"x", 1000), 500), KEPT);
    assert_eq!(one.remember(6, progress(1, b"x", 1000), 500), KEPT);
    assert_eq!(one.known(1..=6, 501), [1, 2, 5, 6]);
    assert_eq!(one.remember(7, progress(1, b"x", 1000), 502), KEPT_FOR_ANOTHER);
    assert_eq!(one.known(1..=7, 503), [2, 5, 6, 7]);
}

#[test]
fn bytes_are_bounded_too() {
    let mut one = One::new(Bounds { entries: 100, bytes: 3 * (ENTRY_OVERHEAD + 10) });
    for n in 0..10 {
        one.remember(n, progress(1, &[0; 10], 100), 0);
    }
    assert_eq!(one.memories.len(), 3);
    assert_eq!(one.remember(20, progress(1, &[0; 4000], 100), 0), NOT_KEPT);
    assert_eq!(one.memories.len(), 3, "what can never fit pushes nobody out");
    one.remember(9, progress(2, &[0; 10], 100), 0);
    // It grows, and those that have come less far go for it.
    let grown = progress(2, &[0; 100], 100);
    assert_eq!(one.remember(9, grown, 0), KEPT_FOR_ANOTHER);
    assert_eq!(one.known(0..=9, 1), [8, 9]);
}

#[test]
fn a_flood_of_sources_is_bounded_and_its_places_are_used_again() {
    let mut one = One::new(Bounds { entries: 1000, bytes: 1 << 20 });
    for n in 0..100_000_u32 {
        let now = u64::from(n);
        for (client, stage) in (0..2).map_while(|_| one.expire_next(now)).collect::<Vec<_>>() {
            assert_eq!((client, stage), (address(n - 500), 1));
        }
        assert_eq!(one.remember(n, progress(1, b"x", now + 500), now), KEPT);
    }
    assert!(one.memories.len() <= 501, "only the living stay: {}", one.memories.len());
    assert!(one.memories.slots.most() <= 502, "slots are used again: {}", one.memories.slots.most());
}

#[test]
fn what_one_rule_gave_back_serves_the_next() {
    let mut memories = memories(HUGE);
    for _ in 0..20 {
        let rule = memories.add(&host(), ROOMY);
        for n in 0..100 {
            memories.remember(rule, memories.client(address(n), 0), progress(1, b"x", 100), Timestamp(0));
        }
        check(&memories, &[rule], 0);
        memories.remove(rule);
        assert_eq!(memories.of_rule(rule), 0);
    }
    assert_eq!(memories.rules.len(), 1, "numbers are used again");
    assert_eq!(memories.slots.most(), 100);
    assert_eq!((memories.len(), memories.used.bytes), (0, 0));
}

#[test]
fn the_index_of_a_flood_that_is_over_is_given_back() {
    let mut one = One::new(HUGE);
    for n in 0..100_000 {
        one.remember(n, progress(1, b"x", 100), 0);
    }
    let room = |one: &One| one.memories.rules[0].index.capacity();
    assert!(room(&one) >= 100_000);
    while one.expire_next(100).is_some() {}
    assert!(room(&one) <= SMALL * 2, "{}", room(&one));
}

#[test]
fn at_the_ceiling_the_rule_that_uses_most_pays() {
    let mut memories = memories(Bounds { entries: 1000, bytes: 1 << 20 });
    let [flooded, busy, quiet] = [0; 3].map(|_| memories.add(&host(), HUGE));
    let remember = |memories: &mut Memories, rule, n, stage| {
        let client = memories.client(address(n), 0);
        memories.remember(rule, client, progress(stage, b"x", 100), Timestamp(0))
    };
    for n in 0..300 {
        assert_eq!(remember(&mut memories, busy, n, 1), KEPT);
    }
    for n in 0..5000 {
        remember(&mut memories, flooded, n, 2);
    }
    assert_eq!((memories.of_rule(busy), memories.of_rule(flooded)), (300, 700));
    // Also a first step, though those of the flood have come further.
    for n in 0..100 {
        assert_eq!(remember(&mut memories, quiet, n, 1), KEPT_FOR_ANOTHER);
    }
    assert_eq!((memories.of_rule(busy), memories.of_rule(flooded)), (300, 600));
    assert_eq!(remember(&mut memories, flooded, 9999, 1), NOT_KEPT);
    assert_eq!(memories.len(), 1000);
}

#[test]
fn at_the_ceiling_the_expired_of_any_rule_go_first() {
    let mut memories = memories(Bounds { entries: 1000, bytes: 1 << 20 });
    let rules: Vec<_> = (0..100).map(|_| memories.add(&host(), HUGE)).collect();
    let mut remember = |rule, n, until, now| {
        let client = memories.client(address(n), 0);
        memories.remember(rule, client, progress(1, b"x", until), Timestamp(now))
    };
    for n in 0..500 {
        remember(rules[0], n, 1000, 0);
    }
    for n in 0..500 {
        remember(rules[50 + n as usize % 5], n, 100, 0);
    }
    // Eight rules are searched at a time, so the dead are found soon, and then each time.
    let evicted: usize = (1000..1490).map(|n| remember(rules[0], n, 1000, 500).evicted).sum();
    assert!(evicted <= 20, "{evicted}");
}

#[test]
fn lower_bounds_and_a_lower_ceiling_hold_at_once() {
    let mut one = One::new(ROOMY);
    for n in 0..50 {
        one.remember(n, progress(1 + n % 2, b"x", 100), 0);
    }
    one.memories.set_bounds(one.rule, Bounds { entries: 40, ..ROOMY });
    assert_eq!(lost(&mut one.memories), [(host(), 10)]);
    one.memories.set_ceiling(Bounds { entries: 30, ..ROOMY }, &HashMap::new());
    assert_eq!(lost(&mut one.memories), [(host(), 10)]);
    let left = one.known(0..=49, 1);
    assert_eq!(left.len(), 30);
    assert_eq!(left.iter().filter(|n| **n % 2 == 1).count(), 25, "who came further stays");
}

#[test]
fn a_clock_that_is_set_back_or_far_ahead_loses_nobody() {
    const HOUR: u64 = 3_600_000_000;
    let mut one = One::new(ROOMY);
    let now = 500 * HOUR;
    one.remember(1, progress(1, b"x", now + 1000), now);
    one.remember(2, progress(2, b"x", now - 300 * HOUR + 1000), now - 300 * HOUR);
    one.remember(3, progress(1, b"x", now + HOUR), now);
    one.remember(4, progress(1, b"x", u64::MAX), now);
    assert_eq!(one.known(1..=4, now - 300 * HOUR), [1, 2, 3, 4]);
    assert_eq!(one.expire_next(now), Some((address(2), 2)));
    assert_eq!(one.expire_next(now), None);
    one.remember(5, progress(1, b"x", now + 900 * HOUR), now + 899 * HOUR);
    assert_eq!(one.known(1..=5, now + 899 * HOUR), [4, 5]);
    (1..=5).for_each(|n| _ = one.forget(n));
    assert!(one.memories.is_empty());
}

/// Memories of tenants with these bounds, and a rule of each; the last is the host's.
fn of_tenants(ceiling: Bounds, bounds: &[Bounds]) -> (Memories, Vec<MemoryId>) {
    let bounds: HashMap<_, _> = (0..).zip(bounds).map(|(n, bounds)| (tenant(n), *bounds)).collect();
    let mut memories = Memories::new(ceiling, &bounds);
    let mut rules: Vec<_> = (0..bounds.len()).map(|n| memories.add(&tenant(n), HUGE)).collect();
    rules.push(memories.add(&host(), HUGE));
    (memories, rules)
}

fn tenant(n: usize) -> TenantId {
    TenantId::new(&format!("t{n}"))
}

/// A first step of each of these clients.
fn flood(memories: &mut Memories, rule: MemoryId, clients: std::ops::Range<u32>) -> usize {
    let remember = |n| {
        let client = memories.client(address(n), 0);
        memories.remember(rule, client, progress(1, b"x", 100), Timestamp(0)).evicted
    };
    clients.map(remember).sum()
}

/// Who has lost how many clients since this was asked last.
fn lost(memories: &mut Memories) -> Vec<(TenantId, u64)> {
    let mut lost = Vec::new();
    memories.take_evicted(|tenant, count| lost.push((tenant.clone(), count)));
    lost
}

const fn entries(entries: usize) -> Bounds {
    Bounds { entries, bytes: 1 << 20 }
}

#[test]
fn a_flood_that_fills_a_tenants_table_evicts_there_alone() {
    let (mut memories, rules) = of_tenants(entries(1000), &[entries(200), entries(200)]);
    let second = memories.add(&tenant(0), HUGE);
    flood(&mut memories, rules[1], 0..150);
    flood(&mut memories, rules[2], 0..300);
    flood(&mut memories, second, 0..50);
    assert_eq!(flood(&mut memories, rules[0], 0..5000), 5000 - 150);
    let of = |rule| memories.of_rule(rule);
    // Of the tenant's own rules the one that uses little keeps what it has.
    assert_eq!([of(rules[0]), of(second), of(rules[1]), of(rules[2])], [150, 50, 150, 300]);
}

#[test]
fn whoever_has_lost_a_client_is_counted_and_not_whoever_has_caused_it() {
    let (mut memories, rules) = of_tenants(entries(1000), &[entries(300), entries(200)]);
    flood(&mut memories, rules[2], 0..1000);
    assert_eq!(lost(&mut memories), []);
    // The host has more than it is promised, and makes room for those who have less.
    flood(&mut memories, rules[0], 0..10);
    flood(&mut memories, rules[1], 0..20);
    assert_eq!(lost(&mut memories), [(host(), 30)]);
    // A tenant that has all that it may have loses its own.
    flood(&mut memories, rules[1], 20..250);
    assert_eq!(lost(&mut memories), [(host(), 180), (tenant(1), 50)]);
    assert_eq!(lost(&mut memories), []);
}

#[test]
fn a_tenant_gets_its_promise_whatever_others_have_taken_of_it() {
    // Two get what they may have at most, and the host what is left.
    let (mut memories, rules) = of_tenants(entries(1000), &[entries(300), entries(200)]);
    flood(&mut memories, rules[2], 0..5000);
    assert_eq!(memories.len(), 1000);
    flood(&mut memories, rules[0], 0..5000);
    flood(&mut memories, rules[1], 0..5000);
    let of = |memories: &Memories| [0, 1, 2].map(|n| memories.of_rule(rules[n]));
    assert_eq!(of(&memories), [300, 200, 500]);
    flood(&mut memories, rules[2], 5000..6000);
    assert_eq!(of(&memories), [300, 200, 500]);
    // More is promised than there is: two thousand and the host's quarter. Each gets a share by what it may have at most.
    let (mut memories, rules) = of_tenants(entries(900), &[entries(900), entries(450), entries(675)]);
    flood(&mut memories, rules[0], 0..5000);
    for rule in [1, 2, 3] {
        flood(&mut memories, rules[rule], 0..5000);
    }
    let shares = [0, 1, 2, 3].map(|n| memories.of_rule(rules[n]));
    let promised = [360, 180, 270, 90];
    assert!(
        shares.iter().zip(promised).all(|(got, promise)| got.abs_diff(promise) <= promise / 7),
        "{shares:?}"
    );
    for (rule, promise) in rules.iter().zip(promised) {
        flood(&mut memories, *rule, 10_000..15_000);
        assert!(memories.of_rule(*rule) >= promise, "{promise}");
    }
}

#[test]
fn other_bounds_of_tenants_hold_at_once_and_what_is_gone_is_promised_to_others() {
    let (mut memories, rules) = of_tenants(entries(1000), &[entries(400), entries(400)]);
    rules.iter().for_each(|rule| _ = flood(&mut memories, *rule, 0..300));
    let lower = HashMap::from([(tenant(0), entries(100)), (tenant(1), entries(400))]);
    memories.set_ceiling(entries(1000), &lower);
    assert_eq!(lost(&mut memories), [(tenant(0), 200)]);
    assert_eq!(memories.of_rule(rules[0]), 100);
    memories.remove(rules[0]);
    let others = HashMap::from([(tenant(1), entries(400)), (tenant(2), entries(50))]);
    memories.set_ceiling(entries(500), &others);
    let lost = lost(&mut memories);
    assert_eq!(lost.iter().map(|(_, count)| count).sum::<u64>(), 100, "{lost:?}");
    let new = memories.add(&tenant(2), HUGE);
    flood(&mut memories, new, 0..500);
    assert_eq!(memories.of_rule(new), 50);
    assert_eq!(memories.tenants.numbers().count(), 3, "numbers are used again");
}

#[test]
fn at_a_tenants_bounds_its_expired_go_first_and_no_others_do() {
    let (mut memories, rules) = of_tenants(entries(1000), &[entries(100), entries(200)]);
    let own: Vec<_> = (0..50).map(|_| memories.add(&tenant(0), HUGE)).collect();
    let mut remember = |rule, n, until, now| {
        let client = memories.client(address(n), 0);
        memories.remember(rule, client, progress(1, b"x", until), Timestamp(now)).evicted
    };
    (0..50).for_each(|n| _ = remember(rules[0], n, 1000, 0));
    (0..50).for_each(|n| _ = remember(own[n as usize], n, 100, 0));
    (0..100).for_each(|n| _ = remember(rules[1], n, 100, 0));
    let evicted: usize = (100..150).map(|n| remember(rules[0], n, 1000, 500)).sum();
    assert!(evicted <= 7, "{evicted}");
    assert_eq!((memories.of_rule(rules[0]), memories.of_rule(rules[1])), (100, 100));
}

#[test]
fn lists_and_indexes_agree_and_no_tenant_loses_what_it_was_promised_after_random_operations() {
    let ceiling = Bounds { entries: 40, bytes: 1 << 13 };
    let bounds = Bounds { entries: 17, bytes: 1 << 12 };
    let of_tenant =
        [(12, 1 << 12), (20, 3 << 10), (9, 1 << 11)].map(|(entries, bytes)| Bounds { entries, bytes });
    let tenants: HashMap<_, _> = (0..).zip(of_tenant).map(|(n, bounds)| (tenant(n), bounds)).collect();
    let mut memories = Memories::new(ceiling, &tenants);
    // Two rules of each tenant and of the host.
    let owner = |rule: usize| if rule % 4 == 3 { host() } else { tenant(rule % 4) };
    let mut rules: Vec<_> = (0..8).map(|rule| memories.add(&owner(rule), bounds)).collect();
    // 41 and 10 clients, 9 KiB and 2 KiB for the host.
    let promised = |n: usize| {
        let (of_all, of_host) =
            (Bounds { entries: 41, bytes: 9 << 10 }, Bounds { entries: 10, bytes: 2 << 10 });
        let all = of_all.plus(of_host);
        let bounds = of_tenant.get(n).copied().unwrap_or(of_host);
        let part = |of: usize, ceiling: usize, all: usize| of * ceiling / all;
        Bounds {
            entries: part(bounds.entries, ceiling.entries, all.entries),
            bytes: part(bounds.bytes, ceiling.bytes, all.bytes),
        }
    };
    let mut seed = 7_u64;
    let mut lost_to_others = 0;
    for step in 0..10_000_u64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = |shift: u32, below: u64| usize::try_from(seed.rotate_right(shift) % below).unwrap();
        let client = memories.client(address(u32::try_from(seed >> 59).unwrap()), 0);
        let number = random(7, 8);
        let rule = rules[number];
        // Now and then the clock goes wrong.
        let now = Timestamp(if random(11, 50) == 0 { seed % 100_000 } else { step * 3 });
        if random(17, 3) > 0 {
            let until = now.0 + (1 << random(19, 12));
            let stage = u32::try_from(random(23, 8)).unwrap();
            let before = used(&memories, &rules);
            let living: Vec<_> = rules.iter().map(|rule| alive(&memories, *rule, now)).collect();
            memories.remember(rule, client, progress(stage, &vec![1; random(29, 400)], until), now);
            for other in (0..4).filter(|other| *other != number % 4) {
                let lost =
                    [other, other + 4].iter().any(|rule| alive(&memories, rules[*rule], now) < living[*rule]);
                lost_to_others += usize::from(lost);
                assert!(!lost || !promised(other).hold(before[other]), "step {step}: {:?}", before[other]);
            }
        } else if random(31, 60) == 0 {
            memories.remove(rule);
            rules[number] = memories.add(&owner(number), bounds);
        } else if random(31, 2) == 0 {
            memories.forget(rule, client);
        } else if let Some((expired, _)) = memories.expire_next(rule, now) {
            let expired = memories.client(expired, 0);
            assert_eq!(memories.recall(rule, expired, Timestamp(0)), None, "step {step}");
        }
        check(&memories, &rules, step);
        assert!(ceiling.hold(memories.used), "step {step}");
        for (bounds, used) in of_tenant.iter().zip(used(&memories, &rules)) {
            assert!(bounds.hold(used), "step {step}: {used:?}");
        }
    }
    assert!(lost_to_others > 20, "{lost_to_others}");
}

/// What each tenant uses; its rules are every fourth.
fn used(memories: &Memories, rules: &[MemoryId]) -> [Bounds; 4] {
    [0, 1, 2, 3].map(|n| {
        let of = |rule: usize| memories.rules[rules[rule].0 as usize].used();
        of(n).plus(of(n + 4))
    })
}

/// Clients of a rule that are not expired.
fn alive(memories: &Memories, rule: MemoryId, now: Timestamp) -> usize {
    let order = &memories.rules[rule.0 as usize].order;
    order.all(&memories.slots).filter(|at| memories.slots.get(*at).until > now).count()
}

/// That each client of an index is once in a list, and nobody else is.
fn check(memories: &Memories, rules: &[MemoryId], step: u64) {
    let (mut entries, mut bytes) = (0, 0);
    for rule in rules {
        let Memory { bounds, index, order, bytes: of_rule, .. } = &memories.rules[rule.0 as usize];
        let slots: Vec<_> = order.all(&memories.slots).collect();
        for at in &slots {
            let client = memories.hasher.of(memories.slots.get(*at).client);
            assert_eq!(memories.find(rule.0, client), Some(*at), "step {step}");
        }
        let cost: usize = slots.iter().map(|at| memories.slots.get(*at).cost()).sum();
        assert_eq!((slots.len(), cost), (index.len(), *of_rule), "step {step}");
        assert!(bounds.hold(Bounds { entries: slots.len(), bytes: cost }), "step {step}");
        (entries, bytes) = (entries + slots.len(), bytes + cost);
    }
    assert_eq!((entries, bytes), (memories.used.entries, memories.used.bytes), "step {step}");
    for number in memories.tenants.numbers() {
        let own = memories.rules.iter().filter(|rule| rule.tenant == number).map(Memory::used);
        let used = own.fold(Bounds::NOTHING, Bounds::plus);
        assert_eq!(used, memories.tenants.get(number).used, "step {step}");
    }
}

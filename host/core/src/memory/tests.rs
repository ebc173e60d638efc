use std::net::Ipv4Addr;

use super::*;

const ROOMY: Bounds = Bounds { entries: 100, bytes: 1 << 20 };

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + n).into()
}

fn memory(bounds: Bounds) -> (Memory, impl Fn(u32) -> HashedClient) {
    let hasher = ClientHasher::default();
    (Memory::new(bounds, &hasher), move |n| hasher.client(address(n), 0))
}

fn progress(bytes: &[u8], until: u64) -> Progress {
    Progress { stage: 1, bytes: bytes.into(), until: Timestamp(until) }
}

#[test]
fn recalls_what_was_remembered_last_and_until_its_time() {
    let (mut memory, client) = memory(ROOMY);
    memory.remember(client(1), progress(b"a", 50), Timestamp(0));
    memory.remember(client(1), progress(b"b", 60), Timestamp(10));
    memory.remember(client(2), progress(b"c", 60), Timestamp(10));
    assert_eq!(memory.recall(client(1), Timestamp(59)), Some(&b"b"[..]));
    assert_eq!(memory.recall(client(1), Timestamp(60)), None);
    assert!(memory.forget(client(1)));
    assert!(!memory.forget(client(1)));
    assert_eq!(memory.recall(client(1), Timestamp(20)), None);
    assert_eq!(memory.recall(client(2), Timestamp(20)), Some(&b"c"[..]));
}

#[test]
fn the_same_link_local_address_on_two_links_is_two_clients() {
    let hasher = ClientHasher::default();
    let mut memory = Memory::new(ROOMY, &hasher);
    let address: IpAddr = "fe80::1".parse().unwrap();
    memory.remember(hasher.client(address, 2), progress(b"a", 50), Timestamp(0));
    assert_eq!(memory.recall(hasher.client(address, 3), Timestamp(1)), None);
    memory.remember(hasher.client(address, 3), progress(b"b", 60), Timestamp(1));
    assert_eq!(memory.recall(hasher.client(address, 2), Timestamp(2)), Some(&b"a"[..]));
    assert_eq!(memory.expire_oldest(Timestamp(50)), Some((address, 1)));
    assert_eq!(memory.recall(hasher.client(address, 3), Timestamp(50)), Some(&b"b"[..]));
}

#[test]
fn addresses_of_both_kinds_come_back_as_they_were() {
    for address in ["192.0.2.1", "2001:db8::1", "fe80::1"].map(|address| address.parse::<IpAddr>().unwrap()) {
        assert_eq!(ClientHasher::default().client(address, 7).address(), address);
    }
}

#[test]
fn few_bytes_and_many_come_back_as_they_were() {
    assert_eq!(size_of::<Slot>(), 64);
    let (mut memory, client) = memory(ROOMY);
    for length in 0..100 {
        let bytes: Vec<u8> = (1..=length).collect();
        memory.remember(client(1), progress(&bytes, 50), Timestamp(0));
        assert_eq!(memory.recall(client(1), Timestamp(1)), Some(&bytes[..]));
    }
    memory.forget(client(1));
    assert_eq!(memory.bytes, 0);
}

#[test]
fn what_expired_is_told_once() {
    let (mut memory, client) = memory(ROOMY);
    memory.remember(client(1), progress(b"a", 50), Timestamp(0));
    assert_eq!(memory.expire(client(1), Timestamp(49)), None);
    assert_eq!(memory.expire(client(1), Timestamp(50)), Some(1));
    assert_eq!(memory.expire(client(1), Timestamp(50)), None);
    memory.remember(client(2), progress(b"a", 70), Timestamp(50));
    assert_eq!(memory.expire_oldest(Timestamp(69)), None);
    assert_eq!(memory.expire_oldest(Timestamp(70)), Some((address(2), 1)));
    assert_eq!(memory.expire_oldest(Timestamp(70)), None);
    assert!(memory.is_empty());
}

#[test]
fn what_ends_at_once_is_not_kept_and_replaces_what_was() {
    let (mut memory, client) = memory(ROOMY);
    memory.remember(client(1), progress(b"a", 50), Timestamp(0));
    memory.remember(client(1), progress(b"b", 10), Timestamp(10));
    assert!(memory.is_empty());
}

#[test]
fn the_entry_written_longest_ago_goes_first() {
    let (mut memory, client) = memory(Bounds { entries: 3, ..ROOMY });
    for n in 1..=3 {
        memory.remember(client(n), progress(b"x", 100), Timestamp(0));
    }
    memory.remember(client(1), progress(b"again", 100), Timestamp(1));
    memory.remember(client(4), progress(b"x", 100), Timestamp(2));
    let known: Vec<_> = (1..=4).map(|n| memory.recall(client(n), Timestamp(3)).is_some()).collect();
    assert_eq!(known, [true, false, true, true]);
    assert_eq!(memory.evicted(), 1);
}

#[test]
fn bytes_are_bounded_too() {
    let (mut memory, client) = memory(Bounds { entries: 100, bytes: 3 * (ENTRY_OVERHEAD + 10) });
    for n in 0..10 {
        memory.remember(client(n), progress(&[0; 10], 100), Timestamp(0));
    }
    assert_eq!(memory.len(), 3);
    memory.remember(client(20), progress(&[0; 4000], 100), Timestamp(0));
    assert_eq!(memory.len(), 3, "what can never fit pushes nobody out");
}

#[test]
fn a_flood_of_sources_is_bounded_and_the_expired_make_room_first() {
    let (mut memory, client) = memory(Bounds { entries: 1000, bytes: 1 << 20 });
    for n in 0..100_000_u32 {
        let now = Timestamp(u64::from(n));
        for expired in (0..2).map_while(|_| memory.expire_oldest(now)) {
            assert_eq!(expired, (address(n - 500), 1));
        }
        memory.remember(client(n), progress(b"x", u64::from(n) + 500), Timestamp(u64::from(n)));
    }
    assert!(memory.len() <= 501, "only the living stay: {}", memory.len());
    assert_eq!(memory.evicted(), 0);
    assert!(memory.slots.len() <= 1000, "slots are used again: {}", memory.slots.len());
}

#[test]
fn the_list_and_the_index_agree_after_random_operations() {
    let (mut memory, client) = memory(Bounds { entries: 17, bytes: 1 << 12 });
    let mut seed = 7_u64;
    for step in 0..20_000_u64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let who = client(u32::try_from(seed >> 59).unwrap());
        if seed & 0x100 == 0 {
            let bytes = vec![1; (seed >> 20) as usize % 400];
            memory.remember(who, progress(&bytes, step + (seed >> 40) % 50), Timestamp(step));
        } else {
            memory.forget(who);
        }
        let (mut seen, mut bytes) = (0, 0);
        let (mut at, mut before) = (memory.oldest, NONE);
        while at != NONE {
            let slot = &memory.slots[at as usize];
            assert_eq!(slot.older, before, "step {step}");
            assert_eq!(memory.find(memory.hasher.of(slot.client)), Some(at), "step {step}");
            seen += 1;
            bytes += slot.cost();
            (before, at) = (at, slot.newer);
        }
        assert_eq!(memory.newest, before, "step {step}");
        assert_eq!(seen, memory.index.len(), "step {step}");
        assert_eq!(memory.bytes, bytes, "step {step}");
        assert!(seen <= 17 && bytes <= 1 << 12, "step {step}");
    }
}

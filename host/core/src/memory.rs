//! Memory: what is kept of each client between two knocks of one rule, bounded and expiring.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use hashbrown::HashTable;

use crate::knock::Timestamp;
use crate::verdict::Progress;

/// What one entry costs beyond the rule's own bytes, roughly: counted against [`Bounds::bytes`].
const ENTRY_OVERHEAD: usize = 128;

/// Marks the end of the list.
const NONE: u32 = u32::MAX;

/// How much may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Clients at once; at least 1, below 2^32 - 1.
    pub entries: usize,
    /// Bytes in all, our own book-keeping included.
    pub bytes: usize,
}

/// Hashes clients, with a key, so that nobody outside can have many fall together.
#[derive(Clone, Debug, Default)]
pub struct ClientHasher(RandomState);

/// A client with its hash, which is made once for all memories that share a hasher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    key: ClientKey,
    hash: u32,
}

/// Who a client is: a source address, and the link on which it was seen, since a link-local one may be on every link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClientKey {
    /// Of IPv4 the mapped one, which no packet comes from: a byte less, so that a slot with the link is one line of a cache.
    address: [u8; 16],
    link: u32,
}

/// The half-finished knocks of one rule, by source address and link.
///
/// Every operation takes constant time however many clients there are. When a bound is reached the entry
/// that was written longest ago goes, so a flood of made-up sources costs bounded memory and nothing else.
#[derive(Debug)]
pub struct Memory {
    bounds: Bounds,
    hasher: ClientHasher,
    index: HashTable<Pointer>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Written longest ago.
    oldest: u32,
    newest: u32,
    bytes: usize,
    evicted: u64,
}

/// Where a client's slot is. With the hash beside it, most look-ups and the growing of the index touch no other slot.
#[derive(Clone, Copy, Debug)]
struct Pointer {
    hash: u32,
    at: u32,
}

/// One line of a processor's cache.
#[derive(Debug)]
struct Slot {
    client: ClientKey,
    stage: u32,
    until: Timestamp,
    bytes: Bytes,
    older: u32,
    newer: u32,
}

/// What a rule remembers; the little that most do is within the slot.
#[derive(Debug)]
enum Bytes {
    Few { length: u8, bytes: [u8; Self::FEW] },
    Many(Box<[u8]>),
}

impl ClientHasher {
    /// The client of this address on this link; see [`crate::Knock::link`].
    #[must_use]
    pub fn client(&self, address: IpAddr, link: u32) -> Client {
        let address = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        self.of(ClientKey { address: address.octets(), link })
    }

    fn of(&self, key: ClientKey) -> Client {
        // As numbers, since a hash of bytes takes their count in as well.
        let hash = self.0.hash_one((u128::from_ne_bytes(key.address), key.link));
        Client { key, hash: u32::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() }
    }
}

impl Client {
    /// Its address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.key.address()
    }
}

impl ClientKey {
    fn address(self) -> IpAddr {
        Ipv6Addr::from(self.address).to_canonical()
    }
}

impl Slot {
    /// What it counts against [`Bounds::bytes`].
    fn cost(&self) -> usize {
        ENTRY_OVERHEAD + self.bytes.get().len()
    }
}

impl Bytes {
    const FEW: usize = 22;

    fn new(given: Box<[u8]>) -> Self {
        match u8::try_from(given.len()) {
            Ok(length) if given.len() <= Self::FEW => {
                let mut bytes = [0; Self::FEW];
                bytes[..given.len()].copy_from_slice(&given);
                Self::Few { length, bytes }
            }
            _ => Self::Many(given),
        }
    }

    fn get(&self) -> &[u8] {
        match self {
            Self::Few { length, bytes } => &bytes[..usize::from(*length)],
            Self::Many(bytes) => bytes,
        }
    }
}

impl Memory {
    /// An empty memory for clients of this hasher.
    #[must_use]
    pub fn new(bounds: Bounds, hasher: &ClientHasher) -> Self {
        Self {
            bounds,
            hasher: hasher.clone(),
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
            bytes: 0,
            evicted: 0,
        }
    }

    /// What is remembered of `client`, unless its time was up at `now`.
    #[must_use]
    pub fn recall(&self, client: Client, now: Timestamp) -> Option<&[u8]> {
        let slot = &self.slots[self.find(client)? as usize];
        (now < slot.until).then(|| slot.bytes.get())
    }

    /// Remembers `progress` of `client` instead of what was.
    pub fn remember(&mut self, client: Client, progress: Progress, now: Timestamp) {
        let cost = ENTRY_OVERHEAD + progress.bytes.len();
        if progress.until <= now || cost > self.bounds.bytes {
            self.forget(client);
            return;
        }
        match self.find(client) {
            Some(at) => {
                let slot = &mut self.slots[at as usize];
                self.bytes -= slot.cost();
                slot.stage = progress.stage;
                slot.until = progress.until;
                slot.bytes = Bytes::new(progress.bytes);
                if at != self.newest {
                    self.unlink(at);
                    self.link(at);
                }
            }
            None => {
                if self.len() >= self.bounds.entries {
                    self.evict();
                }
                self.insert(client, progress);
            }
        }
        self.bytes += cost;
        // The newest fits, so it is never its own turn.
        while self.bytes > self.bounds.bytes && self.evict() {}
    }

    fn insert(&mut self, client: Client, progress: Progress) {
        let slot = Slot {
            client: client.key,
            stage: progress.stage,
            until: progress.until,
            bytes: Bytes::new(progress.bytes),
            older: NONE,
            newer: NONE,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("the bound on entries is below 2^32 - 1")
            }
        };
        self.link(at);
        let pointer = Pointer { hash: client.hash, at };
        self.index.insert_unique(spread(pointer.hash), pointer, |pointer| spread(pointer.hash));
    }

    /// Forgets `client` if its time was up at `now`; how far it had come, then.
    pub fn expire(&mut self, client: Client, now: Timestamp) -> Option<u32> {
        let slot = &self.slots[self.find(client)? as usize];
        let stage = slot.stage;
        (slot.until <= now && self.forget(client)).then_some(stage)
    }

    /// Forgets the client that was written longest ago if its time was up at `now`; who it was, and how far it had come. Two of these
    /// for each [`Memory::remember`], and entries leave faster than they come, so that the dead never pile up.
    pub fn expire_oldest(&mut self, now: Timestamp) -> Option<(IpAddr, u32)> {
        let Slot { client, stage, until, .. } = *self.slots.get(self.oldest as usize)?;
        (until <= now && self.forget(self.hasher.of(client))).then_some((client.address(), stage))
    }

    /// Forgets `client`; says whether there was something to forget.
    pub fn forget(&mut self, client: Client) -> bool {
        let Self { index, slots, .. } = self;
        let Ok(entry) = index.find_entry(spread(client.hash), is(client, slots)) else { return false };
        let (Pointer { at, .. }, _) = entry.remove();
        self.unlink(at);
        let slot = &mut self.slots[at as usize];
        self.bytes -= slot.cost();
        slot.bytes = Bytes::new(Box::default());
        self.free.push(at);
        true
    }

    /// Sets new bounds; the oldest entries go until they are kept.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        while (self.len() > bounds.entries || self.bytes > bounds.bytes) && self.evict() {}
    }

    /// Clients remembered, the expired that were not yet cleared away included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether nobody is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Clients that had to go before their time because a bound was reached.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Makes it the newest of the list, in which it is not.
    fn link(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        (slot.older, slot.newer) = (self.newest, NONE);
        match self.newest {
            NONE => self.oldest = at,
            before => self.slots[before as usize].newer = at,
        }
        self.newest = at;
    }

    /// Takes it out of the list.
    fn unlink(&mut self, at: u32) {
        let Slot { older, newer, .. } = self.slots[at as usize];
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
    }

    fn find(&self, client: Client) -> Option<u32> {
        self.index.find(spread(client.hash), is(client, &self.slots)).map(|pointer| pointer.at)
    }

    /// Has the oldest go before its time; false if there is none.
    fn evict(&mut self) -> bool {
        let Some(slot) = self.slots.get(self.oldest as usize) else { return false };
        self.evicted += 1;
        self.forget(self.hasher.of(slot.client))
    }
}

/// As many bits as the index wants: it takes the lowest for the place and the highest to compare.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// Tells the pointer to a client's slot.
fn is(client: Client, slots: &[Slot]) -> impl Fn(&Pointer) -> bool {
    move |pointer| pointer.hash == client.hash && slots[pointer.at as usize].client == client.key
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ROOMY: Bounds = Bounds { entries: 100, bytes: 1 << 20 };

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + n).into()
    }

    fn memory(bounds: Bounds) -> (Memory, impl Fn(u32) -> Client) {
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
        for address in
            ["192.0.2.1", "2001:db8::1", "fe80::1"].map(|address| address.parse::<IpAddr>().unwrap())
        {
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
}

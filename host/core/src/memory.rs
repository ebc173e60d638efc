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
pub struct HashedClient {
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
    pub fn client(&self, address: IpAddr, link: u32) -> HashedClient {
        let address = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        self.of(ClientKey { address: address.octets(), link })
    }

    fn of(&self, key: ClientKey) -> HashedClient {
        // As numbers, since a hash of bytes takes their count in as well.
        let hash = self.0.hash_one((u128::from_ne_bytes(key.address), key.link));
        HashedClient { key, hash: u32::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() }
    }
}

impl HashedClient {
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
    pub fn recall(&self, client: HashedClient, now: Timestamp) -> Option<&[u8]> {
        let slot = &self.slots[self.find(client)? as usize];
        (now < slot.until).then(|| slot.bytes.get())
    }

    /// Remembers `progress` of `client` instead of what was.
    pub fn remember(&mut self, client: HashedClient, progress: Progress, now: Timestamp) {
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

    fn insert(&mut self, client: HashedClient, progress: Progress) {
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
    pub fn expire(&mut self, client: HashedClient, now: Timestamp) -> Option<u32> {
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
    pub fn forget(&mut self, client: HashedClient) -> bool {
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

    fn find(&self, client: HashedClient) -> Option<u32> {
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
fn is(client: HashedClient, slots: &[Slot]) -> impl Fn(&Pointer) -> bool {
    move |pointer| pointer.hash == client.hash && slots[pointer.at as usize].client == client.key
}

#[cfg(test)]
mod tests;

//! Memory: what is kept of each client between two knocks of one rule, bounded and expiring.

mod client;
mod order;
mod slots;
mod usage;

use std::net::IpAddr;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use self::client::ClientHasher;
pub use self::client::HashedClient;
use self::order::{Class, EvictionOrder};
use self::slots::{Bytes, ClientSlot, ENTRY_OVERHEAD, Slots};
use self::usage::Usage;
use crate::knock::Timestamp;
use crate::verdict::Progress;

/// How many other rules are searched for expired clients when the ceiling is reached.
const RULES_SEARCHED: usize = 8;
/// An index with room for more than so many times its clients is shrunk.
const SPARSE: usize = 8;
/// Indexes with no more room than this are never shrunk.
const SMALL: usize = 1024;

/// How much may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Clients at once; at least 1, below 2^32 - 1.
    pub entries: usize,
    /// Bytes in all, our own book-keeping included.
    pub bytes: usize,
}

/// Whose memory; of the [`Memories`] that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryId(u32);

/// What became of remembering a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// False if there was no room: all remembered clients have come further, or this one alone exceeds the bounds. The client is forgotten.
    pub is_kept: bool,
    /// Clients that were evicted before their time, to make room.
    pub evicted: usize,
}

/// The half-finished knocks at all rules, by rule, source address and link.
///
/// Every operation takes constant time however many clients and rules there are, and memory is allocated as it is used. A flood of
/// spoofed sources uses bounded memory, and evicts no client that has come further. When a rule's bounds are reached, one of its clients is
/// evicted:
///
/// 1. an expired one;
/// 2. else the one that expires first among those that have come least far. If even that one has come further than the new client, the
///    new client is not remembered.
///
/// When the ceiling of all rules is reached, an expired client of any rule is evicted, or else one of the rule that uses most memory (to an
/// eighth). A rule that itself uses most evicts its own clients. So a flood at one rule costs nothing to rules that use less, and a rule
/// that uses little gets what it needs, even if the clients of the rule that uses most have come further.
#[derive(Debug)]
pub struct Memories {
    ceiling: Bounds,
    hasher: ClientHasher,
    slots: Slots,
    /// By number; those that were removed are empty and used again.
    rules: Vec<Memory>,
    removed: Vec<u32>,
    entries: usize,
    bytes: usize,
    usage: Usage,
    /// The rule at which the next search for expired clients begins.
    searched: usize,
}

/// What is kept for one rule.
#[derive(Debug)]
struct Memory {
    bounds: Bounds,
    index: HashTable<Pointer>,
    order: EvictionOrder,
    bytes: usize,
}

/// Where a client's slot is. With the hash beside it, most look-ups and the growing of the index touch no other slot.
#[derive(Clone, Copy, Debug)]
struct Pointer {
    hash: u32,
    at: u32,
}

impl Memories {
    /// Without any rule. All rules together keep no more than `ceiling`.
    #[must_use]
    pub fn new(ceiling: Bounds) -> Self {
        Self {
            ceiling,
            hasher: ClientHasher::default(),
            slots: Slots::new(),
            rules: Vec::new(),
            removed: Vec::new(),
            entries: 0,
            bytes: 0,
            usage: Usage::new(),
            searched: 0,
        }
    }

    /// The client of this address on this link; see [`crate::Knock::link`].
    #[must_use]
    pub fn client(&self, address: IpAddr, link: u32) -> HashedClient {
        self.hasher.client(address, link)
    }

    /// Adds a rule, without clients.
    pub fn add(&mut self, bounds: Bounds) -> MemoryId {
        let memory = Memory { bounds, index: HashTable::new(), order: EvictionOrder::default(), bytes: 0 };
        if let Some(rule) = self.removed.pop() {
            self.rules[rule as usize] = memory;
            return MemoryId(rule);
        }
        self.rules.push(memory);
        self.usage.add();
        MemoryId(u32::try_from(self.rules.len() - 1).expect("there are fewer rules"))
    }

    /// Removes a rule and its clients. Its id is invalid from then on.
    pub fn remove(&mut self, rule: MemoryId) {
        self.clear(rule);
        self.removed.push(rule.0);
    }

    /// Forgets all clients of a rule. Takes some nanoseconds for each.
    pub fn clear(&mut self, MemoryId(rule): MemoryId) {
        let memory = &mut self.rules[rule as usize];
        let empty = Memory {
            bounds: memory.bounds,
            index: HashTable::new(),
            order: EvictionOrder::default(),
            bytes: 0,
        };
        let Memory { index, order, bytes, .. } = std::mem::replace(memory, empty);
        self.entries -= index.len();
        self.bytes -= bytes;
        order.into_lists().for_each(|list| self.slots.release_all(list));
    }

    /// Sets new bounds of a rule and evicts the clients beyond them. Returns how many.
    pub fn set_bounds(&mut self, MemoryId(rule): MemoryId, bounds: Bounds) -> usize {
        self.rules[rule as usize].bounds = bounds;
        let mut evicted = 0;
        while let memory = &self.rules[rule as usize]
            && !bounds.hold(memory.index.len(), memory.bytes)
            && let Some(at) = memory.order.next()
        {
            self.forget_slot(rule, at);
            evicted += 1;
        }
        evicted
    }

    /// Sets a new ceiling and evicts the clients beyond it. Returns how many.
    pub fn set_ceiling(&mut self, ceiling: Bounds) -> usize {
        self.ceiling = ceiling;
        let mut evicted = 0;
        while !ceiling.hold(self.entries, self.bytes)
            && let Some(rule) = self.most()
            && let Some(at) = self.rules[rule as usize].order.next()
        {
            self.forget_slot(rule, at);
            evicted += 1;
        }
        evicted
    }

    /// What is remembered of `client`, unless its time was up at `now`.
    #[must_use]
    pub fn recall(&self, rule: MemoryId, client: HashedClient, now: Timestamp) -> Option<&[u8]> {
        let slot = self.slots.get(self.find(rule.0, client)?);
        (now < slot.until).then(|| slot.bytes.get())
    }

    /// Whether `client` is half way through a knock at this rule: it is remembered, at another stage than 0.
    #[must_use]
    pub fn is_half_way(&self, rule: MemoryId, client: HashedClient, now: Timestamp) -> bool {
        self.find(rule.0, client).is_some_and(|at| {
            let slot = self.slots.get(at);
            now < slot.until && slot.stage != 0
        })
    }

    /// Remembers `progress` of `client` instead of what was; nothing if its time is up at `now`.
    pub fn remember(
        &mut self,
        rule: MemoryId,
        client: HashedClient,
        progress: Progress,
        now: Timestamp,
    ) -> Remembered {
        let MemoryId(rule) = rule;
        let Progress { stage, bytes, until } = progress;
        if until <= now {
            self.forget(MemoryId(rule), client);
            return Remembered { is_kept: true, evicted: 0 };
        }
        let cost = ENTRY_OVERHEAD + bytes.len();
        if let Some(at) = self.find(rule, client) {
            let before = self.slots.get(at).cost();
            if cost <= before || self.has_room(rule, 0, cost - before) {
                self.slots.get_mut(at).bytes = Bytes::new(bytes);
                self.rules[rule as usize].order.change(at, stage, until, now, &mut self.slots);
                if cost != before {
                    self.count(rule, cost, before);
                }
                return Remembered { is_kept: true, evicted: 0 };
            }
            self.forget(MemoryId(rule), client);
        }
        let remembered = match self.has_room(rule, 1, cost) {
            true => Remembered { is_kept: true, evicted: 0 },
            false => self.make_room(rule, Class::of(stage), cost, now),
        };
        if remembered.is_kept {
            let at = self.slots.take(ClientSlot::new(client.key, stage, until, Bytes::new(bytes)));
            let memory = &mut self.rules[rule as usize];
            memory.order.insert(at, now, &mut self.slots);
            let pointer = Pointer { hash: client.hash, at };
            memory.index.insert_unique(spread(pointer.hash), pointer, |pointer| spread(pointer.hash));
            self.entries += 1;
            self.count(rule, cost, 0);
        }
        remembered
    }

    /// Forgets `client` if its time was up at `now`; how far it had come, then.
    pub fn expire(&mut self, rule: MemoryId, client: HashedClient, now: Timestamp) -> Option<u32> {
        let at = self.find(rule.0, client)?;
        let &ClientSlot { stage, until, .. } = self.slots.get(at);
        (until <= now && self.forget(rule, client)).then_some(stage)
    }

    /// Forgets one client of the rule that expired by `now`; returns its address and stage. With two of these calls for each
    /// [`Memories::remember`], expired clients are removed faster than new ones come, so they do not accumulate.
    pub fn expire_next(&mut self, rule: MemoryId, now: Timestamp) -> Option<(IpAddr, u32)> {
        let at = self.rules[rule.0 as usize].order.expired(now, &self.slots)?;
        let &ClientSlot { client, stage, .. } = self.slots.get(at);
        self.forget_slot(rule.0, at);
        Some((client.address(), stage))
    }

    /// Forgets `client`; says whether there was something to forget.
    pub fn forget(&mut self, rule: MemoryId, client: HashedClient) -> bool {
        let index = &mut self.rules[rule.0 as usize].index;
        let Ok(entry) = index.find_entry(spread(client.hash), is(client, &self.slots)) else { return false };
        let (Pointer { at, .. }, _) = entry.remove();
        self.take_out(rule.0, at);
        true
    }

    /// Clients that a rule remembers, the expired that were not yet cleared away included.
    #[must_use]
    pub fn of_rule(&self, rule: MemoryId) -> usize {
        self.rules[rule.0 as usize].index.len()
    }

    /// Clients that all rules remember; a client counts for each of them.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries
    }

    /// Whether no client is remembered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    #[inline]
    fn find(&self, rule: u32, client: HashedClient) -> Option<u32> {
        let is_it = is(client, &self.slots);
        self.rules[rule as usize].index.find(spread(client.hash), is_it).map(|pointer| pointer.at)
    }

    fn forget_slot(&mut self, rule: u32, at: u32) {
        let HashedClient { hash, .. } = self.hasher.of(self.slots.get(at).client);
        let index = &mut self.rules[rule as usize].index;
        if let Ok(entry) = index.find_entry(spread(hash), |pointer| pointer.at == at) {
            entry.remove();
        }
        self.take_out(rule, at);
    }

    /// Frees a slot that was removed from its index.
    fn take_out(&mut self, rule: u32, at: u32) {
        let cost = self.slots.get(at).cost();
        let memory = &mut self.rules[rule as usize];
        let (clients, room) = (memory.index.len(), memory.index.capacity());
        if room > SMALL && clients < room / SPARSE {
            memory.index.shrink_to(2 * clients, |pointer| spread(pointer.hash));
        }
        memory.order.remove(at, &mut self.slots);
        self.slots.release(at);
        self.entries -= 1;
        self.count(rule, 0, cost);
    }

    /// Counts bytes of a rule that came and went.
    fn count(&mut self, rule: u32, came: usize, went: usize) {
        self.bytes = self.bytes + came - went;
        let memory = &mut self.rules[rule as usize];
        memory.bytes = memory.bytes + came - went;
        if came > went {
            self.usage.grown(rule, memory.bytes);
        }
    }

    fn has_room(&self, rule: u32, entries: usize, bytes: usize) -> bool {
        let memory = &self.rules[rule as usize];
        memory.bounds.hold(memory.index.len() + entries, memory.bytes + bytes)
            && self.ceiling.hold(self.entries + entries, self.bytes + bytes)
    }

    /// Makes room for one more client of a rule.
    #[cold]
    fn make_room(&mut self, rule: u32, class: Class, cost: usize, now: Timestamp) -> Remembered {
        let mut evicted = 0;
        let can_ever = cost <= self.rules[rule as usize].bounds.bytes && cost <= self.ceiling.bytes;
        while can_ever && !self.has_room(rule, 1, cost) {
            if let Some((rule, at)) = self.expired(rule, cost, now) {
                self.forget_slot(rule, at);
                continue;
            }
            let payer = self.payer(rule, cost);
            let next = self.rules[payer as usize].order.next();
            let Some(at) = next.filter(|at| payer != rule || self.class_of(*at) <= class) else { break };
            self.forget_slot(payer, at);
            evicted += 1;
        }
        Remembered { is_kept: self.has_room(rule, 1, cost), evicted }
    }

    /// An expired client whose removal makes room: one of the rule itself if its own bounds are reached, else one of any rule.
    fn expired(&mut self, rule: u32, cost: usize, now: Timestamp) -> Option<(u32, u32)> {
        let most = self.most();
        let of = |rule: u32| self.rules[rule as usize].order.expired(now, &self.slots).map(|at| (rule, at));
        let own = of(rule);
        if own.is_some() || !self.rules[rule as usize].has_room(cost) {
            return own;
        }
        if let Some(found) = most.and_then(of) {
            return Some(found);
        }
        for _ in 0..self.rules.len().min(RULES_SEARCHED) {
            // The next search begins at this rule again, since it may have more.
            let place = u32::try_from(self.searched).unwrap_or_default();
            if let Some(found) = of(place) {
                return Some(found);
            }
            self.searched = (self.searched + 1) % self.rules.len();
        }
        None
    }

    /// The rule that must evict a client so that `rule` can remember one more.
    fn payer(&mut self, rule: u32, cost: usize) -> u32 {
        let most = self.most();
        let own = &self.rules[rule as usize];
        let most = most.filter(|most| self.rules[*most as usize].bytes > own.bytes);
        most.filter(|_| own.has_room(cost)).unwrap_or(rule)
    }

    /// The rule that uses most, to an eighth.
    fn most(&mut self) -> Option<u32> {
        self.usage.most(|rule| self.rules[rule as usize].bytes)
    }

    fn class_of(&self, at: u32) -> Class {
        Class::of(self.slots.get(at).stage)
    }
}

impl Memory {
    /// Whether its own bounds allow one more client.
    fn has_room(&self, cost: usize) -> bool {
        self.bounds.hold(self.index.len() + 1, self.bytes + cost)
    }
}

impl Bounds {
    /// Of a rule, unless its file says otherwise: a second of 200,000 made-up first knocks, so that a client with a second between its steps
    /// gets in.
    pub const OF_A_RULE: Self = Self { entries: 1 << 18, bytes: 64 << 20 };
    /// Of all rules together, unless the configuration says otherwise: four rules in such a flood.
    pub const OF_ALL_RULES: Self = Self { entries: 1 << 20, bytes: 256 << 20 };

    /// The lower of each.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { entries: self.entries.min(other.entries), bytes: self.bytes.min(other.bytes) }
    }

    const fn hold(self, entries: usize, bytes: usize) -> bool {
        entries <= self.entries && bytes <= self.bytes
    }
}

/// A 64-bit hash for the index: it uses the lowest bits for the position and the highest as a tag.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// Tells the pointer to a client's slot.
fn is(client: HashedClient, slots: &Slots) -> impl Fn(&Pointer) -> bool {
    move |pointer| pointer.hash == client.hash && slots.get(pointer.at).client == client.key
}

#[cfg(test)]
mod tests;

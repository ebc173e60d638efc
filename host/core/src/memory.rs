//! Memory: what is kept of each client between two knocks of one rule, bounded and expiring.

mod client;
mod order;
mod slots;
mod tenants;
mod usage;

use std::collections::HashMap;
use std::net::IpAddr;

use hashbrown::HashTable;

use self::client::ClientHasher;
pub use self::client::HashedClient;
use self::order::{Class, EvictionOrder};
use self::slots::{Bytes, ClientSlot, ENTRY_OVERHEAD, Slots};
use self::tenants::Tenants;
use crate::bounds::Bounds;
use crate::knock::Timestamp;
use crate::tenant::TenantId;
use crate::verdict::Progress;

/// How many other rules are searched for expired clients when the ceiling is reached.
const RULES_SEARCHED: usize = 8;
/// An index with room for more than so many times its clients is shrunk.
const SPARSE: usize = 8;
/// Indexes with no more room than this are never shrunk.
const SMALL: usize = 1024;

/// Whose memory; of the [`Memories`] that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryId(u32);

/// What became of remembering a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// False if there was no room: all remembered clients have come further, or this one alone exceeds the bounds. The client is forgotten.
    pub is_kept: bool,
    /// Clients that were evicted before their time, to make room. [`Memories::take_evicted`] says whose.
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
/// When the bounds of its tenant are reached, an expired client of the tenant's rules is evicted, or else one of that rule of the tenant that
/// uses most memory (to an eighth). A rule that itself uses most evicts its own clients. So a flood at one rule costs nothing to rules that use
/// less, and a rule that uses little gets what it needs, even if the clients of the rule that uses most have come further.
///
/// When the ceiling of the machine is reached, an expired client of any rule is evicted, or else one of the tenant that uses most of what it
/// is promised (to an eighth), in the same way among its rules. A tenant is promised what its bounds allow, and tenants without bounds
/// what is left, or together a quarter of the ceiling if that is more; where this is more than the ceiling, each is promised the same part of
/// it. So no tenant loses a client to another's while it uses no more than its promise, and what one does not use others may until then.
#[derive(Debug)]
pub struct Memories {
    ceiling: Bounds,
    hasher: ClientHasher,
    slots: Slots,
    /// By number; those that were removed are empty and used again.
    rules: Vec<Memory>,
    removed: Vec<u32>,
    tenants: Tenants,
    /// What is used of the ceiling.
    used: Bounds,
    /// The rule at which the next search for expired clients begins.
    searched: usize,
}

/// What is kept for one rule.
#[derive(Debug)]
struct Memory {
    bounds: Bounds,
    /// The number of its tenant, and its place among the rules of that.
    tenant: u32,
    place: u32,
    index: HashTable<Pointer>,
    order: EvictionOrder,
    bytes: usize,
}

/// Whose bounds leave no room for one more client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    Rule,
    Tenant,
    Machine,
}

/// Where a client's slot is. With the hash beside it, most look-ups and the growing of the index touch no other slot.
#[derive(Clone, Copy, Debug)]
struct Pointer {
    hash: u32,
    at: u32,
}

impl Memories {
    /// Without any rule. All rules together keep no more than `ceiling`, and those of a tenant no more than its bounds, if it has any.
    #[must_use]
    pub fn new(ceiling: Bounds, of_tenants: &HashMap<TenantId, Bounds>) -> Self {
        let mut tenants = Tenants::new(ceiling);
        tenants.set_bounds(ceiling, of_tenants);
        Self {
            ceiling,
            hasher: ClientHasher::default(),
            slots: Slots::new(),
            rules: Vec::new(),
            removed: Vec::new(),
            tenants,
            used: Bounds::NOTHING,
            searched: 0,
        }
    }

    /// The client of this address on this link; see [`crate::Knock::link`].
    #[must_use]
    pub fn client(&self, address: IpAddr, link: u32) -> HashedClient {
        self.hasher.client(address, link)
    }

    /// Adds a rule of a tenant, without clients.
    pub fn add(&mut self, tenant: &TenantId, bounds: Bounds) -> MemoryId {
        let rule = self
            .removed
            .pop()
            .unwrap_or_else(|| u32::try_from(self.rules.len()).expect("there are fewer rules"));
        let (tenant, place) = self.tenants.add_rule(tenant, rule);
        let memory = Memory::new(bounds, tenant, place);
        match self.rules.get_mut(rule as usize) {
            Some(removed) => *removed = memory,
            None => self.rules.push(memory),
        }
        MemoryId(rule)
    }

    /// Removes a rule and its clients. Its id is invalid from then on.
    pub fn remove(&mut self, rule: MemoryId) {
        self.clear(rule);
        let Memory { tenant, place, .. } = self.rules[rule.0 as usize];
        self.tenants.remove_rule(tenant, place);
        self.removed.push(rule.0);
    }

    /// Forgets all clients of a rule. Takes some nanoseconds for each.
    pub fn clear(&mut self, MemoryId(rule): MemoryId) {
        let memory = &mut self.rules[rule as usize];
        let empty = Memory::new(memory.bounds, memory.tenant, memory.place);
        let Memory { index, order, bytes, tenant, .. } = std::mem::replace(memory, empty);
        let less = Bounds { entries: index.len(), bytes };
        self.used = self.used.minus(less);
        self.tenants.shrink(tenant, less);
        order.into_lists().for_each(|list| self.slots.release_all(list));
    }

    /// Sets new bounds of a rule and evicts the clients beyond them.
    pub fn set_bounds(&mut self, MemoryId(rule): MemoryId, bounds: Bounds) {
        self.rules[rule as usize].bounds = bounds;
        while let memory = &self.rules[rule as usize]
            && !bounds.hold(memory.used())
            && self.evict_of(rule)
        {}
    }

    /// Sets new bounds of all together and of tenants, and evicts the clients beyond them.
    pub fn set_ceiling(&mut self, ceiling: Bounds, of_tenants: &HashMap<TenantId, Bounds>) {
        self.ceiling = ceiling;
        self.tenants.set_bounds(ceiling, of_tenants);
        for tenant in self.tenants.numbers() {
            while !self.tenants.get(tenant).has_room(Bounds::NOTHING)
                && let Some(rule) = self.most_of(tenant)
                && self.evict_of(rule)
            {}
        }
        while !ceiling.hold(self.used)
            && let Some(tenant) = self.tenants.most()
            && let Some(rule) = self.most_of(tenant)
            && self.evict_of(rule)
        {}
    }

    /// Hands over how many clients were evicted before their time since this was asked last, by the tenant that has lost them: at the ceiling of the
    /// machine that may be another than the one for which room was made.
    pub fn take_evicted(&mut self, take: impl FnMut(&TenantId, u64)) {
        self.tenants.take_evicted(take);
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
            let more = Bounds { entries: 0, bytes: cost.saturating_sub(before) };
            if cost <= before || self.full(rule, more).is_none() {
                self.slots.get_mut(at).bytes = Bytes::new(bytes);
                self.rules[rule as usize].order.change(at, stage, until, now, &mut self.slots);
                if cost > before {
                    self.grow(rule, more);
                } else {
                    self.shrink(rule, Bounds { entries: 0, bytes: before - cost });
                }
                return Remembered { is_kept: true, evicted: 0 };
            }
            self.forget(MemoryId(rule), client);
        }
        let more = Bounds { entries: 1, bytes: cost };
        let remembered = match self.full(rule, more) {
            None => Remembered { is_kept: true, evicted: 0 },
            Some(_) => self.make_room(rule, Class::of(stage), more, now),
        };
        if remembered.is_kept {
            let at = self.slots.take(ClientSlot::new(client.key, stage, until, Bytes::new(bytes)));
            let memory = &mut self.rules[rule as usize];
            memory.order.insert(at, now, &mut self.slots);
            let pointer = Pointer { hash: client.hash, at };
            memory.index.insert_unique(spread(pointer.hash), pointer, |pointer| spread(pointer.hash));
            self.grow(rule, more);
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
        self.used.entries
    }

    /// Whether no client is remembered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used.entries == 0
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
        self.shrink(rule, Bounds { entries: 1, bytes: cost });
    }

    /// Counts what a rule uses more.
    fn grow(&mut self, rule: u32, more: Bounds) {
        self.used = self.used.plus(more);
        let memory = &mut self.rules[rule as usize];
        memory.bytes += more.bytes;
        self.tenants.grow(memory.tenant, memory.place, more, memory.bytes);
    }

    /// Counts what a rule uses less.
    fn shrink(&mut self, rule: u32, less: Bounds) {
        self.used = self.used.minus(less);
        let memory = &mut self.rules[rule as usize];
        memory.bytes -= less.bytes;
        self.tenants.shrink(memory.tenant, less);
    }

    /// Whose bounds leave a rule no room for so much more.
    fn full(&self, rule: u32, more: Bounds) -> Option<Full> {
        let memory = &self.rules[rule as usize];
        if !memory.bounds.hold(memory.used().plus(more)) {
            Some(Full::Rule)
        } else if !self.tenants.get(memory.tenant).has_room(more) {
            Some(Full::Tenant)
        } else if !self.ceiling.hold(self.used.plus(more)) {
            Some(Full::Machine)
        } else {
            None
        }
    }

    /// Makes room for one more client of a rule.
    #[cold]
    fn make_room(&mut self, rule: u32, class: Class, more: Bounds, now: Timestamp) -> Remembered {
        let mut evicted = 0;
        let Memory { bounds, tenant, .. } = self.rules[rule as usize];
        let of_tenant = self.tenants.get(tenant).bounds.unwrap_or(self.ceiling);
        let can_ever = [bounds, of_tenant, self.ceiling].iter().all(|bounds| bounds.hold(more));
        while can_ever && let Some(full) = self.full(rule, more) {
            if let Some((rule, at)) = self.expired(rule, full, now) {
                self.forget_slot(rule, at);
                continue;
            }
            let payer = self.payer(rule, full, more);
            let next = self.rules[payer as usize].order.next();
            let Some(at) = next.filter(|at| payer != rule || self.class_of(*at) <= class) else { break };
            self.forget_slot(payer, at);
            self.tenants.count_evicted(self.rules[payer as usize].tenant);
            evicted += 1;
        }
        Remembered { is_kept: self.full(rule, more).is_none(), evicted }
    }

    /// An expired client whose removal makes room: one of the rule itself if its own bounds are reached, one of its tenant's rules if the
    /// tenant's are, else one of any rule.
    fn expired(&mut self, rule: u32, full: Full, now: Timestamp) -> Option<(u32, u32)> {
        let own = self.expired_of(rule, now);
        if own.is_some() || full == Full::Rule {
            return own;
        }
        let own_tenant = self.rules[rule as usize].tenant;
        let tenant = if full == Full::Tenant { Some(own_tenant) } else { self.tenants.most() };
        let most = tenant.and_then(|tenant| self.most_of(tenant));
        if let Some(found) = most.and_then(|most| self.expired_of(most, now)) {
            return Some(found);
        }
        let Self { tenants, rules, slots, searched, .. } = self;
        let of = |rule: u32| rules[rule as usize].order.expired(now, slots).map(|at| (rule, at));
        if full == Full::Tenant {
            return tenants.search(own_tenant, RULES_SEARCHED, of);
        }
        for _ in 0..rules.len().min(RULES_SEARCHED) {
            // The next search begins at this rule again, since it may have more.
            if let Some(found) = of(u32::try_from(*searched).unwrap_or_default()) {
                return Some(found);
            }
            *searched = (*searched + 1) % rules.len();
        }
        None
    }

    fn expired_of(&self, rule: u32, now: Timestamp) -> Option<(u32, u32)> {
        self.rules[rule as usize].order.expired(now, &self.slots).map(|at| (rule, at))
    }

    /// The rule that must evict a client so that `rule` can remember one more.
    fn payer(&mut self, rule: u32, full: Full, more: Bounds) -> u32 {
        let Memory { tenant: own, bytes, .. } = self.rules[rule as usize];
        let tenant = match full {
            Full::Rule => return rule,
            Full::Tenant => own,
            Full::Machine => self.tenants.payer(own, more),
        };
        let most = self.most_of(tenant);
        most.filter(|most| tenant != own || self.rules[*most as usize].bytes > bytes).unwrap_or(rule)
    }

    /// The rule of a tenant that uses most, to an eighth.
    fn most_of(&mut self, tenant: u32) -> Option<u32> {
        let Self { tenants, rules, .. } = self;
        tenants.most_of(tenant, |rule| rules[rule as usize].bytes)
    }

    /// Evicts a client of a rule, if it has any.
    fn evict_of(&mut self, rule: u32) -> bool {
        let Memory { tenant, ref order, .. } = self.rules[rule as usize];
        let Some(at) = order.next() else { return false };
        self.forget_slot(rule, at);
        self.tenants.count_evicted(tenant);
        true
    }

    fn class_of(&self, at: u32) -> Class {
        Class::of(self.slots.get(at).stage)
    }
}

impl Memory {
    fn new(bounds: Bounds, tenant: u32, place: u32) -> Self {
        let (index, order) = (HashTable::new(), EvictionOrder::default());
        Self { bounds, tenant, place, index, order, bytes: 0 }
    }

    fn used(&self) -> Bounds {
        Bounds { entries: self.index.len(), bytes: self.bytes }
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

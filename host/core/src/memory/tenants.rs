//! Tenants: what the rules of each tenant use of the memory together, and what it was promised.

use std::collections::HashMap;

use super::usage::Usage;
use crate::bounds::Bounds;
use crate::tenant::TenantId;

/// A tenant without bounds, as the host is, is promised such a part at least, before all promises are lowered to what there is.
const PART_OF_UNBOUNDED: usize = 4;
/// What [`Tenant::measure`] gives when as much is used as was promised. It is the least of a level of [`Usage`], so that whoever uses more is
/// found before all that do not.
const PROMISE: u32 = 1 << 20;

/// All tenants that have rules or bounds.
#[derive(Debug)]
pub(super) struct Tenants {
    numbers: HashMap<TenantId, u32>,
    /// By number; those that were removed are empty and used again.
    tenants: Vec<Tenant>,
    removed: Vec<u32>,
    /// By how much of its promise each uses.
    usage: Usage,
    ceiling: Bounds,
    /// Clients that were evicted since that was asked last, by the tenant whose they were; there are no more than tenants.
    evicted: Vec<(u32, u64)>,
}

/// What is kept for the rules of one tenant.
#[derive(Debug)]
pub(super) struct Tenant {
    id: TenantId,
    /// None: as much as there is.
    pub(super) bounds: Option<Bounds>,
    promise: Promise,
    pub(super) used: Bounds,
    /// The numbers of its rules, by their place here; places that became free are used again.
    rules: Vec<u32>,
    free: Vec<u32>,
    /// Its rules by the bytes that they use, by their place.
    usage: Usage,
    /// The place at which the next search for expired clients begins.
    searched: usize,
}

/// What it was promised, as 2^64 divided by it.
#[derive(Clone, Copy, Debug, Default)]
struct Promise {
    entries: u64,
    bytes: u64,
}

impl Tenants {
    pub(super) fn new(ceiling: Bounds) -> Self {
        Self {
            numbers: HashMap::new(),
            tenants: Vec::new(),
            removed: Vec::new(),
            usage: Usage::new(),
            ceiling,
            evicted: Vec::new(),
        }
    }

    /// Sets the bounds of all tenants that have any, and what is promised to each. One that has none any more keeps those that it had for as long as
    /// it has rules.
    pub(super) fn set_bounds(&mut self, ceiling: Bounds, bounds: &HashMap<TenantId, Bounds>) {
        self.ceiling = ceiling;
        let gone = self.numbers.extract_if(|id, number| {
            let tenant = &self.tenants[*number as usize];
            !bounds.contains_key(id) && tenant.rules.len() == tenant.free.len()
        });
        self.removed.extend(gone.map(|(_, number)| number));
        for (id, bounds) in bounds {
            let number = self.number(id);
            self.tenants[number as usize].bounds = Some(*bounds);
        }
        self.promise();
    }

    /// Adds a rule of a tenant; the tenant's number, and the rule's place there.
    pub(super) fn add_rule(&mut self, id: &TenantId, rule: u32) -> (u32, u32) {
        let is_new = !self.numbers.contains_key(id);
        let number = self.number(id);
        if is_new {
            self.promise();
        }
        let tenant = &mut self.tenants[number as usize];
        let place = tenant.free.pop().unwrap_or_else(|| {
            tenant.usage.add();
            tenant.rules.push(rule);
            u32::try_from(tenant.rules.len() - 1).expect("there are fewer rules")
        });
        tenant.rules[place as usize] = rule;
        (number, place)
    }

    /// Removes a rule, which uses nothing any more.
    pub(super) fn remove_rule(&mut self, tenant: u32, place: u32) {
        self.tenants[tenant as usize].free.push(place);
    }

    pub(super) fn get(&self, tenant: u32) -> &Tenant {
        &self.tenants[tenant as usize]
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        0..u32::try_from(self.tenants.len()).unwrap_or_default()
    }

    /// Counts what a rule uses more; `of_rule` is the rule's bytes now.
    pub(super) fn grow(&mut self, tenant: u32, place: u32, more: Bounds, of_rule: usize) {
        let own = &mut self.tenants[tenant as usize];
        own.used = own.used.plus(more);
        own.usage.grown(place, of_rule);
        self.usage.grown(tenant, own.measure(own.used));
    }

    /// Counts what a rule uses less.
    pub(super) fn shrink(&mut self, tenant: u32, less: Bounds) {
        let own = &mut self.tenants[tenant as usize];
        own.used = own.used.minus(less);
    }

    /// Counts a client that a tenant has lost before its time.
    pub(super) fn count_evicted(&mut self, tenant: u32) {
        match self.evicted.iter_mut().find(|(known, _)| *known == tenant) {
            Some((_, count)) => *count += 1,
            None => self.evicted.push((tenant, 1)),
        }
    }

    /// Hands over how many clients each tenant has lost since this was asked last.
    pub(super) fn take_evicted(&mut self, mut take: impl FnMut(&TenantId, u64)) {
        for (tenant, count) in self.evicted.drain(..) {
            take(&self.tenants[tenant as usize].id, count);
        }
    }

    /// The tenant that must evict one of its clients when no more fit on the machine, so that `tenant` can use `more`: one that uses more of
    /// its promise than this one will then, and the most, to an eighth; or this one itself.
    pub(super) fn payer(&mut self, tenant: u32, more: Bounds) -> u32 {
        let own = self.get(tenant);
        let own = own.measure(own.used.plus(more));
        let of = |number: &u32| self.tenants[*number as usize].used_of_promise();
        let most = self.usage.most(|number| of(&number));
        most.filter(|most| of(most) > own).unwrap_or(tenant)
    }

    /// The tenant that uses most of its promise, to an eighth.
    pub(super) fn most(&mut self) -> Option<u32> {
        self.usage.most(|number| self.tenants[number as usize].used_of_promise())
    }

    /// The rule of a tenant that uses most, to an eighth; `bytes` gives what a rule uses now.
    pub(super) fn most_of(&mut self, tenant: u32, bytes: impl Fn(u32) -> usize) -> Option<u32> {
        let Tenant { usage, rules, .. } = &mut self.tenants[tenant as usize];
        let place = usage.most(|place| bytes(rules[place as usize]))?;
        Some(rules[place as usize])
    }

    /// What `find` finds at one of the next `count` rules of a tenant. The next search begins there again, since it may have more.
    pub(super) fn search<T>(
        &mut self,
        tenant: u32,
        count: usize,
        find: impl Fn(u32) -> Option<T>,
    ) -> Option<T> {
        let Tenant { rules, searched, .. } = &mut self.tenants[tenant as usize];
        for _ in 0..rules.len().min(count) {
            let found = find(rules[*searched]);
            if found.is_some() {
                return found;
            }
            *searched = (*searched + 1) % rules.len();
        }
        None
    }

    fn number(&mut self, id: &TenantId) -> u32 {
        if let Some(number) = self.numbers.get(id) {
            return *number;
        }
        let number = self.removed.pop().unwrap_or_else(|| {
            self.tenants.push(Tenant::new(id.clone()));
            self.usage.add();
            u32::try_from(self.tenants.len() - 1).expect("there are fewer tenants")
        });
        self.tenants[number as usize] = Tenant::new(id.clone());
        self.numbers.insert(id.clone(), number);
        number
    }

    /// Promises each what it may have at most if there is enough for all, and else to all the same part of that.
    fn promise(&mut self) {
        let entries = self.promises(|bounds| bounds.entries);
        let bytes = self.promises(|bounds| bounds.bytes);
        for number in self.numbers.values() {
            let tenant = &mut self.tenants[*number as usize];
            tenant.promise = Promise { entries: entries.inverse(tenant), bytes: bytes.inverse(tenant) };
            self.usage.set(*number, tenant.used_of_promise());
        }
    }

    /// How one of the two bounds is divided.
    fn promises(&self, of: fn(Bounds) -> usize) -> Division {
        let ceiling = of(self.ceiling);
        let all = self.numbers.values().map(|number| self.tenants[*number as usize].bounds);
        let (mut sum, mut unbounded) = (0_usize, 0);
        for bounds in all {
            match bounds {
                Some(bounds) => sum = sum.saturating_add(of(bounds).min(ceiling)),
                None => unbounded += 1,
            }
        }
        let left = ceiling.saturating_sub(sum).max(ceiling / PART_OF_UNBOUNDED);
        let of_unbounded = left / unbounded.max(1);
        let total = sum.saturating_add(of_unbounded * unbounded).max(ceiling);
        Division { of, ceiling, of_unbounded, total }
    }
}

/// How the ceiling is divided.
struct Division {
    of: fn(Bounds) -> usize,
    ceiling: usize,
    /// What each tenant without bounds would get.
    of_unbounded: usize,
    /// What all would get together, at least the ceiling.
    total: usize,
}

impl Division {
    /// 2^64 divided by a tenant's promise.
    fn inverse(&self, tenant: &Tenant) -> u64 {
        let wanted = tenant.bounds.map_or(self.of_unbounded, |bounds| (self.of)(bounds).min(self.ceiling));
        let promise = wanted as u128 * self.ceiling as u128 / self.total.max(1) as u128;
        u64::MAX / u64::try_from(promise).unwrap_or(u64::MAX).max(1)
    }
}

impl Tenant {
    fn new(id: TenantId) -> Self {
        Self {
            id,
            bounds: None,
            promise: Promise::default(),
            used: Bounds::NOTHING,
            rules: Vec::new(),
            free: Vec::new(),
            usage: Usage::new(),
            searched: 0,
        }
    }

    /// Whether its own bounds allow so much more.
    pub(super) fn has_room(&self, more: Bounds) -> bool {
        self.bounds.is_none_or(|bounds| bounds.hold(self.used.plus(more)))
    }

    fn used_of_promise(&self) -> usize {
        self.measure(self.used)
    }

    /// How much of its promise that would be, of the entries or of the bytes, whichever is more: at least [`PROMISE`] if and only if it is
    /// beyond the promise.
    fn measure(&self, used: Bounds) -> usize {
        let part = |used: usize, inverse: u64| {
            let part = (used as u128 * u128::from(inverse)) >> (u64::BITS - PROMISE.trailing_zeros());
            usize::try_from(part).unwrap_or(usize::MAX)
        };
        part(used.entries, self.promise.entries).max(part(used.bytes, self.promise.bytes))
    }
}

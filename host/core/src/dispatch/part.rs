//! DispatchPart: which rules of one owner asked for a packet to a port. It knows nothing of other owners' rules, so these cost it nothing.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use super::Subscription;
use crate::interest::Watch;
use crate::knock::Transport;
use crate::tenant::TenantId;

/// Entries in all lists of one owner together, of 8 bytes each. A list belongs to a range of ports for which the same rules watch, and each
/// rule is in the lists of all ranges that it covers. So rules that overlap in many ways need many times as many entries as they have watches.
const MOST_OF_HOST: usize = 1 << 22;
/// The same of a tenant: 2 MiB. Besides these, what one owner watches takes at most 1 MiB more of a [`super::Dispatch`], however the ranges of
/// others cut its own into pieces: 8 bytes for each port of each transport.
const MOST_OF_TENANT: usize = 1 << 18;

/// What the rules of one owner asked for.
#[derive(Debug)]
pub struct DispatchPart {
    pub(super) subscriptions: Vec<Subscription>,
    /// For each transport, where another list begins, by port.
    pub(super) changes: [Vec<ListChange>; 4],
    /// All lists, one after the other. Each is there once.
    pub(super) entries: Vec<DispatchEntry>,
}

/// From a port on there is another list, until the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListChange {
    pub(super) port: u32,
    pub(super) list: ListSpan,
}

/// Where a list is among the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ListSpan {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// A rule, by its place, and the flags of a watch of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DispatchEntry {
    pub(super) rule: u32,
    pub(super) set: u8,
    pub(super) clear: u8,
}

/// The watches of one owner's rules overlap in too many ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyOverlaps {
    /// Entries that the owner may have.
    pub most: usize,
}

impl fmt::Display for TooManyOverlaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the ranges of ports that the rules here watch overlap in too many ways: for each range with other rules than the next there is a list of its rules, and these lists may have {} entries in all; watch fewer ports, or the same ones",
            self.most
        )
    }
}

impl std::error::Error for TooManyOverlaps {}

impl DispatchPart {
    /// What these rules of `owner` asked for. A rule's number is its place here.
    ///
    /// # Errors
    /// If their lists would be longer than an owner's may be. Rules of which some are left out, or that watch less, never need longer ones.
    ///
    /// # Panics
    /// With 2^32 rules or more.
    pub fn new(owner: &TenantId, subscriptions: Vec<Subscription>) -> Result<Self, TooManyOverlaps> {
        let mut lists = Lists::new(if owner.is_host() { MOST_OF_HOST } else { MOST_OF_TENANT });
        let mut changes = [const { Vec::new() }; 4];
        for transport in Transport::ALL {
            let watches = subscriptions.iter().enumerate().flat_map(|(rule, subscription)| {
                let rule = u32::try_from(rule).expect("fewer than 2^32 rules");
                subscription.interest.watches.iter().map(move |watch| (rule, *watch))
            });
            let of_transport = watches.filter(|(_, watch)| watch.transport == transport);
            changes[transport as usize] = lists.changes(of_transport)?;
        }
        Ok(Self { subscriptions, changes, entries: lists.entries })
    }
}

impl ListChange {
    /// The same where other lists come before all of these.
    pub(super) const fn moved(self, by: u32) -> Self {
        let ListSpan { start, end } = self.list;
        Self { port: self.port, list: ListSpan { start: start + by, end: end + by } }
    }
}

impl ListSpan {
    pub(super) const EMPTY: Self = Self { start: 0, end: 0 };

    /// What is there of `all`.
    pub(super) fn of<T>(self, all: &[T]) -> &[T] {
        &all[self.start as usize..self.end as usize]
    }

    pub(super) const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// The distinct lists.
struct Lists {
    most: usize,
    entries: Vec<DispatchEntry>,
    /// Each list by the sum of its entries' hashes, which follows from the one before without a look at the other entries.
    known: HashMap<u128, ListSpan>,
    /// Random, so that no rule can ask for two lists of the same sum.
    hashers: [RandomState; 2],
}

impl Lists {
    fn new(most: usize) -> Self {
        let hashers = [RandomState::new(), RandomState::new()];
        Self { most, entries: Vec::new(), known: HashMap::new(), hashers }
    }

    /// Sweeps over the ports at which something begins or ends; between two of them the list is the same.
    fn changes(
        &mut self,
        watches: impl Iterator<Item = (u32, Watch)>,
    ) -> Result<Vec<ListChange>, TooManyOverlaps> {
        let mut edges: Vec<(u32, bool, DispatchEntry)> = Vec::new();
        for (rule, watch) in watches {
            let entry = DispatchEntry { rule, set: watch.set.0, clear: watch.clear.0 };
            edges.push((u32::from(watch.first_port), true, entry));
            edges.push((u32::from(watch.last_port) + 1, false, entry));
        }
        // At one port ends come first: a watch that ends there and one that begins there are not both live.
        edges.sort_unstable();
        let mut changes = Vec::new();
        let mut live: HashMap<DispatchEntry, u32> = HashMap::new();
        let mut sorted: BTreeSet<DispatchEntry> = BTreeSet::new();
        let mut sum = 0_u128;
        let mut edges = edges.into_iter().peekable();
        while let Some((port, begins, entry)) = edges.next() {
            let count = live.entry(entry).or_insert(0);
            if begins {
                *count += 1;
                if sorted.insert(entry) {
                    sum = sum.wrapping_add(self.hash(entry));
                }
            } else {
                *count -= 1;
                if *count == 0 {
                    sorted.remove(&entry);
                    sum = sum.wrapping_sub(self.hash(entry));
                }
            }
            if edges.peek().is_none_or(|(next, ..)| *next > port) {
                changes.push(ListChange { port, list: self.list(&sorted, sum)? });
            }
        }
        Ok(changes)
    }

    fn list(&mut self, sorted: &BTreeSet<DispatchEntry>, sum: u128) -> Result<ListSpan, TooManyOverlaps> {
        if sorted.is_empty() {
            return Ok(ListSpan::EMPTY);
        }
        if let Some(list) = self.known.get(&sum) {
            return Ok(*list);
        }
        if self.entries.len() + sorted.len() > self.most {
            return Err(TooManyOverlaps { most: self.most });
        }
        let place =
            |entries: &Vec<_>| u32::try_from(entries.len()).expect("there are fewer than 2^23 entries");
        let start = place(&self.entries);
        self.entries.extend(sorted);
        let list = ListSpan { start, end: place(&self.entries) };
        self.known.insert(sum, list);
        Ok(list)
    }

    fn hash(&self, entry: DispatchEntry) -> u128 {
        let [high, low] = &self.hashers;
        u128::from(high.hash_one(entry)) << 64 | u128::from(low.hash_one(entry))
    }
}

//! Dispatch: which rules asked for this knock, in constant time.

mod part;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;
use std::sync::Arc;

use self::part::{DispatchEntry, ListChange, ListSpan};
pub use self::part::{DispatchPart, TooManyOverlaps};
use crate::interest::{Destination, Interest, Watch};
use crate::knock::{Detail, Direction, Knock, TcpFlags, Transport};

/// Port numbers.
const PORTS: usize = 1 << 16;

/// What one rule asked for, limited to what the host lets it see.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// What the module asked for.
    pub interest: Interest,
    /// Interfaces whose packets the rule may see; empty: all.
    pub interfaces: Vec<Arc<str>>,
    /// Whether it may also see packets that leave this machine; else it sees none of them.
    pub sees_outgoing: bool,
    /// Whether it sees packets to addresses of this machine alone, whatever its module asked for.
    pub is_local_only: bool,
}

/// An index from a packet's transport and port to the rules that asked for it.
///
/// A look-up costs the same whether there are 1 or 10,000 rules; it then touches only the rules that named the port. It is put together of a
/// part for each owner of rules, and no owner's part depends on what others watch: neither whether it fits nor what is found in it.
#[derive(Debug)]
pub struct Dispatch {
    subscriptions: Vec<Subscription>,
    /// For each of them, what [`Dispatch::scope`] says.
    scopes: Vec<u64>,
    /// For each transport, the place that each port leads to; no table if no rule watches the transport.
    tables: [Option<Box<[u32]>>; 4],
    /// For each place, where its lists are; the first has none.
    places: Vec<ListSpan>,
    /// The lists of all places: at each those of the owners who watch there, in their order.
    lists: Vec<ListSpan>,
    /// The lists of all owners, one after the other.
    entries: Vec<DispatchEntry>,
    detail: Detail,
}

impl Dispatch {
    /// The index of the rules of these owners. A rule's number is its place among all, those of the first owner first.
    ///
    /// # Panics
    /// With 2^32 rules or entries of all lists or more.
    #[must_use]
    pub fn new(parts: Vec<DispatchPart>) -> Self {
        let mut subscriptions = Vec::new();
        let mut entries: Vec<DispatchEntry> = Vec::new();
        let mut changes = [const { Vec::new() }; 4];
        for (owner, part) in parts.into_iter().enumerate() {
            let first_rule = number(subscriptions.len());
            let first_entry = number(entries.len());
            subscriptions.extend(part.subscriptions);
            entries.extend(
                part.entries
                    .into_iter()
                    .map(|entry| DispatchEntry { rule: first_rule + entry.rule, ..entry }),
            );
            for (all, own) in changes.iter_mut().zip(part.changes) {
                all.extend(own.into_iter().map(|change| (owner, change.moved(first_entry))));
            }
        }
        let mut places = Places::default();
        let tables = changes.map(|changes| places.table(changes));
        let Places { places, lists, .. } = places;
        let detail = subscriptions.iter().fold(Detail::LEAST, |all, s| all.or(s.interest.detail));
        let scopes = subscriptions.iter().map(Subscription::scope).collect();
        Self { subscriptions, scopes, tables, places, lists, entries, detail }
    }

    /// What any of the rules wants to see of a packet.
    #[must_use]
    pub const fn detail(&self) -> Detail {
        self.detail
    }

    /// All that is watched of packets that go this way, for the kernel's filter.
    pub fn watches(&self, direction: Direction) -> impl Iterator<Item = Watch> + '_ {
        let sees = move |s: &&Subscription| s.sees(direction);
        self.subscriptions.iter().filter(sees).flat_map(|s| s.interest.watches.iter().copied())
    }

    /// What a rule asked for.
    #[must_use]
    pub fn subscription(&self, rule: usize) -> &Subscription {
        &self.subscriptions[rule]
    }

    /// Names the interfaces that a rule sees: rules with the same ones, and no others, have the same number, also after a reload.
    #[must_use]
    pub fn scope(&self, rule: usize) -> u64 {
        self.scopes[rule]
    }

    /// The rules that asked for this knock, in the order of their numbers, each once; `is_local` tells this machine's addresses.
    pub fn wanted<'a>(
        &'a self,
        knock: &'a Knock,
        is_local: impl Fn(IpAddr) -> bool + 'a,
    ) -> impl Iterator<Item = usize> + 'a {
        let mut last = None;
        let entries = self.lists(knock).iter().flat_map(|list| list.of(&self.entries));
        entries.filter_map(move |entry| {
            let rule = entry.rule as usize;
            let flags_fit = knock.transport != Transport::Tcp
                || knock.tcp_flags.satisfy(TcpFlags(entry.set), TcpFlags(entry.clear));
            if last == Some(rule) || !flags_fit || !self.subscriptions[rule].admits(knock, &is_local) {
                return None;
            }
            last = Some(rule);
            last
        })
    }

    /// Whether a rule may see packets that go where this one goes and came where this one came, whatever their ports.
    #[must_use]
    pub fn admits(&self, rule: usize, knock: &Knock, is_local: impl Fn(IpAddr) -> bool) -> bool {
        self.subscriptions[rule].admits(knock, is_local)
    }

    /// Those of all owners who watch there.
    fn lists(&self, knock: &Knock) -> &[ListSpan] {
        let table = &self.tables[knock.transport as usize];
        let place = |table: &[u32]| self.places[table[usize::from(knock.destination_port)] as usize];
        table.as_ref().map_or(&[], |table| place(table).of(&self.lists))
    }
}

impl Subscription {
    fn sees(&self, direction: Direction) -> bool {
        direction == Direction::Incoming || self.sees_outgoing
    }

    fn scope(&self) -> u64 {
        if self.interfaces.is_empty() {
            return 0;
        }
        let mut interfaces: Vec<&str> = self.interfaces.iter().map(|name| &**name).collect();
        interfaces.sort_unstable();
        // Names are the operator's, so there is no need for a key.
        BuildHasherDefault::<DefaultHasher>::default().hash_one(interfaces)
    }

    fn admits(&self, knock: &Knock, is_local: impl Fn(IpAddr) -> bool) -> bool {
        self.sees(knock.direction)
            && (self.interfaces.is_empty() || self.interfaces.contains(&knock.interface))
            && match &self.interest.destination {
                Destination::Anywhere if !self.is_local_only => true,
                Destination::Within(_) if self.is_local_only && !is_local(knock.destination) => false,
                destination => destination.includes(knock.destination, is_local),
            }
    }
}

/// The distinct places to which ports lead.
struct Places {
    places: Vec<ListSpan>,
    lists: Vec<ListSpan>,
    known: HashMap<Box<[ListSpan]>, u32>,
}

impl Default for Places {
    fn default() -> Self {
        Self { places: vec![ListSpan::EMPTY], lists: Vec::new(), known: HashMap::from([(Box::default(), 0)]) }
    }
}

impl Places {
    /// Sweeps over the ports at which an owner's list changes; between two of them the place is the same.
    fn table(&mut self, mut changes: Vec<(usize, ListChange)>) -> Option<Box<[u32]>> {
        if changes.is_empty() {
            return None;
        }
        changes.sort_unstable_by_key(|(owner, change)| (change.port, *owner));
        let mut table = vec![0; PORTS].into_boxed_slice();
        let mut live: BTreeMap<usize, ListSpan> = BTreeMap::new();
        let mut changes = changes.into_iter().peekable();
        while let Some((owner, ListChange { port, list })) = changes.next() {
            if list.is_empty() {
                live.remove(&owner);
            } else {
                live.insert(owner, list);
            }
            let next = changes.peek().map_or(PORTS, |(_, next)| next.port as usize);
            if next > port as usize {
                table[port as usize..next].fill(self.place(&live));
            }
        }
        Some(table)
    }

    fn place(&mut self, live: &BTreeMap<usize, ListSpan>) -> u32 {
        let lists: Box<[ListSpan]> = live.values().copied().collect();
        if let Some(place) = self.known.get(&lists) {
            return *place;
        }
        let place = number(self.places.len());
        let start = number(self.lists.len());
        self.lists.extend(&lists);
        self.places.push(ListSpan { start, end: number(self.lists.len()) });
        self.known.insert(lists, place);
        place
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("each owner has fewer than 2^23 entries, and there are few owners")
}

#[cfg(test)]
mod tests;

//! Dispatch: which rules asked for this knock, in constant time.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;
use std::sync::Arc;

use crate::interest::{Destination, Interest, Watch};
use crate::knock::{Detail, Direction, Knock, TcpFlags, Transport};

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
/// A look-up costs the same whether there are 1 or 10,000 rules; it then touches only the rules that named the port.
#[derive(Debug)]
pub struct Dispatch {
    subscriptions: Vec<Subscription>,
    /// For each of them, what [`Dispatch::scope`] says.
    scopes: Vec<u64>,
    /// For each transport, the list that each port leads to; no table if no rule watches the transport.
    tables: [Option<Box<[u32]>>; 4],
    /// The distinct lists; the first is empty.
    lists: Vec<Box<[DispatchEntry]>>,
    detail: Detail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct DispatchEntry {
    rule: u32,
    set: u8,
    clear: u8,
}

/// Entries in all lists together. A list belongs to a range of ports for which the same rules watch, and each rule is in the lists of all
/// ranges that it covers. So rules that overlap in many ways need many times as many entries as they have watches.
const MAX_ENTRIES: usize = 1 << 22;

/// The rules' watches overlap in too many ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyOverlaps;

impl fmt::Display for TooManyOverlaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ranges of ports that all rules watch overlap in too many ways; watch fewer ports, or the same ones")
    }
}

impl std::error::Error for TooManyOverlaps {}

impl Dispatch {
    /// The index of these rules; a rule's number is its place here.
    ///
    /// # Errors
    /// If it would need more memory than makes sense.
    ///
    /// # Panics
    /// With 2^32 rules or more.
    pub fn new(subscriptions: Vec<Subscription>) -> Result<Self, TooManyOverlaps> {
        let mut lists: Vec<Box<[DispatchEntry]>> = vec![Box::default()];
        let mut known: HashMap<Box<[DispatchEntry]>, u32> = HashMap::from([(Box::default(), 0)]);
        let mut left = MAX_ENTRIES;
        let mut tables = [const { None }; 4];
        for transport in Transport::ALL {
            let watches: Vec<(u32, Watch)> = subscriptions
                .iter()
                .enumerate()
                .flat_map(|(rule, subscription)| {
                    let rule = u32::try_from(rule).expect("fewer than 2^32 rules");
                    subscription.interest.watches.iter().map(move |watch| (rule, *watch))
                })
                .filter(|(_, watch)| watch.transport == transport)
                .collect();
            tables[transport as usize] = table(&watches, &mut lists, &mut known, &mut left)?;
        }
        let detail = subscriptions.iter().fold(Detail::LEAST, |all, s| all.or(s.interest.detail));
        let scopes = subscriptions.iter().map(Subscription::scope).collect();
        Ok(Self { subscriptions, scopes, tables, lists, detail })
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

    /// The rules that asked for this knock, in order, each once; `is_local` tells this machine's addresses.
    pub fn wanted<'a>(
        &'a self,
        knock: &'a Knock,
        is_local: impl Fn(IpAddr) -> bool + 'a,
    ) -> impl Iterator<Item = usize> + 'a {
        let mut last = None;
        self.list(knock).iter().filter_map(move |entry| {
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

    fn list(&self, knock: &Knock) -> &[DispatchEntry] {
        let table = &self.tables[knock.transport as usize];
        table.as_ref().map_or(&[], |table| &self.lists[table[usize::from(knock.destination_port)] as usize])
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

/// Sweeps over the ports at which something begins or ends; between two of them the list is the same.
fn table(
    watches: &[(u32, Watch)],
    lists: &mut Vec<Box<[DispatchEntry]>>,
    known: &mut HashMap<Box<[DispatchEntry]>, u32>,
    left: &mut usize,
) -> Result<Option<Box<[u32]>>, TooManyOverlaps> {
    if watches.is_empty() {
        return Ok(None);
    }
    let mut edges: Vec<(u32, bool, DispatchEntry)> = Vec::with_capacity(2 * watches.len());
    for (rule, watch) in watches {
        let entry = DispatchEntry { rule: *rule, set: watch.set.0, clear: watch.clear.0 };
        edges.push((u32::from(watch.first_port), true, entry));
        edges.push((u32::from(watch.last_port) + 1, false, entry));
    }
    // At one port ends come first: a watch that ends there and one that begins there are not both live.
    edges.sort_unstable();
    let mut table = vec![0; 1 << 16].into_boxed_slice();
    let mut live: HashMap<DispatchEntry, u32> = HashMap::new();
    let mut sorted: BTreeSet<DispatchEntry> = BTreeSet::new();
    let mut edges = edges.into_iter().peekable();
    while let Some((port, begins, entry)) = edges.next() {
        let count = live.entry(entry).or_insert(0);
        if begins {
            *count += 1;
            sorted.insert(entry);
        } else {
            *count -= 1;
            if *count == 0 {
                sorted.remove(&entry);
            }
        }
        match edges.peek() {
            Some((next, ..)) if *next > port && !sorted.is_empty() => {
                let list: Box<[DispatchEntry]> = sorted.iter().copied().collect();
                let number = match known.get(&list) {
                    Some(number) => *number,
                    None => {
                        *left = left.checked_sub(list.len()).ok_or(TooManyOverlaps)?;
                        let number =
                            u32::try_from(lists.len()).expect("at most one list a port and transport");
                        lists.push(list.clone());
                        known.insert(list, number);
                        number
                    }
                };
                table[port as usize..*next as usize].fill(number);
            }
            _ => {}
        }
    }
    Ok(Some(table))
}

#[cfg(test)]
mod tests;

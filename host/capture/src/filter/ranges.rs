//! Ranges: what watches ask for, as sorted port ranges that do not overlap.

use std::collections::BTreeMap;

use postern_core::{Transport, Watch};

use super::TRANSPORTS;

/// More different requirements on the flags of one port than this are not tested in the kernel.
const MAX_TESTS: usize = 16;

/// For each transport, in the order of [`Transport::ALL`], sorted ranges with a gap or a difference between any two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    lists: [Vec<Range>; TRANSPORTS.len()],
    lost_flags: bool,
}

/// Ports that are wanted under the same conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    /// Any of these must hold; sorted. Without any, every packet is wanted.
    pub(super) tests: Vec<FlagTest>,
}

/// The flag byte of a TCP header, masked, must be this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlagTest {
    pub(super) mask: u8,
    pub(super) value: u8,
}

impl FlagTest {
    const NONE: Self = Self { mask: 0, value: 0 };

    /// Whether every packet that passes `other` passes this one as well.
    fn covers(self, other: Self) -> bool {
        self.mask & other.mask == self.mask && self.value == other.value & self.mask
    }
}

impl Ranges {
    pub(super) fn from_watches(watches: &[Watch]) -> Self {
        let mut ranges = Self::default();
        for (list, transport) in ranges.lists.iter_mut().zip(TRANSPORTS) {
            *list = sweep(transport, watches, &mut ranges.lost_flags);
        }
        ranges
    }

    /// Every port of every transport that is wanted at all.
    pub(super) fn everything(wanted: &Self) -> Self {
        let mut ranges = wanted.without_flags().widened(usize::MAX);
        for (list, transport) in ranges.lists.iter_mut().zip(TRANSPORTS) {
            for range in list {
                (range.first, range.last) = (0, last_port(transport));
            }
        }
        ranges
    }

    pub(super) fn of(&self, transport: Transport) -> &[Range] {
        TRANSPORTS.iter().position(|&known| known == transport).map_or(&[], |index| &self.lists[index])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lists.iter().all(Vec::is_empty)
    }

    /// Whether there were more requirements on flags than are kept.
    pub(super) fn lost_flags(&self) -> bool {
        self.lost_flags
    }

    /// Number of ports and message types, all transports together.
    pub(super) fn ports(&self) -> usize {
        self.lists.iter().flatten().map(|range| usize::from(range.last - range.first) + 1).sum()
    }

    /// Number of neighbours that could be joined.
    pub(super) fn gaps(&self) -> usize {
        self.lists.iter().map(|list| list.len().saturating_sub(1)).sum()
    }

    /// The same ranges without requirements on flags.
    pub(super) fn without_flags(&self) -> Self {
        let mut ranges = self.clone();
        for list in &mut ranges.lists {
            let mut kept: Vec<Range> = Vec::new();
            for range in list.drain(..) {
                push(&mut kept, Range { tests: Vec::new(), ..range });
            }
            *list = kept;
        }
        ranges
    }

    /// With so many of the nearest neighbours joined, and the ports between them.
    pub(super) fn widened(&self, joints: usize) -> Self {
        let mut distances: Vec<(u16, usize, usize)> = Vec::new();
        for (list, ranges) in self.lists.iter().enumerate() {
            for (index, pair) in ranges.windows(2).enumerate() {
                distances.push((pair[1].first - pair[0].last, list, index));
            }
        }
        distances.sort_unstable();
        distances.truncate(joints);
        let mut joined: Vec<(usize, usize)> =
            distances.into_iter().map(|(_, list, index)| (list, index)).collect();
        joined.sort_unstable();

        let mut ranges = Self { lists: Default::default(), lost_flags: self.lost_flags };
        for (number, list) in self.lists.iter().enumerate() {
            let kept = &mut ranges.lists[number];
            for (index, range) in list.iter().enumerate() {
                let join = index > 0 && joined.binary_search(&(number, index - 1)).is_ok();
                match kept.last_mut() {
                    Some(previous) if join => {
                        previous.last = range.last;
                        previous.tests = either(&previous.tests, &range.tests);
                    }
                    _ => kept.push(range.clone()),
                }
            }
        }
        ranges
    }
}

/// The highest port, or message type, of a transport.
const fn last_port(transport: Transport) -> u16 {
    match transport {
        Transport::Tcp | Transport::Udp => u16::MAX,
        Transport::Icmp | Transport::Icmpv6 => 255,
    }
}

/// Sweeps over the ports once, with the set of watches that ask for the current one.
fn sweep(transport: Transport, watches: &[Watch], lost_flags: &mut bool) -> Vec<Range> {
    let highest = last_port(transport);
    // What begins (+1) and ends (-1) at a port; ends are behind the last port, so one more bit is needed.
    let mut events: Vec<(u32, FlagTest, bool)> = Vec::new();
    for watch in watches.iter().filter(|watch| watch.transport == transport) {
        let test = flag_test(watch);
        let last = watch.last_port.min(highest);
        if let Some(test) = test
            && watch.first_port <= last
        {
            events.push((watch.first_port.into(), test, true));
            events.push((u32::from(last) + 1, test, false));
        }
    }
    events.sort_unstable();

    let mut list = Vec::new();
    let mut active: BTreeMap<FlagTest, usize> = BTreeMap::new();
    let mut from = 0;
    for (at, test, begins) in events {
        if at > from
            && !active.is_empty()
            && let (Ok(first), Ok(last)) = (u16::try_from(from), u16::try_from(at - 1))
        {
            push(&mut list, Range { first, last, tests: alternatives(active.keys().copied(), lost_flags) });
        }
        from = at;
        let count = active.entry(test).or_default();
        if begins {
            *count += 1;
        } else if *count > 1 {
            *count -= 1;
        } else {
            active.remove(&test);
        }
    }
    list
}

/// What a watch requires of the flag byte; none if nothing can satisfy it.
fn flag_test(watch: &Watch) -> Option<FlagTest> {
    if watch.transport != Transport::Tcp {
        return Some(FlagTest::NONE);
    }
    (watch.set.0 & watch.clear.0 == 0)
        .then_some(FlagTest { mask: watch.set.0 | watch.clear.0, value: watch.set.0 })
}

/// The tests without those that another one covers; empty if one of them passes everything.
fn alternatives(tests: impl Iterator<Item = FlagTest>, lost: &mut bool) -> Vec<FlagTest> {
    let mut kept: Vec<FlagTest> = Vec::new();
    for test in tests {
        if kept.iter().any(|other| other.covers(test)) {
            continue;
        }
        kept.retain(|other| !test.covers(*other));
        kept.push(test);
        if kept.len() > MAX_TESTS {
            *lost = true;
            return Vec::new();
        }
    }
    if kept == [FlagTest::NONE] {
        kept.clear();
    }
    kept.sort_unstable();
    kept
}

/// What lets through everything that one of two lists of tests does.
fn either(one: &[FlagTest], other: &[FlagTest]) -> Vec<FlagTest> {
    if one.is_empty() || other.is_empty() {
        return Vec::new();
    }
    // Whether tests were lost does not matter here: a filter with joined ranges counts as widened anyway.
    alternatives(one.iter().chain(other).copied(), &mut false)
}

/// Appends a range, or extends the last one if nothing is between them and their tests are the same.
fn push(list: &mut Vec<Range>, range: Range) {
    match list.last_mut() {
        Some(last) if last.last.checked_add(1) == Some(range.first) && last.tests == range.tests => {
            last.last = range.last;
        }
        _ => list.push(range),
    }
}

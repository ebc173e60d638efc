//! Sets: what is in the sets and maps of a ruleset, read when a rule asks for it.

use std::collections::BTreeMap;

use netlink_packet_netfilter::nftables::{NfTablesMessage, SetFlags};
use postern_core::{Family, SetName};

use crate::attributes::{all, find, find_u32};
use crate::elements;
use crate::error::DoormanError;
use crate::socket::Socket;
use crate::table::set_question;

use super::rule::{RuleVerdict, verdict};

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
const NFT_SET_ELEM_CATCHALL: u32 = 2;
const NFTA_DATA_VALUE: u16 = 1;

/// What one set holds.
#[derive(Clone, Debug, Default)]
pub(super) struct SetContents {
    /// Bytes of a key.
    pub(super) key_length: usize,
    /// From and to, both included, and where that leads if it is a map of verdicts.
    pub(super) ranges: Vec<(Vec<u8>, Vec<u8>, Option<RuleVerdict>)>,
    /// Where all else leads.
    pub(super) catch_all: Option<Option<RuleVerdict>>,
    /// Whether keys have several fields, each with a range of its own.
    is_concatenated: bool,
}

/// Whoever can say what sets hold.
pub(super) trait Sets {
    /// What this set holds; none if there is none.
    fn contents(&mut self, set: &SetName) -> Result<Option<&SetContents>, DoormanError>;
}

/// The kernel's.
pub(super) struct KernelSets {
    socket: Socket,
    known: BTreeMap<SetName, Option<SetContents>>,
}

impl KernelSets {
    pub(super) const fn new(socket: Socket) -> Self {
        Self { socket, known: BTreeMap::new() }
    }

    fn read(&mut self, set: &SetName) -> Result<Option<SetContents>, DoormanError> {
        let unreachable = |errno: rustix::io::Errno| DoormanError::Unreachable(errno.into());
        let facts = |attributes: &[u8]| {
            let flags = find_u32(attributes, NFTA_SET_FLAGS).unwrap_or_default();
            (SetFlags::from_bits_retain(flags), find_u32(attributes, NFTA_SET_KEY_LEN).unwrap_or_default())
        };
        let found = self.socket.ask(set.family, set_question(set), facts).map_err(unreachable)?;
        let Some((flags, key_length)) = found else { return Ok(None) };
        let question: NfTablesMessage = elements::list(set);
        let listed = self.socket.list(set.family, &question, read_elements).map_err(unreachable)?;
        Ok(Some(SetContents::of(flags, key_length as usize, listed)))
    }
}

impl Sets for KernelSets {
    fn contents(&mut self, set: &SetName) -> Result<Option<&SetContents>, DoormanError> {
        if !self.known.contains_key(set) {
            let contents = self.read(set)?;
            self.known.insert(set.clone(), contents);
        }
        Ok(self.known.get(set).and_then(Option::as_ref))
    }
}

/// An element of a set or a map.
struct SetElement {
    key: Option<Vec<u8>>,
    key_end: Option<Vec<u8>>,
    leads_to: Option<RuleVerdict>,
    flags: u32,
}

fn read_elements(attributes: &[u8], into: &mut Vec<SetElement>) {
    let list = find(attributes, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
    for (_, element) in all(list).filter(|(kind, _)| *kind == NFTA_LIST_ELEM) {
        let value = |kind| Some(find(find(element, kind)?, NFTA_DATA_VALUE)?.to_vec());
        into.push(SetElement {
            key: value(NFTA_SET_ELEM_KEY),
            key_end: value(NFTA_SET_ELEM_KEY_END),
            leads_to: find(element, NFTA_SET_ELEM_DATA).and_then(verdict),
            flags: find_u32(element, NFTA_SET_ELEM_FLAGS).unwrap_or_default(),
        });
    }
}

impl SetContents {
    fn of(flags: SetFlags, key_length: usize, listed: Vec<SetElement>) -> Self {
        let is_concatenated = listed.iter().any(|element| element.key_end.is_some());
        let mut contents = Self { key_length, is_concatenated, ..Self::default() };
        let (ends, begins): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|element| element.flags & NFT_SET_ELEM_INTERVAL_END != 0);
        let mut ends: Vec<_> = ends.into_iter().filter_map(|element| element.key).collect();
        ends.sort();
        for SetElement { key, key_end, leads_to, flags: element } in begins {
            if element & NFT_SET_ELEM_CATCHALL != 0 {
                contents.catch_all = Some(leads_to);
                continue;
            }
            let Some(key) = key else { continue };
            let last = match key_end {
                Some(end) => end,
                // Intervals are two elements; the second one is the first key behind it.
                None if flags.contains(SetFlags::Interval) => {
                    // Lists of networks to be kept out have a hundred thousand of them.
                    let end = ends.get(ends.partition_point(|end| *end <= key));
                    end.map_or_else(|| vec![u8::MAX; key.len()], |end| before(end))
                }
                None => key.clone(),
            };
            contents.ranges.push((key, last, leads_to));
        }
        contents
    }

    /// Whether a key is in this range.
    pub(super) fn is_in(&self, key: &[u8], first: &[u8], last: &[u8]) -> bool {
        if !self.is_concatenated {
            return first <= key && key <= last;
        }
        // Fields are filled up to four bytes, and compared each by itself; longer ones of several words are rarely ranges.
        let fields = key.chunks(4).zip(first.chunks(4).zip(last.chunks(4)));
        fields.into_iter().all(|(key, (first, last))| first <= key && key <= last)
    }
}

/// The key before this one.
fn before(key: &[u8]) -> Vec<u8> {
    let mut before = key.to_vec();
    for byte in before.iter_mut().rev() {
        let (less, borrows) = byte.overflowing_sub(1);
        *byte = less;
        if !borrows {
            break;
        }
    }
    before
}

/// The name of a set that a rule of this table asks.
pub(super) fn set_of(family: Family, table: &str, name: &str) -> SetName {
    SetName { family, table: table.to_owned(), name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_long_list_of_networks_is_read_in_no_time() {
        let element = |key: u32, flags| SetElement {
            key: Some(key.to_be_bytes().to_vec()),
            key_end: None,
            leads_to: None,
            flags,
        };
        let listed = (0..200_000_u32)
            .flat_map(|n| [element(n * 256, 0), element(n * 256 + 128, NFT_SET_ELEM_INTERVAL_END)]);
        let (listed, begun) = (listed.collect(), Instant::now());
        let contents = SetContents::of(SetFlags::Interval, 4, listed);
        // Each looked for among all takes minutes.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let last = contents.ranges.last().map(|(from, to, _)| (from.clone(), to.clone()));
        let number = |number: u32| number.to_be_bytes().to_vec();
        assert_eq!(last, Some((number(199_999 * 256), number(199_999 * 256 + 127))));
    }

    #[test]
    fn an_interval_ends_before_the_next_element() {
        let element = |key: [u8; 2], flags| SetElement {
            key: Some(key.to_vec()),
            key_end: None,
            leads_to: None,
            flags,
        };
        // As nft writes { 22, 1000-1999, 65000-65535 }.
        let end = NFT_SET_ELEM_INTERVAL_END;
        let listed = vec![
            element([0, 0], end),
            element([0, 22], 0),
            element([0, 23], end),
            element([3, 232], 0),
            element([7, 208], end),
            element([253, 232], 0),
        ];
        let contents = SetContents::of(SetFlags::Interval, 2, listed);
        let ranges: Vec<_> = contents.ranges.iter().map(|(from, to, _)| (from.clone(), to.clone())).collect();
        let expected = [([0, 22], [0, 22]), ([3, 232], [7, 207]), ([253, 232], [255, 255])]
            .map(|(from, to)| (from.to_vec(), to.to_vec()));
        assert_eq!(ranges, expected);
    }
}

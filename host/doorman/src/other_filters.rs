//! OtherFilters: what the ruleset of others would do with a packet, Postern's own table aside. It reads the ruleset and changes nothing.
//!
//! nftables asks every base chain of a hook, and a drop in one is final: an accept in `inet postern` does not open a port that another
//! program's chain drops. What a rule asks of a packet that is not known here, such as its source address, leaves it open whether the rule
//! applies; an [`Obstacle`] says so.

mod bits;
mod first_packet;
mod hook;
mod loads;
mod rates;
mod registers;
mod rule;
mod sets;
mod walk;
mod xt;

use std::collections::BTreeMap;

use netlink_packet_netfilter::nftables::{NfTablesMessage, RuleMessage, TableFlags};
use postern_core::{Family, SetName};

use crate::attributes::{find, find_text, find_u32};
use crate::error::DoormanError;
use crate::inventory::find_table_of;
use crate::socket::Socket;
use crate::table::{TABLE, chains_question};

pub use first_packet::FirstPacket;
use hook::Hook;
use sets::{KernelSets, Sets};
use walk::{ChainEnd, ChainWalk};

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
// include/uapi/linux/netfilter.h
const NF_DROP: u32 = 0;

/// The ruleset of one moment, without the table `inet postern`.
pub struct OtherFilters {
    tables: FilterTables,
    sets: KernelSets,
}

/// A chain that does not let a packet through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Obstacle {
    /// Family, table and chain, as nft writes them: `inet filter input`.
    pub chain: String,
    /// Whether the sender gets an answer that says so.
    pub is_rejected: bool,
    /// Whether that is the chain's policy, and no rule's doing.
    pub is_policy: bool,
    /// Whether what it stops is not the first packet, but the answer to it.
    pub is_answer: bool,
    /// Whether no rule could let it through. If one could, that depends on what is not known here, such as the source address.
    pub is_certain: bool,
}

/// The chains of each table.
type FilterTables = BTreeMap<(Family, String), BTreeMap<String, FilterChain>>;

/// A chain of another program.
#[derive(Debug, Default)]
struct FilterChain {
    /// None if only other chains lead to it.
    base: Option<Base>,
    /// The expressions of each rule.
    rules: Vec<Vec<u8>>,
}

/// Where a chain is asked.
#[derive(Clone, Copy, Debug)]
struct Base {
    hook: Hook,
    priority: i32,
    drops: bool,
}

impl OtherFilters {
    /// Reads it.
    ///
    /// # Errors
    /// If nftables cannot be reached, or the ruleset changes faster than it can be read.
    pub fn read() -> Result<Self, DoormanError> {
        let mut socket = Socket::open().map_err(DoormanError::Unreachable)?;
        let mut tables = FilterTables::new();
        for family in [Family::Inet, Family::Ip, Family::Ip6] {
            read_family(&mut socket, family, &mut tables)?;
        }
        Ok(Self { tables, sets: KernelSets::new(socket) })
    }

    /// The chains that do not let this packet through, or the answer to it, in the order of their names; a chain that stops both is named once.
    ///
    /// # Errors
    /// If a set cannot be read.
    pub fn obstacles(&mut self, packet: &FirstPacket) -> Result<Vec<Obstacle>, DoormanError> {
        obstacles(&self.tables, &mut self.sets, packet)
    }

    /// Whether a rule asks whether a packet is in this set, or may: a map of verdicts counts as well.
    #[must_use]
    pub fn asks(&self, set: &SetName) -> bool {
        let table = self.tables.get(&(set.family, set.table.clone()));
        let mut rules = table.into_iter().flat_map(BTreeMap::values).flat_map(|chain| &chain.rules);
        rules.any(|expressions| rule::asks(expressions, &set.name))
    }

    /// Whether there is a chain whose name begins so: how the programs are known that write rules.
    #[must_use]
    pub fn has_chain(&self, beginning: &str) -> bool {
        self.tables.values().flat_map(BTreeMap::keys).any(|name| name.starts_with(beginning))
    }
}

fn obstacles(
    tables: &FilterTables,
    sets: &mut dyn Sets,
    packet: &FirstPacket,
) -> Result<Vec<Obstacle>, DoormanError> {
    let mut found = Vec::new();
    for ((family, table), chains) in tables {
        let is_asked = match family {
            Family::Inet => true,
            Family::Ip => !packet.is_ipv6,
            Family::Ip6 => packet.is_ipv6,
        };
        for (name, chain) in chains.iter().filter(|_| is_asked) {
            let Some(Base { hook, priority, drops }) = chain.base else { continue };
            let both = [packet.headers(hook, priority), packet.answer(hook, priority)];
            for headers in both.into_iter().flatten() {
                let mut walk = ChainWalk::new(*family, table, chains, &headers, &mut *sets);
                let passage = walk.pass(name)?;
                let (is_rejected, is_policy) = match passage.end {
                    ChainEnd::Accepted => continue,
                    ChainEnd::Through if !drops => continue,
                    ChainEnd::Through => (false, true),
                    ChainEnd::Dropped => (false, false),
                    ChainEnd::Rejected => (true, false),
                };
                found.push(Obstacle {
                    chain: format!("{family} {table} {name}"),
                    is_rejected,
                    is_policy,
                    is_answer: headers.is_answer,
                    is_certain: !passage.may_be_accepted,
                });
                break;
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read_family(socket: &mut Socket, family: Family, tables: &mut FilterTables) -> Result<(), DoormanError> {
    let unreachable = |errno: rustix::io::Errno| DoormanError::Unreachable(errno.into());
    let is_ours = |table: &str| family == Family::Inet && table == TABLE;
    let chains = socket.list(family, &chains_question(), |attributes, list: &mut Vec<_>| {
        list.extend(read_chain(attributes));
    });
    let mut dormant: BTreeMap<String, bool> = BTreeMap::new();
    for (table, name, base) in chains.map_err(unreachable)? {
        if is_ours(&table) {
            continue;
        }
        if !dormant.contains_key(&table) {
            let found = find_table_of(socket, family, &table).map_err(unreachable)?;
            let is_dormant = found.is_none_or(|found| found.flags.contains(TableFlags::Dormant));
            dormant.insert(table.clone(), is_dormant);
        }
        if dormant.get(&table) == Some(&false) {
            let chains = tables.entry((family, table)).or_default();
            chains.insert(name, FilterChain { base, rules: Vec::new() });
        }
    }
    let all = NfTablesMessage::GetRule(RuleMessage { attributes: Vec::new() });
    let rules = socket.list(family, &all, |attributes, list: &mut Vec<_>| {
        let place = find_text(attributes, NFTA_RULE_TABLE).zip(find_text(attributes, NFTA_RULE_CHAIN));
        let expressions = find(attributes, NFTA_RULE_EXPRESSIONS).unwrap_or_default().to_vec();
        list.extend(place.map(|(table, chain)| (table, chain, expressions)));
    });
    for (table, chain, expressions) in rules.map_err(unreachable)? {
        let chains = tables.get_mut(&(family, table));
        if let Some(chain) = chains.and_then(|chains| chains.get_mut(&chain)) {
            chain.rules.push(expressions);
        }
    }
    Ok(())
}

/// A chain's table and name, and where it is asked.
fn read_chain(attributes: &[u8]) -> Option<(String, String, Option<Base>)> {
    let (table, name) = (find_text(attributes, NFTA_CHAIN_TABLE)?, find_text(attributes, NFTA_CHAIN_NAME)?);
    // One of type `route` is asked about what this machine sends.
    let is_asked =
        find_text(attributes, NFTA_CHAIN_TYPE).is_some_and(|kind| kind == "filter" || kind == "route");
    let base = find(attributes, NFTA_CHAIN_HOOK).filter(|_| is_asked).and_then(|hook| {
        Some(Base {
            hook: Hook::from_number(find_u32(hook, NFTA_HOOK_HOOKNUM)?)?,
            priority: find_u32(hook, NFTA_HOOK_PRIORITY)?.cast_signed(),
            drops: find_u32(attributes, NFTA_CHAIN_POLICY) == Some(NF_DROP),
        })
    });
    Some((table, name, base))
}

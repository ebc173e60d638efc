//! DoorChain: what the table holds of one guard door, as messages: its chain, and the sets of those it is open for.
//!
//! A door has a set of IPv4 addresses, one of IPv6 addresses, one of link-local addresses with their interfaces, and one for each
//! width of prefix that it may be opened for. One element of one of them opens all of its ports.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, Register, SetAttribute, SetDescription,
    SetElementAttribute, SetElementFlags, SetElementList, SetElementMessage, SetFlags,
};
use postern_core::{Client, GuardDoor, OnClose, Trusted};

use crate::batch::Batch;
use crate::counter;
use crate::door_set::DoorSet;
use crate::elements::{PER_MESSAGE, address_key, interface_key};
use crate::expressions::{
    Expression, FIRST, NFPROTO_IPV4, NFPROTO_IPV6, accept, count, drop, established, is_in, is_in_nameless,
    load_interface, load_source, mask, of_version,
};
use crate::table::{TABLE, add_chain, add_rule, add_set, delete_set, empty_chain, push, set_name};

/// The prefix of the names of doors' chains and sets; no other name in the table has it.
pub(crate) const PREFIX: &str = "door.";

/// The chain of ports that stay closed although their door is gone. No door can have this name.
pub(crate) const HELD: &str = "door..held";

// Types of fields as nft numbers them, six bits each in a concatenation; the kernel keeps them for nft to show.
const IPV4_ADDR: u32 = 7;
const IPV6_ADDR: u32 = 8;
const IFNAME: u32 = 41;

// Bytes of keys.
const IPV4_KEY: usize = 4;
const IPV6_KEY: usize = 16;
const INTERFACE_KEY: usize = 16;

/// The pattern from which the kernel makes a name for an anonymous set.
const NAMELESS: &str = "__set%d";

/// The sets of a door.
pub(crate) struct DoorChain {
    v4: DoorSet,
    v6: DoorSet,
    link: DoorSet,
    /// For prefixes: whether of IPv4, the length in bits, and the set.
    prefixes: Vec<(bool, u8, DoorSet)>,
}

/// How a set is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetForm {
    /// Its elements count.
    Counted,
    /// They do not.
    Plain,
    /// It is there and does not count; one that does takes its place.
    Remade,
}

/// The name of a door's chain.
pub(crate) fn chain_name(door: &str) -> String {
    format!("{PREFIX}{door}")
}

impl DoorChain {
    pub(crate) fn new(door: &GuardDoor) -> Self {
        let set = |suffix: &str, key_length| {
            DoorSet::new(set_name(format!("{PREFIX}{}.{suffix}", door.name)), key_length)
        };
        let prefixes = door.prefixes.iter().map(|width| match (!width.is_ipv6(), width.length()) {
            (true, length) => (true, length, set(&format!("ip/{length}"), IPV4_KEY)),
            (false, length) => (false, length, set(&format!("ip6/{length}"), IPV6_KEY)),
        });
        Self {
            v4: set("ip", IPV4_KEY),
            v6: set("ip6", IPV6_KEY),
            link: set("link", INTERFACE_KEY + IPV6_KEY),
            prefixes: prefixes.collect(),
        }
    }

    /// The set for clients of this kind; none if the door cannot be opened for such.
    pub(crate) fn set_for(&self, client: &Client) -> Option<&DoorSet> {
        match (client.address(), client.is_single()) {
            (IpAddr::V4(_), true) => Some(&self.v4),
            (IpAddr::V6(_), true) if client.link() != 0 => Some(&self.link),
            (IpAddr::V6(_), true) => Some(&self.v6),
            (address, false) => {
                let wanted = (address.is_ipv4(), client.width());
                self.prefixes
                    .iter()
                    .find(|(is_v4, length, _)| (*is_v4, *length) == wanted)
                    .map(|(.., set)| set)
            }
        }
    }

    /// The sets that may let in a single address, each with the client to look up there.
    pub(crate) fn sets_around(&self, client: &Client) -> Vec<(&DoorSet, Client)> {
        let alone = self.set_for(client).map(|set| (set, *client));
        let around = self.prefixes.iter().filter_map(|(is_v4, length, set)| {
            let network = IpNet::new(client.address(), *length).ok()?;
            (client.address().is_ipv4() == *is_v4).then(|| (set, Client::prefix(network.trunc())))
        });
        alone.into_iter().chain(around).collect()
    }

    /// All its sets, each with the length of its prefixes (none for single addresses) and whether its keys begin with an interface.
    pub(crate) fn sets(&self) -> impl Iterator<Item = (&DoorSet, Option<u8>, bool)> {
        let single = [(&self.v4, None, false), (&self.v6, None, false), (&self.link, None, true)];
        single.into_iter().chain(self.prefixes.iter().map(|(_, length, set)| (set, Some(*length), false)))
    }

    /// Writes the chain and its sets. Existing sets keep their openings, but for those that are made anew; the rules are replaced. `next_id` counts
    /// the sets of the batch.
    pub(crate) fn write(
        &self,
        batch: &mut Batch,
        door: &GuardDoor,
        next_id: &mut u32,
        form: impl Fn(&str) -> SetForm,
    ) {
        // First, as a set that rules look up cannot be deleted.
        let chain = chain_name(&door.name);
        add_chain(batch, &chain);
        empty_chain(batch, &chain);
        let mut add = |set: &DoorSet, key_type, key_length| {
            let (name, mut more) = (&set.name.name, key(key_type, key_length, SetFlags::Timeout));
            let form = form(name);
            if form == SetForm::Remade {
                delete_set(batch, name);
            }
            if form != SetForm::Plain {
                more.push(counter::declaration());
            }
            *next_id += 1;
            add_set(batch, name, *next_id, more);
        };
        add(&self.v4, IPV4_ADDR, IPV4_KEY);
        add(&self.v6, IPV6_ADDR, IPV6_KEY);
        add(&self.link, IFNAME << 6 | IPV6_ADDR, INTERFACE_KEY + IPV6_KEY);
        for (is_v4, _, set) in &self.prefixes {
            match is_v4 {
                true => add(set, IPV4_ADDR, IPV4_KEY),
                false => add(set, IPV6_ADDR, IPV6_KEY),
            }
        }
        for rule in self.rules(door) {
            let mut instructions = rule.before;
            if let Some(nameless) = rule.nameless {
                *next_id += 1;
                nameless.write(batch, *next_id);
                instructions.push(is_in_nameless(NAMELESS, *next_id));
            }
            instructions.extend(rule.after);
            add_rule(batch, &chain, instructions);
        }
    }

    /// The rules, in order.
    pub(crate) fn rules(&self, door: &GuardDoor) -> Vec<ChainRule> {
        let mut rules: Vec<_> = Nameless::all_of(&door.always).collect();
        let is_from = |is_v4: bool, length: Option<u8>, set: &DoorSet| {
            let mut instructions = source(is_v4);
            let bits = if is_v4 { 32 } else { 128 };
            instructions.extend(length.map(|length| mask(mask_bytes(length, bits))));
            instructions.extend([is_in(&set.name.name), accept()]);
            ChainRule::plain(instructions)
        };
        rules.push(is_from(true, None, &self.v4));
        rules.push(is_from(false, None, &self.v6));
        rules.extend(self.prefixes.iter().map(|(is_v4, length, set)| is_from(*is_v4, Some(*length), set)));
        let mut link = of_version(NFPROTO_IPV6).to_vec();
        link.extend([load_interface(), load_source(8, 16, Register::Reg2)]);
        link.extend([is_in(&self.link.name.name), accept()]);
        rules.push(ChainRule::plain(link));
        if door.on_close == OnClose::Keep {
            rules.push(ChainRule::plain([&established()[..], &[accept()]].concat()));
        }
        rules.push(ChainRule::plain(vec![count(), drop()]));
        rules
    }
}

/// Writes the chain of ports whose door is gone: established connections pass, everything else is dropped.
pub(crate) fn write_held(batch: &mut Batch) {
    add_chain(batch, HELD);
    empty_chain(batch, HELD);
    add_rule(batch, HELD, [&established()[..], &[accept()]].concat());
    add_rule(batch, HELD, vec![count(), drop()]);
}

/// A rule, which may look up an anonymous set of its own.
pub(crate) struct ChainRule {
    before: Vec<Expression>,
    nameless: Option<Nameless>,
    after: Vec<Expression>,
}

impl ChainRule {
    fn plain(instructions: Vec<Expression>) -> Self {
        Self { before: instructions, nameless: None, after: Vec::new() }
    }
}

/// An anonymous set, which the kernel removes with its rule.
struct Nameless {
    key_type: u32,
    key_length: usize,
    flags: SetFlags,
    /// Keys, and whether each is the first one behind an interval rather than the first one in it.
    elements: Vec<(Vec<u8>, bool)>,
}

impl Nameless {
    /// The rules that accept trusted sources without a knock.
    fn all_of(always: &[Trusted]) -> impl Iterator<Item = ChainRule> {
        let networks = |is_v4: bool| {
            let networks = always.iter().filter_map(move |trusted| match trusted {
                Trusted::Network(network) if network.addr().is_ipv4() == is_v4 => Some(*network),
                _ => None,
            });
            let (key_type, key_length) = if is_v4 { (IPV4_ADDR, IPV4_KEY) } else { (IPV6_ADDR, IPV6_KEY) };
            let elements = intervals(networks, key_length);
            (source(is_v4), Self { key_type, key_length, flags: SetFlags::Interval, elements })
        };
        let names = always.iter().filter_map(|trusted| match trusted {
            Trusted::Interface(name) => Some((interface_key(name), false)),
            Trusted::Network(_) => None,
        });
        let (key_type, key_length) = (IFNAME, INTERFACE_KEY);
        let interfaces = Self { key_type, key_length, flags: SetFlags::empty(), elements: names.collect() };
        [networks(true), networks(false), (vec![load_interface()], interfaces)]
            .into_iter()
            .filter(|(_, nameless)| !nameless.elements.is_empty())
            .map(|(before, nameless)| ChainRule { before, nameless: Some(nameless), after: vec![accept()] })
    }

    fn write(&self, batch: &mut Batch, id: u32) {
        let Self { key_type, key_length, flags, elements } = self;
        let flags = *flags | SetFlags::Anonymous | SetFlags::Constant;
        let mut more = key(*key_type, *key_length, flags);
        let size = u32::try_from(elements.len()).unwrap_or(u32::MAX);
        more.push(SetAttribute::Description(vec![SetDescription::Size(size)]));
        add_set(batch, NAMELESS, id, more);
        let element = |(key, is_end): &(Vec<u8>, bool)| {
            let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(key.clone()))];
            if *is_end {
                attributes.push(SetElementAttribute::Flags(SetElementFlags::IntervalEnd));
            }
            ListAttribute::Element(attributes)
        };
        for some in elements.chunks(PER_MESSAGE) {
            let attributes = vec![
                SetElementList::Table(TABLE.to_owned()),
                SetElementList::Set(NAMELESS.to_owned()),
                SetElementList::SetId(id),
                SetElementList::Elements(some.iter().map(element).collect()),
            ];
            push(batch, NLM_F_CREATE, NfTablesMessage::NewSetElement(SetElementMessage { attributes }));
        }
    }
}

/// Puts the source address of packets of this version into the first registers.
fn source(is_v4: bool) -> Vec<Expression> {
    let (version, offset, length) = if is_v4 { (NFPROTO_IPV4, 12, 4) } else { (NFPROTO_IPV6, 8, 16) };
    let mut instructions = of_version(version).to_vec();
    instructions.push(load_source(offset, length, FIRST));
    instructions
}

fn key(key_type: u32, key_length: usize, flags: SetFlags) -> Vec<SetAttribute> {
    let key_length = u32::try_from(key_length).unwrap_or(u32::MAX);
    vec![SetAttribute::Flags(flags), SetAttribute::KeyType(key_type), SetAttribute::KeyLen(key_length)]
}

/// The bytes of a mask of `length` ones, at least 1, among `bits` bits.
fn mask_bytes(length: u8, bits: u8) -> Vec<u8> {
    let ones = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    ones.to_be_bytes()[..usize::from(bits / 8)].to_vec()
}

/// Networks as the kernel wants intervals: disjoint and in order, each as its first address and the first one behind it.
fn intervals(networks: impl Iterator<Item = IpNet>, key_length: usize) -> Vec<(Vec<u8>, bool)> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    let highest = u128::MAX >> (128 - 8 * key_length);
    let bytes = |number: u128| number.to_be_bytes()[16 - key_length..].to_vec();
    let mut spans: Vec<_> =
        networks.map(|network| (number(network.network()), number(network.broadcast()))).collect();
    spans.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(spans.len());
    for (first, last) in spans {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    let mut elements = Vec::with_capacity(2 * merged.len() + 1);
    // The gap below the first interval is an end element at 0, as nft writes it.
    if merged.first().is_some_and(|(first, _)| *first > 0) {
        elements.push((bytes(0), true));
    }
    for (first, last) in merged {
        elements.push((bytes(first), false));
        if last < highest {
            elements.push((bytes(last + 1), true));
        }
    }
    elements
}

/// The key of a client in the set that is for it; none if its link has no name.
pub(crate) fn client_key(client: &Client, name_of_link: impl Fn(u32) -> Option<String>) -> Option<Vec<u8>> {
    let mut key = match client.link() {
        0 => Vec::new(),
        link => interface_key(&name_of_link(link)?),
    };
    key.extend(address_key(client.address()));
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        assert_eq!(mask_bytes(24, 32), [255, 255, 255, 0]);
        assert_eq!(mask_bytes(25, 32), [255, 255, 255, 128]);
        assert_eq!(mask_bytes(7, 32), [254, 0, 0, 0]);
        assert_eq!(mask_bytes(31, 32), [255, 255, 255, 254]);
        let mut half = vec![255; 8];
        half.extend([0; 8]);
        assert_eq!(mask_bytes(64, 128), half);
    }

    #[test]
    fn networks_become_intervals_that_neither_meet_nor_overlap() {
        let check = |networks: &[&str], expected: &[(&str, bool)]| {
            let networks = networks.iter().map(|network| network.parse().unwrap());
            let shown: Vec<_> = intervals(networks, 4)
                .into_iter()
                .map(|(key, end)| (IpAddr::from(<[u8; 4]>::try_from(key).unwrap()).to_string(), end))
                .collect();
            let shown: Vec<_> = shown.iter().map(|(key, end)| (key.as_str(), *end)).collect();
            assert_eq!(shown, expected);
        };
        check(&[], &[]);
        check(&["10.0.0.0/8"], &[("0.0.0.0", true), ("10.0.0.0", false), ("11.0.0.0", true)]);
        check(
            &["11.0.0.0/24", "10.1.0.0/16", "10.0.0.0/8", "192.0.2.7/32"],
            &[
                ("0.0.0.0", true),
                ("10.0.0.0", false),
                ("11.0.1.0", true),
                ("192.0.2.7", false),
                ("192.0.2.8", true),
            ],
        );
        check(&["0.0.0.0/0"], &[("0.0.0.0", false)]);
        check(&["255.255.255.255/32"], &[("0.0.0.0", true), ("255.255.255.255", false)]);
        let everything = intervals(["::/0".parse().unwrap()].into_iter(), 16);
        assert_eq!(everything, [(vec![0; 16], false)]);
    }
}

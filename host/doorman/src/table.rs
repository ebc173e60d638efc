//! The table `inet postern`: its sets, chains and rules as messages. What is written here is what `nft` shows as
//!
//! ```text
//! table inet postern {
//!     flags owner,persist
//!     set open4   { type ipv4_addr . inet_proto . inet_service; size 131072; flags timeout; }
//!     set open6   { type ipv6_addr . inet_proto . inet_service; size 131072; flags timeout; }
//!     set guarded { type inet_proto . inet_service; }
//!     set strict  { type inet_proto . inet_service; }
//!     chain prerouting {
//!         type filter hook prerouting priority -150; policy accept;
//!         fib daddr type != local accept
//!         iifname "lo" accept
//!         meta l4proto . th dport != @guarded accept
//!         ip saddr . meta l4proto . th dport @open4 accept
//!         ip6 saddr . meta l4proto . th dport @open6 accept
//!         meta l4proto . th dport @strict counter drop
//!         ct state established,related accept
//!         counter drop
//!     }
//!     chain input { type filter hook input priority -10; policy accept; ...the same from the second rule on... }
//! }
//! ```
//!
//! The first chain sees a port before it is redirected to a container or another port, the second one after. Both come
//! before the user's filters, so that these do not answer for a closed port. The last rule drops whatever is not known to
//! belong to a connection, rather than what is new: packets that are not tracked, or make no sense to the tracker, are neither.
//! A packet without so much as a port to look up goes the same way.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, InetHookNumber, NfTablesMessage, Register, RuleAttribute,
    RuleMessage, SetAttribute, SetDescription, SetFlags, SetMessage, TableAttribute, TableFlags,
    TableMessage,
};

use crate::batch::Batch;
use crate::door_set::DoorSet;
use crate::expressions::{
    Expression, accept, count, drop, established, from_loopback, is_in, is_not_in, load_port, load_source,
    not_for_this_machine, of_version,
};
use crate::set_name::{Family, SetName};

/// The name of the table.
pub(crate) const TABLE: &str = "postern";

/// How many elements the sets of open doors hold. One more is refused; none is thrown out for it.
pub(crate) const OPEN_SIZE: u32 = 131_072;

// Bytes of keys, whose fields are filled up to a multiple of four.
const OPEN4_KEY: usize = 4 + PORT_KEY;
const OPEN6_KEY: usize = 16 + PORT_KEY;
const PORT_KEY: usize = 4 + 4;

/// A base chain of the table.
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    hook: InetHookNumber,
    priority: i32,
}

/// Between connection tracking at -200, whose verdict the rules need, and redirections at -100.
const PREROUTING: Chain = Chain { name: "prerouting", hook: InetHookNumber::PreRouting, priority: -150 };

/// Before the filters that people and their tools write, which are at 0.
const INPUT: Chain = Chain { name: "input", hook: InetHookNumber::LocalIn, priority: -10 };

/// All chains.
pub(crate) const CHAINS: [Chain; 2] = [PREROUTING, INPUT];

// Types of fields as nft numbers them, six bits each in a concatenation; the kernel keeps them for nft to show.
const IPV4_ADDR: u32 = 7;
const IPV6_ADDR: u32 = 8;
const PROTOCOL_AND_PORT: u32 = 12 << 6 | 13;

// include/uapi/linux/netfilter.h
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const NF_ACCEPT: u32 = 1;

/// The sets of the table.
pub(crate) struct Sets {
    /// IPv4 address, protocol and port of what is open.
    pub(crate) open4: DoorSet,
    /// The same for IPv6.
    pub(crate) open6: DoorSet,
    /// Protocol and port of what needs to be opened.
    pub(crate) guarded: SetName,
    /// Those of them where established connections end with the opening.
    pub(crate) strict: SetName,
}

impl Sets {
    pub(crate) fn new() -> Self {
        let name =
            |name: &str| SetName { family: Family::Inet, table: TABLE.to_owned(), name: name.to_owned() };
        Self {
            open4: DoorSet::new(name("open4"), OPEN4_KEY),
            open6: DoorSet::new(name("open6"), OPEN6_KEY),
            guarded: name("guarded"),
            strict: name("strict"),
        }
    }
}

/// Writes the table, its sets, its chains and their rules. What is there already stays as it is, openings
/// included, but for the rules: they are replaced.
pub(crate) fn write(batch: &mut Batch, flags: TableFlags) {
    let table = vec![TableAttribute::Name(TABLE.to_owned()), TableAttribute::Flags(flags)];
    push(batch, NLM_F_CREATE, NfTablesMessage::NewTable(TableMessage { attributes: table }));
    let open = SetFlags::Timeout;
    let size = Some(OPEN_SIZE);
    push(batch, NLM_F_CREATE, set("open4", 1, IPV4_ADDR << 12 | PROTOCOL_AND_PORT, OPEN4_KEY, open, size));
    push(batch, NLM_F_CREATE, set("open6", 2, IPV6_ADDR << 12 | PROTOCOL_AND_PORT, OPEN6_KEY, open, size));
    push(batch, NLM_F_CREATE, set("guarded", 3, PROTOCOL_AND_PORT, PORT_KEY, SetFlags::empty(), None));
    push(batch, NLM_F_CREATE, set("strict", 4, PROTOCOL_AND_PORT, PORT_KEY, SetFlags::empty(), None));
    for chain in &CHAINS {
        push(batch, NLM_F_CREATE, NfTablesMessage::NewChain(ChainMessage { attributes: chain.attributes() }));
        let all_rules =
            vec![RuleAttribute::Table(TABLE.to_owned()), RuleAttribute::Chain(chain.name.to_owned())];
        push(batch, 0, NfTablesMessage::DeleteRule(RuleMessage { attributes: all_rules.clone() }));
        for expressions in chain.rules() {
            let mut attributes = all_rules.clone();
            attributes.push(RuleAttribute::Expressions(expressions));
            push(batch, NLM_F_CREATE | NLM_F_APPEND, NfTablesMessage::NewRule(RuleMessage { attributes }));
        }
    }
}

/// Removes the table with all that is in it.
pub(crate) fn delete(batch: &mut Batch) {
    push(batch, 0, NfTablesMessage::DeleteTable(named(TABLE)));
}

/// Asks for a table.
pub(crate) fn question(table: &str) -> NfTablesMessage {
    NfTablesMessage::GetTable(named(table))
}

/// Asks for the rules of a chain.
pub(crate) fn rules_question(chain: &Chain) -> NfTablesMessage {
    let attributes =
        vec![RuleAttribute::Table(TABLE.to_owned()), RuleAttribute::Chain(chain.name.to_owned())];
    NfTablesMessage::GetRule(RuleMessage { attributes })
}

/// Asks for a set.
pub(crate) fn set_question(set: &SetName) -> NfTablesMessage {
    let attributes = vec![SetAttribute::Table(set.table.clone()), SetAttribute::Name(set.name.clone())];
    NfTablesMessage::GetSet(SetMessage { attributes })
}

impl Chain {
    fn attributes(&self) -> Vec<ChainAttribute> {
        let hook = vec![Hook::Number(self.hook.into()), Hook::Priority(self.priority.cast_unsigned())];
        vec![
            ChainAttribute::Table(TABLE.to_owned()),
            ChainAttribute::Name(self.name.to_owned()),
            ChainAttribute::Hook(hook),
            ChainAttribute::Policy(NF_ACCEPT),
            ChainAttribute::Type("filter".to_owned()),
        ]
    }

    /// The rules, in order.
    pub(crate) fn rules(&self) -> Vec<Vec<Expression>> {
        let [protocol, port] = load_port(Register::Reg1, Register::Reg32_01);
        let port_is = |lookup: Expression, then: &[Expression]| {
            [&[protocol.clone(), port.clone(), lookup], then].concat()
        };
        let client_is = |version: u8, address: (u32, u32), registers: (Register, Register), set: &str| {
            let load = [load_source(address.0, address.1)];
            let lookup = [is_in(set), accept()];
            [&of_version(version)[..], &load, &load_port(registers.0, registers.1), &lookup].concat()
        };
        let mut rules = Vec::new();
        if matches!(self.hook, InetHookNumber::PreRouting) {
            rules.push([&not_for_this_machine()[..], &[accept()]].concat());
        }
        rules.push([&from_loopback()[..], &[accept()]].concat());
        rules.push(port_is(is_not_in("guarded"), &[accept()]));
        rules.push(client_is(NFPROTO_IPV4, (12, 4), (Register::Reg32_01, Register::Reg32_02), "open4"));
        rules.push(client_is(NFPROTO_IPV6, (8, 16), (Register::Reg32_04, Register::Reg32_05), "open6"));
        rules.push(port_is(is_in("strict"), &[count(), drop()]));
        rules.push([&established()[..], &[accept()]].concat());
        rules.push(vec![count(), drop()]);
        rules
    }
}

fn push(batch: &mut Batch, flags: u16, message: NfTablesMessage) {
    batch.push(Family::Inet, flags, message);
}

fn named(table: &str) -> TableMessage {
    TableMessage { attributes: vec![TableAttribute::Name(table.to_owned())] }
}

fn set(
    name: &str,
    id: u32,
    key_type: u32,
    key_length: usize,
    flags: SetFlags,
    size: Option<u32>,
) -> NfTablesMessage {
    let mut attributes = vec![
        SetAttribute::Table(TABLE.to_owned()),
        SetAttribute::Name(name.to_owned()),
        SetAttribute::Flags(flags),
        SetAttribute::KeyType(key_type),
        SetAttribute::KeyLen(u32::try_from(key_length).unwrap_or(u32::MAX)),
        SetAttribute::Id(id),
    ];
    if let Some(size) = size {
        attributes.push(SetAttribute::Description(vec![SetDescription::Size(size)]));
    }
    NfTablesMessage::NewSet(SetMessage { attributes })
}

// The bytes are those that nft 1.0.6 sends for the same rules on a little-endian machine, but for the numbers of sets in
// a transaction and for flags that are zero.
#[cfg(all(test, target_endian = "little"))]
mod tests {
    use netlink_packet_core::Emitable as _;

    use super::*;

    const ACCEPT: &str = "300001800e000100696d6d6564696174650000001c000280080001000000000010000280\
                          0c0002800800010000000001";
    const COUNT_AND_DROP: &str = "140001800c000100636f756e7465720004000280\
                                  300001800e000100696d6d6564696174650000001c000280080001000000000010000280\
                                  0c0002800800010000000000";
    const LOAD_PORT: &str = "24000180090001006d65746100000000140002800800020000000010080001000000000134000180\
                             0c0001007061796c6f6164002400028008000100000000090800020000000002\
                             08000300000000020800040000000002";

    fn check(chain: &Chain, rule: usize, expected: &[&str]) {
        let rule = &chain.rules()[rule];
        let mut bytes = vec![0; rule.as_slice().buffer_len()];
        rule.as_slice().emit(&mut bytes);
        let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected.concat());
    }

    #[test]
    fn only_what_is_for_this_machine() {
        let fib = "28000180080001006669620\
                   01c00028008000300000000020800020000000003080001000000000\
                   12c00018008000100636d700020000280080001000000000108000200000000010c0003800800010002000000";
        check(&PREROUTING, 0, &[fib, ACCEPT]);
        assert_eq!(PREROUTING.rules()[1..], INPUT.rules());
    }

    #[test]
    fn not_from_loopback() {
        let name = "24000180090001006d65746100000000140002800800020000000006080001000000000138000180\
                    08000100636d70002c000280080001000000000108000200000000001800038014000100\
                    6c6f0000000000000000000000000000";
        check(&INPUT, 0, &[name, ACCEPT]);
    }

    #[test]
    fn only_what_is_guarded() {
        let lookup = "300001800b0001006c6f6f6b75700000200002800800020000000001\
                      0c000100677561726465640008000500";
        check(&INPUT, 1, &[LOAD_PORT, lookup, "00000001", ACCEPT]);
    }

    #[test]
    fn not_what_is_open() {
        let address = "24000180090001006d657461000000001400028008000200\
                       0000000f080001000000000\
                       12c00018008000100636d700020000280080001000000000108000200000000000c00038005000100\
                       02000000340001800c0001007061796c6f616400240002800800010000000001\
                       080002000000000108000300\
                       0000000c0800040000000004";
        let port = "24000180090001006d6574610000000014000280080002000000001008000100000000093400018\
                    00c0001007061796c6f61640024000280080001000000000a0800020000000002\
                    08000300000000020800040000000002";
        let lookup = "280001800b0001006c6f6f6b75700000180002800800020000000001\
                      0a0001006f70656e34000000";
        check(&INPUT, 2, &[address, port, lookup, ACCEPT]);
    }

    #[test]
    fn not_what_belongs_to_a_connection() {
        let state = "200001800700010063740000140002800800020000000000080001000000000144000180\
                     0c0001006269747769736500340002800800010000000001080002000000000108000300000000040c000480\
                     08000100060000000c0005800800010000000000\
                     2c00018008000100636d700020000280080001000000000108000200000000010c0003800800010000000000";
        check(&INPUT, 5, &[state, ACCEPT]);
    }

    #[test]
    fn the_rest_is_dropped() {
        check(&INPUT, 6, &[COUNT_AND_DROP]);
    }
}

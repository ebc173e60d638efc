//! The table `inet postern`: its base chains and the messages that create and delete it. What is written here and in
//! [`crate::door_chain`] and [`crate::port_map`] is what `nft` shows as
//!
//! ```text
//! table inet postern {
//!     flags owner,persist
//!     set config.5f3c... { type mark; comment "/etc/postern/postern.toml"; }
//!     map ports { type inet_proto . inet_service : verdict; flags interval;
//!         elements = { tcp . 22 : jump door.ssh, udp . 60000-61000 : jump door.ssh } }
//!     set door.ssh.ip     { type ipv4_addr; flags timeout; counter; }
//!     set door.ssh.ip6    { type ipv6_addr; flags timeout; counter; }
//!     set door.ssh.ip6/64 { type ipv6_addr; flags timeout; counter; }
//!     set door.ssh.link   { type ifname . ipv6_addr; flags timeout; counter; }
//!     chain door.ssh {
//!         ip saddr { 10.0.0.0/8 } accept
//!         iifname { "wg0" } accept
//!         ip saddr @door.ssh.ip accept
//!         ip6 saddr @door.ssh.ip6 accept
//!         ip6 saddr & ffff:ffff:ffff:ffff:: @door.ssh.ip6/64 accept
//!         iifname . ip6 saddr @door.ssh.link accept
//!         ct state established accept
//!         counter drop
//!     }
//!     chain prerouting {
//!         type filter hook prerouting priority -150; policy accept;
//!         fib daddr type != local accept
//!         iifname "lo" accept
//!         meta l4proto . th dport vmap @ports
//!     }
//!     chain input { type filter hook input priority -10; policy accept; ...the same from the second rule on... }
//! }
//! ```
//!
//! The first base chain sees a port before it is redirected to a container or another port, the second one after. Both come
//! before the user's filters, so that these do not answer for a closed port. A door's last rule drops every packet that was not accepted
//! before it, and not only packets in the state `new`: packets in the states `untracked` and `invalid` must not pass either. A set that an earlier
//! version made does not count ([`crate::counter`]) until it is empty and written once more.
//!
//! While the guard is tried there is a set more, and a rule more before each `vmap`; see [`crate::trial`]:
//!
//! ```text
//!     set trial { type nf_proto; flags timeout; elements = { ipv4 timeout 5m, ipv6 timeout 5m } }
//!         meta nfproto != @trial accept
//! ```

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, InetHookNumber, NfTablesMessage, Register, RuleAttribute,
    RuleMessage, SetAttribute, SetMessage, TableAttribute, TableFlags, TableMessage,
};
use postern_core::{Family, SetName};

use crate::batch::Batch;
use crate::expressions::{Expression, accept, from_loopback, load_port, not_for_this_machine, verdict_of};
use crate::trial;

/// The name of the table.
pub(crate) const TABLE: &str = "postern";

/// The name of the map that leads from ports to the chains of doors; see [`crate::port_map`].
pub(crate) const PORTS: &str = "ports";

// include/uapi/linux/netfilter.h
const NF_ACCEPT: u32 = 1;

/// A base chain of the table.
pub(crate) struct BaseChain {
    pub(crate) name: &'static str,
    hook: InetHookNumber,
    priority: i32,
}

/// Between connection tracking at -200, whose verdict the rules need, and redirections at -100.
const PREROUTING: BaseChain =
    BaseChain { name: "prerouting", hook: InetHookNumber::PreRouting, priority: -150 };

/// Before the filters that people and their tools write, which are at 0.
const INPUT: BaseChain = BaseChain { name: "input", hook: InetHookNumber::LocalIn, priority: -10 };

/// All base chains.
pub(crate) const CHAINS: [BaseChain; 2] = [PREROUTING, INPUT];

/// A set of the table by its name.
pub(crate) fn set_name(name: impl Into<String>) -> SetName {
    SetName { family: Family::Inet, table: TABLE.to_owned(), name: name.into() }
}

/// Writes the table itself. What is there already stays as it is.
pub(crate) fn write(batch: &mut Batch, flags: TableFlags) {
    let table = vec![TableAttribute::Name(TABLE.to_owned()), TableAttribute::Flags(flags)];
    push(batch, NLM_F_CREATE, NfTablesMessage::NewTable(TableMessage { attributes: table }));
}

/// Writes the base chains, as those of a guard that is tried or not; their rules take the place of those that are there.
pub(crate) fn write_base_chains(batch: &mut Batch, is_tried: bool) {
    for chain in &CHAINS {
        push(batch, NLM_F_CREATE, NfTablesMessage::NewChain(ChainMessage { attributes: chain.attributes() }));
        empty_chain(batch, chain.name);
        for expressions in chain.rules(is_tried) {
            add_rule(batch, chain.name, expressions);
        }
    }
}

/// Takes all rules out of a chain.
pub(crate) fn empty_chain(batch: &mut Batch, chain: &str) {
    push(batch, 0, NfTablesMessage::DeleteRule(RuleMessage { attributes: in_chain(chain) }));
}

/// Adds a rule at the end of a chain.
pub(crate) fn add_rule(batch: &mut Batch, chain: &str, expressions: Vec<Expression>) {
    let mut attributes = in_chain(chain);
    attributes.push(RuleAttribute::Expressions(expressions));
    push(batch, NLM_F_CREATE | NLM_F_APPEND, NfTablesMessage::NewRule(RuleMessage { attributes }));
}

/// Makes a chain that no hook leads to, unless it is there.
pub(crate) fn add_chain(batch: &mut Batch, chain: &str) {
    push(batch, NLM_F_CREATE, NfTablesMessage::NewChain(chain_named(chain)));
}

/// Removes a chain without rules.
pub(crate) fn delete_chain(batch: &mut Batch, chain: &str) {
    push(batch, 0, NfTablesMessage::DeleteChain(chain_named(chain)));
}

/// Makes a set or a map, unless it is there. `id` is its number in this batch.
pub(crate) fn add_set(batch: &mut Batch, name: &str, id: u32, more: Vec<SetAttribute>) {
    let mut attributes = set_attributes(name);
    attributes.push(SetAttribute::Id(id));
    attributes.extend(more);
    push(batch, NLM_F_CREATE, NfTablesMessage::NewSet(SetMessage { attributes }));
}

/// Removes a set that no rule uses.
pub(crate) fn delete_set(batch: &mut Batch, name: &str) {
    push(batch, 0, NfTablesMessage::DeleteSet(SetMessage { attributes: set_attributes(name) }));
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
pub(crate) fn rules_question(chain: &str) -> NfTablesMessage {
    NfTablesMessage::GetRule(RuleMessage { attributes: in_chain(chain) })
}

/// Asks for the chains of all tables of a family.
pub(crate) fn chains_question() -> NfTablesMessage {
    NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() })
}

/// Asks for the sets of the table.
pub(crate) fn sets_question() -> NfTablesMessage {
    let attributes = vec![SetAttribute::Table(TABLE.to_owned())];
    NfTablesMessage::GetSet(SetMessage { attributes })
}

/// Asks for a set.
pub(crate) fn set_question(set: &SetName) -> NfTablesMessage {
    let attributes = vec![SetAttribute::Table(set.table.clone()), SetAttribute::Name(set.name.clone())];
    NfTablesMessage::GetSet(SetMessage { attributes })
}

impl BaseChain {
    fn attributes(&self) -> Vec<ChainAttribute> {
        let hook = vec![Hook::Number(self.hook.into()), Hook::Priority(self.priority.cast_unsigned())];
        let mut attributes = chain_named(self.name).attributes;
        attributes.extend([
            ChainAttribute::Hook(hook),
            ChainAttribute::Policy(NF_ACCEPT),
            ChainAttribute::Type("filter".to_owned()),
        ]);
        attributes
    }

    /// The rules, in order.
    pub(crate) fn rules(&self, is_tried: bool) -> Vec<Vec<Expression>> {
        let mut rules = Vec::new();
        if matches!(self.hook, InetHookNumber::PreRouting) {
            rules.push([&not_for_this_machine()[..], &[accept()]].concat());
        }
        rules.push([&from_loopback()[..], &[accept()]].concat());
        rules.extend(is_tried.then(trial::rule));
        let port = load_port(Register::Reg1, Register::Reg32_01);
        rules.push([&port[..], &[verdict_of(PORTS)]].concat());
        rules
    }
}

/// Adds a message about the table.
pub(crate) fn push(batch: &mut Batch, flags: u16, message: NfTablesMessage) {
    batch.push(Family::Inet, flags, message);
}

fn named(table: &str) -> TableMessage {
    TableMessage { attributes: vec![TableAttribute::Name(table.to_owned())] }
}

fn chain_named(chain: &str) -> ChainMessage {
    let attributes = vec![ChainAttribute::Table(TABLE.to_owned()), ChainAttribute::Name(chain.to_owned())];
    ChainMessage { attributes }
}

fn in_chain(chain: &str) -> Vec<RuleAttribute> {
    vec![RuleAttribute::Table(TABLE.to_owned()), RuleAttribute::Chain(chain.to_owned())]
}

fn set_attributes(name: &str) -> Vec<SetAttribute> {
    vec![SetAttribute::Table(TABLE.to_owned()), SetAttribute::Name(name.to_owned())]
}

// The bytes are those that nft 1.0.6 sends for the same rules on a little-endian machine, but for the numbers of sets in
// a transaction and for flags that are zero.
#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;
    use crate::expressions::tests::hexadecimal;

    const ACCEPT: &str = "300001800e000100696d6d6564696174650000001c000280080001000000000010000280\
                          0c0002800800010000000001";

    fn check(chain: &BaseChain, rule: usize, expected: &[&str]) {
        assert_eq!(hexadecimal(&chain.rules(false)[rule]), expected.concat());
    }

    #[test]
    fn only_what_is_for_this_machine() {
        let fib = "28000180080001006669620\
                   01c00028008000300000000020800020000000003080001000000000\
                   12c00018008000100636d700020000280080001000000000108000200000000010c0003800800010002000000";
        check(&PREROUTING, 0, &[fib, ACCEPT]);
        for is_tried in [false, true] {
            assert_eq!(PREROUTING.rules(is_tried)[1..], INPUT.rules(is_tried));
        }
    }

    #[test]
    fn not_from_loopback() {
        let name = "24000180090001006d65746100000000140002800800020000000006080001000000000138000180\
                    08000100636d70002c000280080001000000000108000200000000001800038014000100\
                    6c6f0000000000000000000000000000";
        check(&INPUT, 0, &[name, ACCEPT]);
    }

    #[test]
    fn what_the_port_says() {
        let port = "24000180090001006d65746100000000140002800800020000000010080001000000000134000180\
                    0c0001007061796c6f6164002400028008000100000000090800020000000002\
                    08000300000000020800040000000002";
        let lookup = "300001800b0001006c6f6f6b757000002000028008000200000000010a000100706f727473000000\
                      0800030000000000";
        check(&INPUT, 1, &[port, lookup]);
    }
}

//! The table `inet postern`: the messages that create and delete it and what is in it. What is written here and in [`crate::base_chains`],
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
    ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetMessage,
    TableAttribute, TableFlags, TableMessage,
};
use postern_core::{Family, SetName};

use crate::batch::Batch;
use crate::expressions::Expression;

/// The name of the table.
pub(crate) const TABLE: &str = "postern";

/// The name of the map that leads from ports to the chains of doors; see [`crate::port_map`].
pub(crate) const PORTS: &str = "ports";

/// A set of the table by its name.
pub(crate) fn set_name(name: impl Into<String>) -> SetName {
    SetName { family: Family::Inet, table: TABLE.to_owned(), name: name.into() }
}

/// Writes the table itself. What is there already stays as it is.
pub(crate) fn write(batch: &mut Batch, flags: TableFlags) {
    let table = vec![TableAttribute::Name(TABLE.to_owned()), TableAttribute::Flags(flags)];
    push(batch, NLM_F_CREATE, NfTablesMessage::NewTable(TableMessage { attributes: table }));
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

/// Adds a message about the table.
pub(crate) fn push(batch: &mut Batch, flags: u16, message: NfTablesMessage) {
    batch.push(Family::Inet, flags, message);
}

fn named(table: &str) -> TableMessage {
    TableMessage { attributes: vec![TableAttribute::Name(table.to_owned())] }
}

pub(crate) fn chain_named(chain: &str) -> ChainMessage {
    let attributes = vec![ChainAttribute::Table(TABLE.to_owned()), ChainAttribute::Name(chain.to_owned())];
    ChainMessage { attributes }
}

fn in_chain(chain: &str) -> Vec<RuleAttribute> {
    vec![RuleAttribute::Table(TABLE.to_owned()), RuleAttribute::Chain(chain.to_owned())]
}

fn set_attributes(name: &str) -> Vec<SetAttribute> {
    vec![SetAttribute::Table(TABLE.to_owned()), SetAttribute::Name(name.to_owned())]
}

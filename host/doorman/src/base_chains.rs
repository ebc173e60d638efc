//! The base chains of the table, which see each packet before the user's filters do; [`crate::table`] shows them as `nft` does.

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, InetHookNumber, NfTablesMessage, Register,
};

use crate::batch::Batch;
use crate::expressions::{Expression, accept, from_loopback, load_port, not_for_this_machine, verdict_of};
use crate::table::{PORTS, add_rule, chain_named, empty_chain, push};
use crate::trial;

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

/// Writes the base chains, as those of a guard that is tried or not; their rules take the place of those that are there.
pub(crate) fn write(batch: &mut Batch, is_tried: bool) {
    for chain in &CHAINS {
        push(batch, NLM_F_CREATE, NfTablesMessage::NewChain(ChainMessage { attributes: chain.attributes() }));
        empty_chain(batch, chain.name);
        for expressions in chain.rules(is_tried) {
            add_rule(batch, chain.name, expressions);
        }
    }
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

//! Allow: the command by which the owner of a chain lets ports in.

use std::collections::BTreeSet;

use postern_core::{GuardProtocol, PortRange};
use postern_doorman::OtherFilters;

/// Who writes the rules of a ruleset, as far as chains tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Writers {
    pub(super) ufw: bool,
}

impl Writers {
    pub(super) fn of(filters: &OtherFilters) -> Self {
        Self { ufw: filters.has_chain("ufw-") || filters.has_chain("ufw6-") }
    }
}

/// The command that has a chain's owner let ports in.
pub(super) fn allow(chain: &str, ports: &BTreeSet<PortRange>, writers: Writers) -> String {
    let mut words = chain.splitn(3, ' ');
    let (family, table, name) = (words.next(), words.next(), words.next().unwrap_or_default());
    let each = |between: char, line: &dyn Fn(GuardProtocol, &str) -> String| {
        let lines = ports.iter().map(|PortRange { protocol, first, last }| {
            let ports = if first == last { first.to_string() } else { format!("{first}{between}{last}") };
            line(*protocol, &ports)
        });
        lines.collect::<Vec<_>>().join(" && ")
    };
    let commands = match (family, table, name) {
        (Some("ip" | "ip6"), Some("filter"), "INPUT") if writers.ufw => {
            each(':', &|protocol, ports| format!("ufw allow {ports}/{protocol}"))
        }
        (Some(family @ ("ip" | "ip6")), Some("filter"), "INPUT" | "FORWARD") => {
            let command = if family == "ip" { "iptables" } else { "ip6tables" };
            each(':', &|protocol, ports| {
                format!("{command} -I {name} -p {protocol} --dport {ports} -j ACCEPT")
            })
        }
        (_, Some("firewalld"), _) => {
            let lines = each('-', &|protocol, ports| {
                format!("firewall-cmd --permanent --add-port={ports}/{protocol}")
            });
            format!("{lines} && firewall-cmd --reload")
        }
        _ => each('-', &|protocol, ports| format!("nft insert rule {chain} {protocol} dport {ports} accept")),
    };
    format!("`{commands}`")
}

//! Allow: the command by which the owner of a chain lets in what the chain stops, and nothing besides.

use std::collections::BTreeSet;
use std::net::IpAddr;

use postern_core::{GuardProtocol, PortRange};
use postern_doorman::{Obstacle, OtherFilters};

use super::Stopped;

/// Who writes the rules of a ruleset, as far as chains tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Writers {
    /// ufw, and whether it has rules of IPv6, without which it lets nothing in by that.
    pub(super) ufw: bool,
    pub(super) ufw6: bool,
    /// firewalld by way of iptables; otherwise it has a table of its name.
    pub(super) firewalld: bool,
    /// Docker, with a chain for what others want of packets to containers.
    pub(super) docker: bool,
}

/// A chain by its names.
struct ChainWords<'a> {
    whole: &'a str,
    family: &'a str,
    table: &'a str,
    name: &'a str,
}

impl Writers {
    pub(super) fn of(filters: &OtherFilters) -> Self {
        Self {
            ufw: filters.has_chain("ufw-"),
            ufw6: filters.has_chain("ufw6-"),
            firewalld: filters.has_chain("INPUT_ZONES"),
            docker: filters.has_chain("DOCKER-USER"),
        }
    }
}

/// The commands that let it in, and how long that lasts.
pub(super) fn allow(obstacle: &Obstacle, of: &Stopped, writers: Writers) -> String {
    let mut words = obstacle.chain.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    let chain = ChainWords { whole: &obstacle.chain, family: word(), table: word(), name: word() };
    if let Some(client) = of.only_from {
        if chain.table.starts_with("f2b-") {
            return format!("`fail2ban-client unban {client}`");
        }
    } else if !obstacle.is_answer
        && of.led.is_empty()
        && let Some(commands) = chain.by_writer(obstacle, of, writers)
    {
        return format!("`{commands}`");
    }
    let led = of.led.iter().map(|range| chain.dialled(range, of.only_from, writers));
    let direct = of.direct.iter().map(|range| chain.direct(range, of.only_from, obstacle.is_answer));
    until_reload(&direct.chain(led).collect::<Vec<_>>())
}

/// What is said of rules that no file has.
fn until_reload(commands: &[String]) -> String {
    format!(
        "`{}`, and in the file that its rules are loaded from, or it lasts no longer than they do",
        commands.join(" && ")
    )
}

impl ChainWords<'_> {
    /// By the program that writes its rules, which keeps what it is told.
    fn by_writer(&self, obstacle: &Obstacle, of: &Stopped, writers: Writers) -> Option<String> {
        let is_input = self.iptables().is_some() && (self.table, self.name) == ("filter", "INPUT");
        let firewalld = |zone: &str| {
            let lines = each(&of.direct, '-', |protocol, ports| {
                format!("firewall-cmd --permanent {zone}--add-port={ports}/{protocol}")
            });
            lines.join(" && ")
        };
        if self.table == "firewalld" || is_input && writers.firewalld {
            // The zone of an interface need not be the default one, which a command without a zone is about.
            let zone = |interface: &String| {
                firewalld(&format!(
                    "--zone=$(firewall-cmd --get-zone-of-interface={interface} || firewall-cmd --get-default-zone) "
                ))
            };
            let lines = of.interfaces.iter().map(zone).collect::<Vec<_>>().join(" && ");
            return Some(format!("{lines} && firewall-cmd --reload"));
        }
        if !is_input || !writers.ufw {
            return None;
        }
        let switch = if self.family == "ip6" && !writers.ufw6 {
            "sed -i 's/^IPV6=no/IPV6=yes/' /etc/default/ufw && ufw reload && "
        } else {
            ""
        };
        // A rule that denies comes before those that are added.
        let first = if obstacle.is_policy { "" } else { "prepend " };
        let lines = each(&of.direct, ':', |protocol, ports| format!("ufw {first}allow {ports}/{protocol}"));
        Some(format!("{switch}{}", lines.join(" && ")))
    }

    /// Lets in what is sent to a port of this machine, or out what answers there.
    fn direct(&self, range: &PortRange, client: Option<IpAddr>, is_answer: bool) -> String {
        let (protocol, port, address) =
            (range.protocol, if is_answer { "sport" } else { "dport" }, if is_answer { 'd' } else { 's' });
        if let Some(insert) = self.iptables() {
            let of = client.map(|client| format!(" -{address} {client}")).unwrap_or_default();
            return format!("{insert}{of} -p {protocol} --{port} {} -j ACCEPT", ports(range, ':'));
        }
        let of =
            client.map(|client| format!("{} {address}addr {client} ", family(client))).unwrap_or_default();
        format!("nft insert rule {} {of}{protocol} {port} {} accept", self.whole, ports(range, '-'))
    }

    /// Lets through what was dialled at a port and led elsewhere, there and back. The port that it arrives at is not what is guarded: others may
    /// get at it in other ways.
    fn dialled(&self, range: &PortRange, client: Option<IpAddr>, writers: Writers) -> String {
        let protocol = range.protocol;
        let Some(insert) = self.iptables() else {
            let of = client.map(|client| format!("ct original {} saddr {client} ", family(client)));
            return format!(
                "nft insert rule {} {}meta l4proto {protocol} ct status dnat ct original proto-dst {} accept",
                self.whole,
                of.unwrap_or_default(),
                ports(range, '-')
            );
        };
        // Docker puts its own rules before others of that chain, whenever it starts.
        let is_dockers = writers.docker && (self.table, self.name) == ("filter", "FORWARD");
        let insert = if is_dockers { insert.replace("-I FORWARD", "-I DOCKER-USER") } else { insert };
        let of = client.map(|client| format!(" --ctorigsrc {client}")).unwrap_or_default();
        format!(
            "{insert} -p {protocol} -m conntrack --ctstate DNAT{of} --ctorigdstport {} -j ACCEPT",
            ports(range, ':')
        )
    }

    /// How iptables inserts a rule, if it is a chain of iptables.
    fn iptables(&self) -> Option<String> {
        const TABLES: [&str; 5] = ["filter", "mangle", "raw", "security", "nat"];
        const CHAINS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
        let command = match self.family {
            "ip" => "iptables",
            "ip6" => "ip6tables",
            _ => return None,
        };
        let is_its = TABLES.contains(&self.table) && CHAINS.contains(&self.name);
        let of = if self.table == "filter" { String::new() } else { format!(" -t {}", self.table) };
        is_its.then(|| format!("{command}{of} -I {}", self.name))
    }
}

fn each(
    ranges: &BTreeSet<PortRange>,
    between: char,
    line: impl Fn(GuardProtocol, String) -> String,
) -> Vec<String> {
    ranges.iter().map(|range| line(range.protocol, ports(range, between))).collect()
}

const fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "ip6" } else { "ip" }
}

fn ports(PortRange { first, last, .. }: &PortRange, between: char) -> String {
    if first == last { first.to_string() } else { format!("{first}{between}{last}") }
}

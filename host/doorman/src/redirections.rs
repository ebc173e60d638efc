//! Redirections: rules in the ruleset that redirect packets from one port to another. It reads them and changes nothing.

mod rule;

use std::net::IpAddr;
use std::ops::RangeInclusive;

use netlink_packet_netfilter::nftables::{NfTablesMessage, RuleMessage};
use postern_core::{Family, GuardProtocol};

use crate::error::DoormanError;
use crate::socket::Socket;

/// A rule that leads to another port, of this machine or of one behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirection {
    /// Of both ports.
    pub protocol: GuardProtocol,
    /// What clients dial.
    pub dialled: RangeInclusive<u16>,
    /// Where that leads to.
    pub port: u16,
    /// At which address; none: at the one that was dialled, of this machine.
    pub address: Option<IpAddr>,
    /// Family, table and chain of the rule.
    pub chain: String,
}

/// The rules of nftables that lead to another port, those of iptables-nft included. What takes its ports from a set or a map, and the
/// rules of iptables-legacy, are not seen.
///
/// # Errors
/// If nftables cannot be reached, or the rules change faster than they can be read.
pub fn redirections() -> Result<Vec<Redirection>, DoormanError> {
    let mut socket = Socket::open().map_err(DoormanError::Unreachable)?;
    let mut found = Vec::new();
    for family in [Family::Inet, Family::Ip, Family::Ip6] {
        let all = NfTablesMessage::GetRule(RuleMessage { attributes: Vec::new() });
        let listed =
            socket.list(family, &all, |attributes, list| list.extend(rule::read(family, attributes)));
        found.extend(listed.map_err(|errno| DoormanError::Unreachable(errno.into()))?);
    }
    Ok(found)
}

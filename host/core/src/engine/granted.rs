//! What a rule may ask for: the door and the client of a verdict, held to the rule's grant and to what the door can do.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Engine;
use super::generation::AskingRule;
use crate::client::Client;
use crate::door::{DoorId, OpeningKey};
use crate::drop_reason::DropReason;
use crate::tenant::{DoorPolicy, Grant, RuleId};
use crate::width::Width;

/// Why a verdict comes to nothing.
pub(super) struct Refusal {
    pub(super) reason: DropReason,
    /// Of which door, if there is one that the rule was granted.
    pub(super) door: Option<Arc<str>>,
    /// More about it, for people; may be empty.
    pub(super) detail: Cow<'static, str>,
}

/// The words in the log for a client that was not granted.
const NO_WIDTH: &str = "a prefix around the source that door and rule do not both allow; to allow it, name its width as prefixes of both";
/// Those for a length that no door and rule can allow.
const NO_WIDTH_OF_IPV4: &str =
    "no prefix around an IPv4 source has this length: use 8 to 31, or 32 for the address alone";
const NO_WIDTH_OF_IPV6: &str =
    "no prefix around an IPv6 source has this length: use 16 to 127, or 128 for the address alone";
/// Those for a source whose prefixes mean nothing.
const STANDS_ALONE: &str =
    "there is no prefix around a link-local or IPv4-mapped source: leave prefix-length out";
/// Those for a request that names no door, of a rule that has none.
const NO_DOOR: &str = "none was named, and the rule may open none";
/// Most doors that are named.
const MOST_NAMED: usize = 8;

impl Refusal {
    fn at(door: &DoorPolicy, reason: DropReason, detail: &'static str) -> Self {
        Self { reason, door: Some(Arc::clone(&door.name)), detail: detail.into() }
    }
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self { reason, door: None, detail: Cow::Borrowed("") }
    }
}

impl Engine {
    /// Which opening a verdict means, if the verdict counts and the rule was granted it.
    pub(super) fn granted(
        &self,
        asker: AskingRule<'_>,
        door: Option<&str>,
        prefix_length: Option<u8>,
    ) -> Result<OpeningKey, Refusal> {
        let AskingRule { rule, source, .. } = asker;
        if let Some(reason) = self.disregards(asker) {
            return Err(Refusal { door: self.meant_door(rule, door), ..reason.into() });
        }
        let no_door = || {
            let detail = if door.is_none() { NO_DOOR.into() } else { self.doors_of(rule).into() };
            Refusal { detail, ..DropReason::DoorNotGranted.into() }
        };
        let grant = self.policy.grants.get(rule).ok_or_else(no_door)?;
        let named = |id: &DoorId| {
            let policy = self.policy.doors.get(id)?;
            door.is_none_or(|name| *policy.name == *name).then_some((*id, policy))
        };
        let (door, policy) = grant.doors.iter().find_map(named).ok_or_else(no_door)?;
        let client = match prefix_length {
            None => source,
            Some(length) => around(source, length, grant, policy)
                .map_err(|detail| Refusal::at(policy, DropReason::ClientNotGranted, detail))?,
        };
        if client.is_link_local() {
            check_link(client, policy)?;
        }
        Ok(OpeningKey { door, client, occurrence: 0 })
    }

    /// Which doors a rule may open, as the words in the log for another one.
    fn doors_of(&self, rule: &RuleId) -> String {
        let doors = self.policy.grants.get(rule).map_or(&[][..], |grant| &grant.doors);
        let named = doors.iter().take(MOST_NAMED).filter_map(|id| self.policy.doors.get(id));
        let names: Vec<_> = named.map(|door| &*door.name).collect();
        match (names.len(), doors.len().saturating_sub(MOST_NAMED)) {
            (0, _) => "the rule may open none".to_owned(),
            (_, 0) => format!("the rule's file names {}", names.join(", ")),
            (_, more) => format!("the rule's file names {} and {more} more", names.join(", ")),
        }
    }

    /// The name of the door that a rule means by this name, or without one; it may not be granted.
    pub(super) fn meant_door(&self, rule: &RuleId, door: Option<&str>) -> Option<Arc<str>> {
        if let Some(name) = door {
            return Some(name.into());
        }
        let first = self.policy.grants.get(rule)?.doors.first()?;
        Some(Arc::clone(&self.policy.doors.get(first)?.name))
    }
}

/// The source itself, or the prefix of this length around it if the door and the rule's file both allow such a one; else why not.
fn around(source: Client, length: u8, grant: &Grant, door: &DoorPolicy) -> Result<Client, &'static str> {
    if length == source.width() {
        return Ok(source);
    }
    if stands_alone(source) {
        return Err(STANDS_ALONE);
    }
    let no_width = if source.address().is_ipv4() { NO_WIDTH_OF_IPV4 } else { NO_WIDTH_OF_IPV6 };
    let net = IpNet::new(source.address(), length).map_err(|_| no_width)?;
    let width = Width::of(net).ok_or(no_width)?;
    let is_granted = door.prefixes.contains(&width) && grant.prefixes.contains(&width);
    if is_granted { Ok(Client::prefix(net)) } else { Err(NO_WIDTH) }
}

/// Whether no prefix around a source makes sense: a link-local address has the same prefix on every link, and an IPv4-mapped one is an IPv4
/// address.
fn stands_alone(source: Client) -> bool {
    let is_mapped = matches!(source.address(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    source.is_link_local() || is_mapped
}

/// Refuses a link-local address if the door or the knock does not tell its link: on another link it is another machine's.
fn check_link(client: Client, door: &DoorPolicy) -> Result<(), Refusal> {
    let detail = if !door.takes_links {
        "the address is another machine's on another link, and the door cannot tell links apart"
    } else if client.link() == 0 {
        "the address is another machine's on another link, and it is not known on which link it knocked"
    } else {
        return Ok(());
    };
    Err(Refusal::at(door, DropReason::LinkLocal, detail))
}

//! What a rule may ask for: the door and the client of a verdict, held to the rule's grant.

use ipnet::IpNet;

use super::Engine;
use crate::client::Client;
use crate::door::{DoorId, Key};
use crate::drop_reason::DropReason;
use crate::tenant::RuleId;

impl Engine {
    /// Which opening a verdict means, if the rule was granted it.
    pub(super) fn granted(
        &self,
        rule: &RuleId,
        source: Client,
        door: Option<&str>,
        client: Option<IpNet>,
    ) -> Result<Key, DropReason> {
        let grant = self.policy.grants.get(rule).ok_or(DropReason::DoorNotGranted)?;
        let named = |id: &&DoorId| {
            let policy = self.policy.doors.get(*id);
            policy.is_some_and(|policy| door.is_none_or(|name| *policy.name == *name))
        };
        let door = *grant.doors.iter().find(named).ok_or(DropReason::DoorNotGranted)?;
        if client.is_some_and(|client| client != source.net()) {
            return Err(DropReason::ClientNotGranted);
        }
        Ok(Key { door, client: source, turn: 0 })
    }
}

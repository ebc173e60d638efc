//! Grants: what verdicts have asked for that they may ask for, found out without the engine.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_core::{Client, CloseRequest, DoorId, Grant, Once, OpenRequest, Policy, RuleId};

use crate::configuration::{CLIENTS, DOORS, LONGEST, Plan, WIDE, client};
use crate::operation::{Ask, Use};

/// For how long each door may be open for each client.
#[derive(Default)]
pub(crate) struct Grants {
    granted: BTreeMap<(usize, Client), Granted>,
}

/// For how long a door may be open for a client.
#[derive(Clone, Copy, Default)]
struct Granted {
    /// If its time begins when it is granted.
    until: Duration,
    /// The longest that was granted.
    longest: Duration,
    /// When it was granted last, or a command that opens ended.
    last: Duration,
}

impl Grants {
    pub(crate) fn grant(&mut self, door: usize, client: Client, lasts: Duration, now: Duration) {
        let granted = self.granted.entry((door, client)).or_default();
        granted.until = granted.until.max(now + lasts);
        granted.longest = granted.longest.max(lasts);
        granted.last = now;
    }

    /// An order that was right was late, and so is the end of what it opened.
    pub(crate) fn is_late(&mut self, door: usize, client: Client, until: Duration) {
        if let Some(granted) = self.granted.get_mut(&(door, client)) {
            granted.until = granted.until.max(until);
        }
    }

    /// A command for it has ended, or was not heard of: what it opens may count its time from now.
    pub(crate) fn begins(&mut self, door: usize, client: Client, now: Duration) {
        if let Some(granted) = self.granted.get_mut(&(door, client)) {
            granted.last = now;
        }
    }

    /// Until when it may be open if its time begins when it is granted.
    pub(crate) fn until(&self, door: usize, client: Client) -> Duration {
        self.granted.get(&(door, client)).map_or(Duration::ZERO, |granted| granted.until)
    }

    /// Until when it may be open if its time begins when its command has ended.
    pub(crate) fn latest(&self, door: usize, client: Client) -> Duration {
        self.granted.get(&(door, client)).map_or(Duration::ZERO, |granted| granted.last + granted.longest)
    }

    pub(crate) fn longest(&self, door: usize, client: Client) -> Duration {
        self.granted.get(&(door, client)).map_or(Duration::ZERO, |granted| granted.longest)
    }
}

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    pub(crate) client: usize,
    pub(crate) rule: usize,
    pub(crate) ask: Ask,
}

impl Asking {
    /// Which door for which client for how long, if a rule with this grant may ask for it.
    pub(crate) fn granted(self, grant: &Grant, plan: &Plan) -> Option<(usize, Client, Duration)> {
        let Ask::Open { door, seconds, is_wide, .. } = self.ask else { return None };
        let policy: &Policy = &plan.policy;
        let is_asked = |id: &DoorId| {
            let there = plan.door(*id)?;
            door.is_none_or(|asked| asked == there).then_some((*id, there))
        };
        let (id, door) = grant.doors.iter().find_map(is_asked)?;
        let mut whom = client(self.client);
        if is_wide {
            let net = format!("{}/{WIDE}", CLIENTS[self.client]).parse().ok()?;
            whom = (!policy.doors[&id].prefixes.is_empty() && whom.address().is_ipv6())
                .then(|| Client::prefix(net))?;
        }
        let lasts =
            seconds.map(Duration::from_secs).or(grant.lasts).unwrap_or_else(|| policy.doors[&id].lasts);
        Some((door, whom, lasts.min(LONGEST)))
    }

    /// As the rule's verdict says it.
    pub(crate) fn open_request(self) -> Option<OpenRequest> {
        let Ask::Open { door, seconds, is_wide, once } = self.ask else { return None };
        let once = once.map(|once| match once {
            Use::Token(token) => Once::Token { bytes: [token].into(), until: None },
            Use::Counter(value) => Once::Counter { key: b"k"[..].into(), value },
        });
        Some(OpenRequest {
            door: door.map(|door| DOORS[door].into()),
            prefix_length: is_wide.then_some(WIDE),
            lasts: seconds.map(Duration::from_secs),
            once,
        })
    }

    pub(crate) fn close_request(self) -> Option<CloseRequest> {
        let Ask::Close { door, is_wide } = self.ask else { return None };
        Some(CloseRequest {
            door: door.map(|door| DOORS[door].into()),
            prefix_length: is_wide.then_some(WIDE),
        })
    }

    /// Whether something must be used up first.
    pub(crate) fn costs(self, grant: Option<&Grant>) -> bool {
        let is_once = matches!(self.ask, Ask::Open { once: Some(_), .. });
        is_once || grant.is_some_and(|grant| grant.is_one_time)
    }
}

/// What a rule may do, if that is the same in both.
pub(crate) fn same_grant<'a>(before: &Policy, after: &'a Policy, rule: &RuleId) -> Option<&'a Grant> {
    let grant = after.grants.get(rule)?;
    (before.grants.get(rule) == Some(grant) && !grant.is_one_time).then_some(grant)
}

//! Report: what happened, as data. Log lines, counters and knockd's messages are made from it; no log text is ever parsed back.

mod name;
mod observer;
mod what;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use observer::{Observer, Silence};
pub use what::{PacketCounts, Phase, Severity, ThreadKind, Unprotected, What};

use crate::client::Client;
use crate::tenant::{RuleId, TenantId};

/// Something that happened, and whom and what it is about.
///
/// It borrows what its maker has at hand, so that making one costs no allocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report<'a> {
    /// Whose it is.
    pub scope: Scope<'a>,
    /// The client that knocked, or that a door is opened for.
    pub client: Option<Client>,
    /// The name of the door that it is about.
    pub door: Option<Cow<'a, str>>,
    /// What happened.
    pub what: What<'a>,
}

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope<'a> {
    /// The machine's.
    Machine,
    /// A tenant's, and no single rule's.
    Tenant(Cow<'a, TenantId>),
    /// A rule's, and so its tenant's.
    Rule(Cow<'a, RuleId>),
}

impl<'a> Report<'a> {
    /// Something about the machine as a whole.
    #[must_use]
    pub const fn new(what: What<'a>) -> Self {
        Self { scope: Scope::Machine, client: None, door: None, what }
    }

    /// Something about a rule.
    #[must_use]
    pub fn of_rule(rule: &'a RuleId, what: What<'a>) -> Self {
        Self { scope: Scope::Rule(Cow::Borrowed(rule)), ..Self::new(what) }
    }

    /// Something about a door.
    #[must_use]
    pub fn of_door(door: &'a str, what: What<'a>) -> Self {
        Self { door: Some(Cow::Borrowed(door)), ..Self::new(what) }
    }

    /// The same, about this client.
    #[must_use]
    pub fn with_client(self, client: Client) -> Self {
        Self { client: Some(client), ..self }
    }

    /// The rule that it is about.
    #[must_use]
    pub fn rule(&self) -> Option<&RuleId> {
        match &self.scope {
            Scope::Rule(rule) => Some(rule),
            Scope::Machine | Scope::Tenant(_) => None,
        }
    }

    /// Whose it is; none if it is the machine's.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        match &self.scope {
            Scope::Machine => None,
            Scope::Tenant(tenant) => Some(tenant),
            Scope::Rule(rule) => Some(&rule.tenant),
        }
    }
}

impl From<Option<RuleId>> for Scope<'_> {
    fn from(rule: Option<RuleId>) -> Self {
        rule.map_or(Self::Machine, |rule| Self::Rule(Cow::Owned(rule)))
    }
}

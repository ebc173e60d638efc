//! TenantId and Policy: who owns rules, and what a rule may open.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::door::DoorId;
use crate::durability::Durability;
use crate::module_digest::ModuleDigest;
use crate::owner_marks::OwnerMarks;
use crate::tenant_limits::TenantLimits;
use crate::width::Width;

/// An owner of rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The name of the machine's own administrator, which no other tenant can have.
    pub const HOST: &'static str = "host";

    /// The tenant of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The machine's own administrator.
    #[must_use]
    pub fn host() -> Self {
        Self::new(Self::HOST)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the machine's own administrator.
    #[must_use]
    pub fn is_host(&self) -> bool {
        *self.0 == *Self::HOST
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A rule's identity: it stays the same when the rule's file or module changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RuleId {
    /// Whose rule.
    pub tenant: TenantId,
    /// Its name among the tenant's rules.
    pub name: Arc<str>,
}

impl RuleId {
    /// The name under which the engine knows what people ask for themselves. No file can have it.
    pub const BY_HAND: &'static str = "(by hand)";

    /// The name of a rule of which only its owner is known any more. No file can have it.
    const GONE: &'static str = "(gone)";

    /// What people ask for themselves counts as if this rule of the host's had: it may do with every door what the door allows.
    #[must_use]
    pub fn by_hand() -> Self {
        Self { tenant: TenantId::host(), name: Self::BY_HAND.into() }
    }

    /// A rule of this owner's that is gone.
    pub(crate) fn gone(tenant: TenantId) -> Self {
        Self { tenant, name: Self::GONE.into() }
    }
}

/// As people call it: by its name, with its tenant's before it unless that is the host, as in `web/knock`.
impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.tenant.is_host() {
            write!(f, "{}/", self.tenant)?;
        }
        f.write_str(&self.name)
    }
}

/// What the engine holds every verdict to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What each rule was granted. A rule that is not here may open nothing.
    pub grants: HashMap<RuleId, Grant>,
    /// The doors there are.
    pub doors: HashMap<DoorId, DoorPolicy>,
    /// No opening lasts longer.
    pub longest: Duration,
    /// Openings at once, all doors together; also the bound on orders under way.
    pub max_openings: usize,
    /// Which module each rule runs, to be named in reports; nothing else depends on it.
    pub modules: HashMap<RuleId, ModuleDigest>,
    /// What each tenant but the host may use.
    pub tenants: HashMap<TenantId, TenantLimits>,
    /// What stands for each rule in the notes by which the next engine learns whose openings are.
    pub marks: OwnerMarks,
}

/// What one rule may open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Its doors; the first is the one meant when it names none.
    pub doors: Vec<DoorId>,
    /// How long its openings last when it does not say, and at most; none: as the door says.
    pub lasts: Option<Duration>,
    /// How long they last at most, whatever is said here.
    pub longest: Longest,
    /// How wide it may open them around the source of a knock, where the door allows that too; at most [`Width::MOST`].
    pub prefixes: Vec<Width>,
    /// Whether nothing is opened or closed for it, but told what would be.
    pub is_trial: bool,
    /// Whether its sequence opens once, as a line of a one-time file of knockd's does: an opening costs the sequence as it is in the
    /// generation, which is claimed first. Closing costs nothing.
    pub is_one_time: bool,
}

/// How long a rule's openings last at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Longest {
    /// As long as any may: [`Policy::longest`].
    #[default]
    AsAny,
    /// As long as the door says that it stays open.
    AsDoor,
    /// So long.
    For(Duration),
}

impl Longest {
    /// How long a door that stays open for `door` does so at most.
    pub(crate) fn at(self, door: Duration) -> Duration {
        match self {
            Self::AsAny => Duration::MAX,
            Self::AsDoor => door,
            Self::For(longest) => longest,
        }
    }
}

/// What the engine must know of a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorPolicy {
    /// Its name, unique among the doors of a policy.
    pub name: Arc<str>,
    /// How long it stays open when neither the rule nor its file says.
    pub lasts: Duration,
    /// Whether the door itself keeps the time, as a set element with a kernel timeout does. Such a door is
    /// ordered to extend, and may be left open when the daemon stops. Any other door stays open until the daemon closes it.
    pub keeps_time: bool,
    /// Whether an opening is recorded before it is ordered. Only for doors that do not keep the time themselves.
    pub durability: Durability,
    /// What opening it again for the same client does.
    pub again: Again,
    /// How wide it can be opened, instead of for one address; at most [`Width::MOST`].
    pub prefixes: Vec<Width>,
    /// Whether it can be opened for a link-local address on one link only. Any other door is not opened for such an address: it
    /// is another machine's on another link.
    pub takes_links: bool,
}

/// What opening a door again does, while it is open for the same client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Again {
    /// It stays open longer.
    #[default]
    Extend,
    /// It is opened once more beside the first, and that opening is closed at its own time, as knockd does (`again = "run"`). Only for doors
    /// that do not keep the time themselves.
    OpenAnother,
}

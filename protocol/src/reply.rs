//! Reply: what the daemon answers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Event, INTERFACE, SERVICE};

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// How the daemon is.
    Status(Box<Status>),
    /// The doors that are open.
    Doors {
        /// Each opening.
        doors: Vec<Opening>,
        /// How many more there are.
        left_out: u64,
    },
    /// The rules.
    Rules {
        /// Each of them.
        rules: Vec<RuleInfo>,
    },
    /// The half-finished knocks.
    Clients {
        /// Each of them.
        clients: Vec<HalfFinished>,
    },
    /// Something that was reported: the answer to `Explain` and `Tail` is one of these after the other. One without an event ends what is
    /// remembered, and begins what is told as it happens.
    Event {
        /// What.
        event: Option<Box<Event>>,
        /// How many were left out before it, because they came faster than they were read.
        left_out: u64,
    },
    /// A door was opened or closed by hand.
    Changed(Changed),
    /// A new configuration is in force.
    Reloaded(NewGeneration),
    /// What was tried is kept.
    Confirmed {},
    /// What service this is.
    Info(ServiceInfo),
    /// What an interface is.
    Description(ServiceDescription),
}

/// How the daemon is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// In one word.
    pub health: Health,
    /// Why it is not [`Health::Ok`], a sentence each.
    pub reasons: Vec<String>,
    /// The daemon's version.
    pub version: String,
    /// When its configuration came into force first, in milliseconds since 1970.
    pub started_ms: u64,
    /// For how long it has run, in milliseconds.
    pub uptime_ms: u64,
    /// The number of the configuration in force, from 1.
    pub generation: u64,
    /// Its processes; not told to tenants.
    pub processes: Vec<Process>,
    /// Where it captures.
    pub interfaces: Vec<Interface>,
    /// How many rules run.
    pub rules: u64,
    /// How many of them are on trial.
    pub trial: u64,
    /// Rules that rest after faults, as tenant and name.
    pub resting: Vec<String>,
    /// Owners whose newest files are not in force, and why.
    pub refused: Vec<TenantRefusal>,
    /// How many openings there are.
    pub open: u64,
    /// What came to nothing.
    pub drops: Vec<Drops>,
    /// Until when `posternd try` waits to be confirmed, in milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_left_ms: Option<u64>,
}

/// How somebody is, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// All is as it should be.
    #[default]
    Ok,
    /// It works, and something is missing.
    Degraded,
}

/// A process of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What it does: `supervisor`, `engine`, `doorman`, `runner`.
    pub name: String,
    /// How it is.
    pub state: ProcessState,
    /// How often it was started anew.
    pub restarts: u64,
    /// What it gave up and how that holds, in words.
    pub held: String,
    /// Barriers that should hold and do not.
    pub missing: Vec<String>,
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// It is there.
    Running,
    /// It is started again.
    Restarting,
}

/// Where packets are captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `incoming` or `outgoing` packets.
    pub direction: String,
    /// How it is.
    pub state: InterfaceState,
    /// What it waits for; empty if it listens.
    pub why: String,
}

/// How a capture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceState {
    /// It sees packets.
    Listening,
    /// It cannot, and is tried again.
    Waiting,
}

/// An owner of rules whose newest files are not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRefusal {
    /// Whose; `host` is the machine's administrator.
    pub tenant: String,
    /// Why, each with its place.
    pub mistakes: Vec<String>,
}

/// What came to nothing for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// The reason, as logs name it.
    pub reason: String,
    /// In the last minute.
    pub last_minute: u64,
    /// Since the start.
    pub total: u64,
}

/// A door open for a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The door's name.
    pub door: String,
    /// Its kind: `guard`, `set` or `command`.
    pub kind: String,
    /// For whom: an address or a network.
    pub client: String,
    /// `opening`, `open` or `closing`.
    pub state: String,
    /// Whose rule opened it; none if it was found open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// That rule's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// SHA-256 of the module that the rule runs now, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Since when, in milliseconds before now; none if it was found open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// For how long from now, in milliseconds.
    pub left_ms: u64,
    /// Packets that the door let through for this client, as the kernel counted them up to a second ago; none where it does not, of command doors,
    /// and if the answer did not come in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleInfo {
    /// Whose.
    pub tenant: String,
    /// Its name.
    pub rule: String,
    /// How it is.
    pub state: RuleState,
    /// Why it is not [`RuleState::Running`], or how it failed in the last two minutes.
    pub why: String,
    /// SHA-256 of its module, in hexadecimal digits.
    pub module: String,
    /// Which packets it asks for, as in `tcp/22`.
    pub watches: Vec<String>,
    /// The doors that it may open.
    pub doors: Vec<String>,
}

/// How a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleState {
    /// It judges, and opens.
    Running,
    /// It judges, and opens nothing.
    Trial,
    /// It failed, and is not asked for a while.
    Resting,
    /// Its file is gone, and it opens nothing.
    Withdrawn,
}

/// A knock that is half finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HalfFinished {
    /// Whose rule.
    pub tenant: String,
    /// Its name.
    pub rule: String,
    /// Who knocks.
    pub client: String,
    /// How far that came, from 1.
    pub stage: u32,
    /// When that was, in milliseconds before now.
    pub since_ms: u64,
    /// For how long it is remembered from now, in milliseconds.
    pub left_ms: u64,
}

/// What was changed by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The door.
    pub door: String,
    /// For whom.
    pub client: String,
    /// For how long it is open from now, in milliseconds; 0: it is closed.
    pub left_ms: u64,
}

/// A configuration that has come into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewGeneration {
    /// Its number.
    pub generation: u64,
    /// How many rules it has.
    pub rules: u64,
    /// Owners whose files are not in it, and why.
    pub refused: Vec<TenantRefusal>,
    /// What of it does not count yet, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What service this is, by <https://varlink.org/Service>.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// Who made it.
    pub vendor: String,
    /// What it is.
    pub product: String,
    /// Its version.
    pub version: String,
    /// Where more is said of it.
    pub url: String,
    /// The interfaces that it has.
    pub interfaces: Vec<String>,
}

/// What an interface is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDescription {
    /// In Varlink's language.
    pub description: String,
}

impl Reply {
    pub(crate) fn parameters(&self) -> Value {
        let parameters = match self {
            Self::Status(status) => serde_json::to_value(status),
            Self::Doors { doors, left_out } => {
                return json!({ "doors": doors, "left_out": left_out });
            }
            Self::Rules { rules } => return json!({ "rules": rules }),
            Self::Clients { clients } => return json!({ "clients": clients }),
            Self::Event { event, left_out } => return json!({ "event": event, "left_out": left_out }),
            Self::Changed(changed) => serde_json::to_value(changed),
            Self::Reloaded(generation) => serde_json::to_value(generation),
            Self::Confirmed {} => return json!({}),
            Self::Info(info) => serde_json::to_value(info),
            Self::Description(description) => serde_json::to_value(description),
        };
        // There is nothing in them that cannot be written.
        parameters.unwrap_or_default()
    }

    pub(crate) fn read(method: &str, mut parameters: Map<String, Value>) -> Result<Self, String> {
        fn typed<T: for<'de> Deserialize<'de>>(value: Value) -> Result<T, String> {
            serde_json::from_value(value).map_err(|error| error.to_string())
        }
        let mut part = |name: &str| parameters.remove(name).unwrap_or_default();
        let (interface, name) = method.rsplit_once('.').unwrap_or(("", method));
        Ok(match (interface, name) {
            (INTERFACE, "Doors") => {
                Self::Doors { doors: typed(part("doors"))?, left_out: typed(part("left_out"))? }
            }
            (INTERFACE, "Rules") => Self::Rules { rules: typed(part("rules"))? },
            (INTERFACE, "Clients") => Self::Clients { clients: typed(part("clients"))? },
            (INTERFACE, "Explain" | "Tail") => {
                Self::Event { event: typed(part("event"))?, left_out: typed(part("left_out"))? }
            }
            (INTERFACE, "Status") => Self::Status(typed(Value::Object(parameters))?),
            (INTERFACE, "Open" | "Close") => Self::Changed(typed(Value::Object(parameters))?),
            (INTERFACE, "Reload") => Self::Reloaded(typed(Value::Object(parameters))?),
            (INTERFACE, "Confirm") => Self::Confirmed {},
            (SERVICE, "GetInfo") => Self::Info(typed(Value::Object(parameters))?),
            (SERVICE, "GetInterfaceDescription") => Self::Description(typed(Value::Object(parameters))?),
            _ => return Err(format!("nothing is known of {method}")),
        })
    }
}

//! InForce: what the configuration in force says, as far as answers need it.

use std::collections::HashMap;
use std::sync::Arc;

use postern_config::{Config, DoorKind, GrantedInterfaces, RuleFile, TenantGrant};
use postern_core::{
    GuardProtocol, Interest, Knock, ModuleSource, NetDoor, PortRange, RuleId, TenantId, Transport, Watch,
    WatchGrant, WatchedPorts, show_digest,
};
use postern_protocol::{RuleInfo, RuleState, TenantRefusal};
use postern_sandbox::Generation;
use serde_json::Value;

use super::access::{TenantsOfUsers, View};

/// The stock module whose settings say what a client must do next.
const SEQUENCE: &str = "sequence";

/// What the configuration in force says.
#[derive(Clone, Debug, Default)]
pub(super) struct InForce {
    pub(super) generation: u64,
    pub(super) interfaces: Vec<String>,
    pub(super) users: TenantsOfUsers,
    /// Doors by name, with the kind of each.
    pub(super) doors: Vec<(Arc<str>, &'static str)>,
    /// Guarded ports, with the door of each.
    guarded: Vec<(PortRange, Arc<str>)>,
    pub(super) rules: Vec<RuleOf>,
    places: HashMap<RuleId, usize>,
    /// What each tenant may watch.
    grants: HashMap<TenantId, Watchable>,
    /// Whose newest files are not in it.
    pub(super) refused: Vec<TenantRefusal>,
}

/// A rule of it.
#[derive(Clone, Debug)]
pub(super) struct RuleOf {
    pub(super) id: RuleId,
    pub(super) is_trial: bool,
    module: String,
    watches: Vec<String>,
    doors: Vec<String>,
    /// The steps of a sequence, as its settings have them; empty for any other rule.
    steps: Vec<String>,
    /// How long a sequence may take, as its settings say it.
    within: Option<String>,
}

impl InForce {
    /// What `config` says, whose rules were loaded as `generation`.
    pub(super) fn of(config: &Config, generation: &Generation, refused: Vec<TenantRefusal>) -> Self {
        let files: HashMap<&RuleId, &RuleFile> = config.rules.iter().map(|rule| (&rule.id, rule)).collect();
        let rules: Vec<_> = generation
            .rules
            .iter()
            .enumerate()
            .map(|(place, rule)| {
                let file = files.get(&rule.id);
                let settings = file.and_then(|file| serde_json::from_str(&file.settings).ok());
                let (steps, within) =
                    file.filter(|file| is_sequence(file)).and(settings).map(known_steps).unwrap_or_default();
                RuleOf {
                    id: rule.id.clone(),
                    is_trial: file.is_some_and(|file| config.is_on_trial(file)),
                    module: show_digest(&rule.module()),
                    watches: watches(&generation.dispatch.subscription(place).interest),
                    doors: file
                        .map(|file| file.doors.iter().map(ToString::to_string).collect())
                        .unwrap_or_default(),
                    steps,
                    within,
                }
            })
            .collect();
        let mut users = TenantsOfUsers::new();
        for tenant in &config.tenants {
            if let Some(user) = &tenant.user {
                users.entry(user.uid).or_default().push(tenant.id.clone());
            }
        }
        Self {
            generation: generation.number,
            interfaces: config.interfaces.clone(),
            users,
            doors: config.doors.values().map(|door| (Arc::clone(&door.name), kind(&door.kind))).collect(),
            guarded: config.doors.values().flat_map(|door| guarded(&door.kind)).collect(),
            places: rules.iter().enumerate().map(|(place, rule)| (rule.id.clone(), place)).collect(),
            rules,
            grants: config
                .tenants
                .iter()
                .map(|tenant| (tenant.id.clone(), Watchable::of(&tenant.grant)))
                .collect(),
            refused,
        }
    }

    /// The kind of a door; none if there is no such door.
    pub(super) fn door_kind(&self, name: &str) -> Option<&'static str> {
        self.doors.iter().find(|(door, _)| **door == *name).map(|(_, kind)| *kind)
    }

    /// Whether there is such a tenant, the host among them.
    pub(super) fn has_tenant(&self, name: &str) -> bool {
        name == TenantId::HOST || self.grants.keys().any(|tenant| tenant.as_str() == name)
    }

    /// The names of all tenants, as the end of a sentence.
    pub(super) fn there_are_tenants(&self) -> String {
        let mut names: Vec<_> = self.grants.keys().map(TenantId::as_str).collect();
        names.sort_unstable();
        format!("there are {}", [&[TenantId::HOST], &names[..]].concat().join(", "))
    }

    /// The names of all doors, as the end of a sentence.
    pub(super) fn there_are_doors(&self) -> String {
        let names: Vec<_> = self.doors.iter().map(|(name, _)| &**name).collect();
        if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) }
    }

    /// What a rule waits for of a client that has come so far, if it says that.
    pub(super) fn awaited(&self, rule: &RuleId, stage: u32) -> Option<&str> {
        let step = usize::try_from(stage).ok()?;
        self.rule(rule)?.steps.get(step).map(String::as_str)
    }

    /// The door that guards the port of a packet.
    pub(super) fn guarding(&self, knock: &Knock) -> Option<&str> {
        let protocol = match knock.transport {
            Transport::Tcp => GuardProtocol::Tcp,
            Transport::Udp => GuardProtocol::Udp,
            _ => return None,
        };
        let port = PortRange::single(protocol, knock.destination_port);
        self.guarded.iter().find(|(range, _)| range.overlaps(&port)).map(|(_, door)| &**door)
    }

    /// Which packets a rule is asked about, each as in `tcp/22`; nothing if it is not in force.
    pub(super) fn watches(&self, rule: &RuleId) -> &[String] {
        self.rule(rule).map_or(&[], |rule| &rule.watches)
    }

    /// How long a client of a rule may take, if that says it.
    pub(super) fn within(&self, rule: &RuleId) -> Option<&str> {
        self.rule(rule)?.within.as_deref()
    }

    /// Whether somebody may know of a packet that is for none of its rules; `is_local` says whether it is for this machine.
    pub(super) fn may_watch(&self, view: &View, knock: &Knock, is_local: impl Fn() -> bool) -> bool {
        let View::Of(tenants) = view else { return true };
        tenants
            .iter()
            .any(|tenant| self.grants.get(tenant).is_some_and(|grant| grant.includes(knock, &is_local)))
    }

    fn rule(&self, rule: &RuleId) -> Option<&RuleOf> {
        self.rules.get(*self.places.get(rule)?)
    }

    /// This, with a door that guards a port.
    #[cfg(test)]
    pub(super) fn with_guard(mut self, port: PortRange, door: &str) -> Self {
        self.guarded.push((port, door.into()));
        self
    }

    /// Rules with what they watch, and the steps of those that are sequences within five seconds.
    #[cfg(test)]
    pub(super) fn of_rules(all: &[(&RuleId, &[&str], &[&str])]) -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let rule = |(id, watches, steps): &(&RuleId, &[&str], &[&str])| RuleOf {
            id: (*id).clone(),
            is_trial: false,
            module: String::new(),
            watches: texts(watches),
            doors: Vec::new(),
            steps: texts(steps),
            within: (!steps.is_empty()).then(|| "5s".to_owned()),
        };
        let rules: Vec<_> = all.iter().map(rule).collect();
        let places = rules.iter().enumerate().map(|(place, rule)| (rule.id.clone(), place)).collect();
        Self { rules, places, ..Self::default() }
    }
}

impl RuleOf {
    /// What is told of it.
    pub(super) fn info(&self, state: RuleState, why: String) -> RuleInfo {
        RuleInfo {
            tenant: self.id.tenant.to_string(),
            rule: self.id.name.to_string(),
            state,
            why,
            module: self.module.clone(),
            watches: self.watches.clone(),
            doors: self.doors.clone(),
        }
    }

    /// Whether it may open this door.
    pub(super) fn has_door(&self, name: &str) -> bool {
        self.doors.iter().any(|door| door == name)
    }
}

/// Which packets a tenant may watch.
#[derive(Clone, Debug)]
struct Watchable {
    ports: WatchGrant,
    /// None: on all.
    interfaces: Option<Vec<Arc<str>>>,
}

impl Watchable {
    fn of(grant: &TenantGrant) -> Self {
        let interfaces = match &grant.interfaces {
            GrantedInterfaces::All => None,
            GrantedInterfaces::These(these) => Some(these.clone()),
        };
        Self { ports: grant.watch.clone(), interfaces }
    }

    fn includes(&self, knock: &Knock, is_local: impl Fn() -> bool) -> bool {
        let Self { ports: WatchGrant { ports, any_port, anywhere, .. }, interfaces } = self;
        let has = |ports: &WatchedPorts| {
            ports.transport == knock.transport && (ports.first..=ports.last).contains(&knock.destination_port)
        };
        (*any_port || ports.iter().any(has))
            && interfaces.as_ref().is_none_or(|these| these.contains(&knock.interface))
            && (*anywhere || is_local())
    }
}

fn is_sequence(file: &RuleFile) -> bool {
    matches!(&file.module, ModuleSource::Stock(name) if **name == *SEQUENCE)
}

/// The steps, and how long they may take.
fn known_steps(settings: Value) -> (Vec<String>, Option<String>) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let steps = settings["sequence"].as_array().map(|steps| steps.iter().filter_map(text).collect());
    (steps.unwrap_or_default(), text(&settings["within"]))
}

/// Which packets a rule asks for, each port once whatever the flags.
fn watches(interest: &Interest) -> Vec<String> {
    let ports = |watch: &Watch| {
        WatchedPorts { transport: watch.transport, first: watch.first_port, last: watch.last_port }
            .to_string()
    };
    let mut all: Vec<_> = interest.watches.iter().map(ports).collect();
    all.dedup();
    all
}

/// The ports that a door guards, each with its name.
fn guarded(kind: &DoorKind) -> Vec<(PortRange, Arc<str>)> {
    match kind {
        DoorKind::Net(NetDoor::Guard(guard)) => {
            guard.ports.iter().map(|range| (*range, Arc::clone(&guard.name))).collect()
        }
        DoorKind::Net(NetDoor::Set { .. }) | DoorKind::Command(_) | DoorKind::Shell(_) => Vec::new(),
    }
}

const fn kind(kind: &DoorKind) -> &'static str {
    match kind {
        DoorKind::Net(NetDoor::Guard(_)) => "guard",
        DoorKind::Net(NetDoor::Set { .. }) => "set",
        DoorKind::Command(_) | DoorKind::Shell(_) => "command",
    }
}

//! Plan: numbers the doors of configurations, and says what each rule may do with them. It has no effect on the machine.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use postern_config::{Config, Door, DoorKind, Mistakes};
use postern_core::{
    DoorId, DoorPolicy, DoorsTable, Durability, Grant, Longest, NetDoor, OrderLimits, OwnerMarks, Policy,
    RuleId, TenantId, Width,
};
use postern_sandbox::Generation;
use sha2::{Digest as _, Sha256};

use crate::origin::Numbers;

/// A configuration's doors with their numbers, and what each rule may do with them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number of the table of these doors, higher than that of every earlier one: orders to doors say by which they go. Other processes
    /// have it under the same number.
    pub table: u32,
    /// The numbers by which other processes know its rules; none of a rule that they do not know.
    pub rules: HashMap<RuleId, u32>,
    /// The doors.
    pub doors: Vec<(DoorId, DoorKind)>,
    /// What the engine checks verdicts against.
    pub policy: Arc<Policy>,
}

impl Plan {
    /// The doors in the packet filter, and what a doorman lets the engine do with them.
    #[must_use]
    pub fn doors_table(&self) -> DoorsTable {
        let limits = OrderLimits {
            longest: self.policy.longest,
            most_openings: self.policy.max_openings,
            orders_per_second: OrderLimits::ORDERS_PER_SECOND,
        };
        DoorsTable { number: self.table, doors: self.net_doors(), limits }
    }

    /// The same for rules as they were loaded, so that reports can name their modules.
    #[must_use]
    pub(crate) fn with_modules(mut self, generation: &Generation) -> Self {
        let modules = generation.rules.iter().map(|rule| (rule.id.clone(), rule.module()));
        Arc::make_mut(&mut self.policy).modules = modules.collect();
        self
    }

    fn new(table: u32, config: &Config, numbered: Vec<(DoorId, &Door)>) -> Self {
        let by_name: HashMap<&str, DoorId> = numbered.iter().map(|(id, door)| (&*door.name, *id)).collect();
        let grants = config.rules.iter().map(|rule| {
            let tenant = config.tenant(&rule.id.tenant).map(|tenant| &tenant.grant);
            let may_widen = |width: &&Width| tenant.is_none_or(|tenant| tenant.prefixes.contains(width));
            let grant = Grant {
                doors: rule.doors.iter().filter_map(|name| by_name.get(&**name).copied()).collect(),
                lasts: rule.lasts,
                longest: match tenant.map(|tenant| tenant.longest) {
                    None => Longest::AsAny,
                    Some(None) => Longest::AsDoor,
                    Some(Some(longest)) => Longest::For(longest),
                },
                prefixes: rule.prefixes.iter().filter(may_widen).copied().collect(),
                is_trial: config.is_on_trial(rule),
                is_one_time: rule.one_time.is_some(),
            };
            (rule.id.clone(), grant)
        });
        let by_hand = Grant {
            doors: numbered.iter().map(|(id, _)| *id).collect(),
            prefixes: numbered.iter().flat_map(|(_, door)| door.prefixes()).copied().collect(),
            ..Grant::default()
        };
        let (host, by_hand) = (TenantId::host(), (RuleId::by_hand(), by_hand));
        let rules = config.rules.iter().map(|rule| &rule.id).chain([&by_hand.0]);
        // Also of those without a rule now: what their rules opened before is theirs.
        let tenants = config.tenants.iter().map(|tenant| &tenant.id);
        let marks = OwnerMarks::new(rules, tenants.chain([&host]), digest);
        let policy = Policy {
            grants: grants.chain([by_hand]).collect(),
            doors: numbered.iter().map(|(id, door)| (*id, policy(door))).collect(),
            longest: config.longest,
            max_openings: config.max_openings,
            modules: HashMap::new(),
            tenants: config.tenants.iter().map(|tenant| (tenant.id.clone(), tenant.limits)).collect(),
            marks,
        };
        Self {
            table,
            rules: config.rules.iter().map(|rule| (rule.id.clone(), rule.number)).collect(),
            doors: numbered.into_iter().map(|(id, door)| (id, door.kind.clone())).collect(),
            policy: Arc::new(policy),
        }
    }

    /// The doors in the packet filter.
    fn net_doors(&self) -> Vec<(DoorId, NetDoor)> {
        let net_door = |(id, kind): &(DoorId, DoorKind)| match kind {
            DoorKind::Net(door) => Some((*id, door.clone())),
            DoorKind::Command(_) | DoorKind::Shell(_) => None,
        };
        self.doors.iter().filter_map(net_door).collect()
    }

    /// What the doorman says is wrong with the doors of `config`, which `file` says and this plan is of, with their names.
    pub(crate) fn mistakes(&self, file: &Path, config: &Config, found: Vec<(DoorId, String)>) -> Mistakes {
        let mistake = |(door, what)| {
            let name = &self.policy.doors.get(&door)?.name;
            Some(config.doors.get(name)?.mistake(file, what))
        };
        Mistakes::new(found.into_iter().filter_map(mistake).collect())
    }
}

/// The numbers of all doors that there ever were. A door that did not change keeps its number, and so its openings; one that changed is
/// another one.
#[derive(Debug, Default)]
pub struct DoorNumbers {
    known: HashMap<Arc<str>, Vec<(DoorKind, DoorId)>>,
    last: u32,
    last_plan: u32,
}

impl DoorNumbers {
    /// Plans a configuration whose doors have no numbers yet.
    pub fn plan(&mut self, config: &Config) -> Plan {
        self.last_plan += 1;
        let table = self.last_plan;
        Plan::new(table, config, config.doors.values().map(|door| (self.number(door), door)).collect())
    }

    /// As [`DoorNumbers::plan`], of one whose doors may have numbers.
    pub(crate) fn plan_numbered(&mut self, config: &Config, numbers: Option<&Numbers>) -> Plan {
        match numbers {
            // Each door has one.
            Some(Numbers { table, doors }) => {
                let numbered = config.doors.values().filter_map(|door| Some((*doors.get(&door.name)?, door)));
                Plan::new(*table, config, numbered.collect())
            }
            None => self.plan(config),
        }
    }

    /// The numbers of a configuration's doors.
    pub(crate) fn of(&mut self, config: &Config) -> BTreeMap<Arc<str>, DoorId> {
        config.doors.values().map(|door| (Arc::clone(&door.name), self.number(door))).collect()
    }

    /// A number for a door that is in no configuration.
    pub(crate) fn next(&mut self) -> DoorId {
        self.last += 1;
        DoorId(self.last)
    }

    fn number(&mut self, door: &Door) -> DoorId {
        let known =
            self.known.get(&door.name).and_then(|known| known.iter().find(|(kind, _)| *kind == door.kind));
        if let Some((_, id)) = known {
            return *id;
        }
        let id = self.next();
        self.known.entry(Arc::clone(&door.name)).or_default().push((door.kind.clone(), id));
        id
    }
}

/// What stands for a name in notes that outlive the daemon. It must not change: openings would be nobody's after an upgrade.
fn digest(name: &str) -> u64 {
    let digest = Sha256::digest(name);
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn policy(door: &Door) -> DoorPolicy {
    DoorPolicy {
        name: Arc::clone(&door.name),
        lasts: door.lasts,
        keeps_time: matches!(door.kind, DoorKind::Net(_)),
        durability: match &door.kind {
            DoorKind::Net(_) => Durability::None,
            DoorKind::Command(_) => Durability::Required,
            // knockd has no journal, and runs its commands.
            DoorKind::Shell(_) => Durability::BestEffort,
        },
        again: door.again,
        prefixes: door.prefixes().to_vec(),
        // A set of the user's own holds addresses and no interfaces; a command is given both.
        takes_links: !matches!(door.kind, DoorKind::Net(NetDoor::Set { .. })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_same_digest_for_ever() {
        // The first digits of `printf %s NAME | sha256sum`.
        assert_eq!(digest("host"), 0x4740_ae63_47b0_172c);
        assert_eq!(digest("acme"), 0x822b_33ad_87c1_48a0);
    }
}

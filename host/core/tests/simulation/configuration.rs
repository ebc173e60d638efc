//! Configuration: the rules and doors of this world, of which a reload changes some.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use postern_core::{
    Again, Client, DoorId, DoorPolicy, Durability, Grant, OwnerMarks, Policy, RuleId, TenantId,
};

pub(crate) const SSH: usize = 0;
pub(crate) const LAMP: usize = 1;
/// The doors, of which the first is in the packet filter.
pub(crate) const DOORS: [&str; 3] = ["ssh", "lamp", "bell"];
/// The last one has a sequence that is used once.
pub(crate) const RULES: [&str; 3] = ["knock", "brief", "once"];
/// Whose they are.
const TENANTS: [&str; 3] = ["a", "b", TenantId::HOST];
const ONCE: usize = 2;
/// The last two are in one prefix.
pub(crate) const CLIENTS: [&str; 4] = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"];
/// How wide a door may be opened.
pub(crate) const WIDE: u8 = 64;
pub(crate) const MAX_OPENINGS: usize = 6;
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// What is different between two configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Which doors there are, by their bits.
    pub(crate) doors: u8,
    /// Which rules there are, by their bits; and by the next three which doors the first may open.
    pub(crate) grants: u8,
    /// Whether the first door can be opened for a prefix.
    pub(crate) is_wide: bool,
    /// Which command the second door runs.
    pub(crate) lamp: u8,
}

impl Setup {
    pub(crate) const WHOLE: Self = Self { doors: 0xff, grants: 0xff, is_wide: true, lamp: 0 };

    /// What makes a door another one.
    fn variant(self, door: usize) -> u8 {
        match door {
            SSH => self.is_wide.into(),
            LAMP => self.lamp,
            _ => 0,
        }
    }
}

/// A configuration whose doors are numbered.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) policy: Arc<Policy>,
    setup: Setup,
    pub(crate) ids: BTreeMap<usize, DoorId>,
}

impl Plan {
    /// Doors that are as they were keep their numbers; a number is never used for two.
    pub(crate) fn new(setup: Setup, before: Option<&Self>, numbers: &mut u32) -> Self {
        let mut number = |door: usize| {
            let known = before.filter(|before| before.setup.variant(door) == setup.variant(door));
            known.and_then(|before| before.ids.get(&door).copied()).unwrap_or_else(|| {
                *numbers += 1;
                DoorId(*numbers)
            })
        };
        let doors = (0..DOORS.len()).filter(|door| setup.doors >> door & 1 == 1);
        let ids: BTreeMap<usize, DoorId> = doors.map(|door| (door, number(door))).collect();
        let rules = (0..RULES.len()).filter(|rule| setup.grants >> rule & 1 == 1);
        let grants: HashMap<_, _> = rules.map(|number| (rule(number), grant(number, setup, &ids))).collect();
        let digest = |name: &str| name.bytes().fold(7, |digest: u64, byte| digest * 31 + u64::from(byte));
        let tenants = TENANTS.map(TenantId::new);
        let policy = Policy {
            marks: OwnerMarks::new(grants.keys(), &tenants, digest),
            grants,
            doors: ids.iter().map(|(door, id)| (*id, door_policy(*door, setup))).collect::<HashMap<_, _>>(),
            longest: LONGEST,
            max_openings: MAX_OPENINGS,
            ..Policy::default()
        };
        Self { policy: Arc::new(policy), setup, ids }
    }

    /// The door of a number.
    pub(crate) fn door(&self, id: DoorId) -> Option<usize> {
        self.ids.iter().find_map(|(door, known)| (*known == id).then_some(*door))
    }
}

pub(crate) fn rule(number: usize) -> RuleId {
    RuleId { tenant: TenantId::new(TENANTS[number]), name: RULES[number].into() }
}

pub(crate) fn client(number: usize) -> Client {
    CLIENTS[number].parse().expect("an address")
}

fn grant(rule: usize, setup: Setup, ids: &BTreeMap<usize, DoorId>) -> Grant {
    let prefixes = vec!["ipv6/64".parse().expect("a width")];
    let may = |door: &usize| match rule {
        0 => setup.grants >> (3 + door) & 1 == 1,
        ONCE => *door == SSH,
        _ => [SSH, LAMP].contains(door),
    };
    let doors = ids.iter().filter(|(door, _)| may(door)).map(|(_, id)| *id).collect();
    let lasts = (rule == 1).then(|| Duration::from_secs(3));
    Grant { doors, lasts, prefixes, is_one_time: rule == ONCE, ..Grant::default() }
}

fn door_policy(door: usize, setup: Setup) -> DoorPolicy {
    let is_net = door == SSH;
    DoorPolicy {
        name: DOORS[door].into(),
        lasts: Duration::from_secs(10),
        keeps_time: is_net,
        durability: match door {
            SSH => Durability::None,
            LAMP => Durability::Required,
            _ => Durability::BestEffort,
        },
        again: if door > LAMP { Again::OpenAnother } else { Again::Extend },
        prefixes: if is_net && setup.is_wide {
            vec!["ipv6/64".parse().expect("a width")]
        } else {
            Vec::new()
        },
        takes_links: false,
    }
}

/// What an earlier run's opening of a door is to the engine.
pub(crate) fn inherited_policy(door: usize) -> DoorPolicy {
    DoorPolicy {
        name: DOORS[door].into(),
        lasts: Duration::ZERO,
        keeps_time: false,
        durability: Durability::None,
        again: Again::Extend,
        prefixes: Vec::new(),
        takes_links: true,
    }
}

//! Two tenants with a rule of the same name: what one is granted, opens or uses up is not the other's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{
    Action, Again, Claim, ClaimKind, DoorId, DoorPolicy, DropReason, Durability, Engine, Event, Grant,
    Moment, Once, OpenRequest, Policy, Receipt, Request, RuleId, TenantId, UsedOnce, What,
};

const SSH: DoorId = DoorId(1);
const WEB: DoorId = DoorId(2);

fn rule(tenant: &str) -> RuleId {
    RuleId { tenant: TenantId::new(tenant), name: "knock".into() }
}

fn policy() -> Policy {
    let door = |name: &str| DoorPolicy {
        name: name.into(),
        lasts: Duration::from_secs(10),
        keeps_time: true,
        durability: Durability::None,
        again: Again::Extend,
        prefixes: Vec::new(),
        takes_links: true,
    };
    let grant = |door| Grant { doors: vec![door], ..Grant::default() };
    Policy {
        grants: HashMap::from([(rule("a"), grant(SSH)), (rule("b"), grant(WEB))]),
        doors: HashMap::from([(SSH, door("ssh")), (WEB, door("web"))]),
        longest: Duration::from_secs(3600),
        max_openings: 8,
    }
}

struct World {
    engine: Engine,
    used: UsedOnce,
}

impl World {
    fn new() -> Self {
        Self { engine: Engine::new(Arc::new(policy())), used: UsedOnce::default() }
    }

    /// Has a tenant's rule open a door; what was told of it, and of whose rule.
    fn open(&mut self, tenant: &str, client: &str, door: Option<&str>, token: Option<&str>) -> Vec<String> {
        let once = token.map(|text| Once::Token { bytes: text.as_bytes().into(), until: None });
        let request = OpenRequest { door: door.map(Box::from), prefix_length: None, lasts: None, once };
        let generation = self.engine.generation();
        let source = client.parse().unwrap();
        let request = Request::Open(vec![request]);
        self.feed(Event::Judged { rule: rule(tenant), generation, source, request })
    }

    fn feed(&mut self, event: Event) -> Vec<String> {
        let mut told = Vec::new();
        for action in self.engine.handle(event, Moment::default()) {
            match action {
                Action::Order { order, .. } => {
                    told.extend(
                        self.feed(Event::Answered(Receipt { serial: order.serial, outcome: Ok(()) })),
                    );
                }
                Action::Claim(Claim { serial, rule, what: ClaimKind::Once(once) }) => {
                    let result = self.used.claim(&rule, &once);
                    told.extend(self.feed(Event::Claimed { serial, result }));
                }
                Action::Tell(report) => {
                    let what = match &report.what {
                        What::Opened { .. } => "opened".to_owned(),
                        What::Refused { reason, .. } => reason.name().to_owned(),
                        other => panic!("not of this: {other:?}"),
                    };
                    let (rule, door) = (report.rule().unwrap(), report.door.as_deref().unwrap());
                    told.push(format!("{rule} {door} {what}"));
                }
                other => panic!("not of doors that keep the time: {other:?}"),
            }
        }
        told
    }
}

#[test]
fn a_rule_opens_what_its_own_tenant_is_granted() {
    let mut world = World::new();
    assert_eq!(world.open("a", "192.0.2.1", None, None), ["a/knock ssh opened"]);
    assert_eq!(world.open("b", "192.0.2.1", None, None), ["b/knock web opened"]);
    let refused = DropReason::DoorNotGranted.name();
    assert_eq!(world.open("a", "192.0.2.2", Some("web"), None), [format!("a/knock web {refused}")]);
    assert_eq!(world.open("host", "192.0.2.2", Some("web"), None), [format!("knock web {refused}")]);
}

#[test]
fn a_token_that_one_has_used_is_new_to_the_other() {
    let mut world = World::new();
    let used = DropReason::AlreadyUsed.name();
    assert_eq!(world.open("a", "192.0.2.1", None, Some("t")), ["a/knock ssh opened"]);
    assert_eq!(world.open("a", "192.0.2.2", None, Some("t")), [format!("a/knock ssh {used}")]);
    assert_eq!(world.open("b", "192.0.2.1", None, Some("t")), ["b/knock web opened"]);
}

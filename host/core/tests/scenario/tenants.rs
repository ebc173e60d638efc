//! Two tenants with a rule of the same name: what one is granted, opens or uses up is not the other's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{
    Action, Again, Bounds, Claim, ClaimKind, CloseRequest, CpuShare, DoorId, DoorPolicy, DropReason,
    Durability, Engine, Event, Grant, ListedOpening, Listing, Moment, Once, OpenRequest, Opening,
    OpeningNote, Policy, Receipt, Request, RuleId, TenantId, TenantLimits, UsedOnce, What,
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
        ..Policy::default()
    }
}

/// A client that is let in by rules of these tenants.
fn of(client: &str, tenants: &[&str]) -> (String, Vec<String>) {
    (client.to_owned(), tenants.iter().map(ToString::to_string).collect())
}

struct World {
    engine: Engine,
    used: UsedOnce,
    now: Moment,
}

impl World {
    fn new() -> Self {
        Self::of(policy())
    }

    fn of(policy: Policy) -> Self {
        let now = Moment(Duration::from_secs(60));
        Self { engine: Engine::new(Arc::new(policy)), used: UsedOnce::default(), now }
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

    /// Has a tenant's rule close a door; as for opening.
    fn close(&mut self, tenant: &str, client: &str) -> Vec<String> {
        let request = Request::Close(vec![CloseRequest::default()]);
        let (generation, source) = (self.engine.generation(), client.parse().unwrap());
        self.feed(Event::Judged { rule: rule(tenant), generation, source, request })
    }

    /// Each client that is let in, and by whose rules.
    fn open_for(&self) -> Vec<(String, Vec<String>)> {
        let owners = |opening: &Opening| {
            opening.parts().iter().map(|part| part.tenant().unwrap().to_string()).collect()
        };
        self.engine.openings().map(|(key, opening)| (key.client.to_string(), owners(opening))).collect()
    }

    fn feed(&mut self, event: Event) -> Vec<String> {
        let mut told = Vec::new();
        for action in self.engine.handle(event, self.now) {
            match action {
                Action::Order { order, .. } => {
                    told.extend(
                        self.feed(Event::Answered(Receipt { serial: order.serial, outcome: Ok(()) })),
                    );
                }
                Action::Claim(Claim { serial, rule, what: ClaimKind::Once(once), .. }) => {
                    let result = self.used.claim(&rule, &once);
                    told.extend(self.feed(Event::Claimed { serial, result }));
                }
                Action::Tell(report) => {
                    let what = match &report.what {
                        What::Opened { .. } => "opened".to_owned(),
                        What::Extended { .. } => "extended".to_owned(),
                        What::Closed { .. } => "closed".to_owned(),
                        What::WouldOpen { lasts } => format!("would open for {lasts:?}"),
                        What::WouldClose => "would close".to_owned(),
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

/// Two tenants and the host may open the same door; each tenant may have `openings`.
fn shared(openings: usize) -> Policy {
    let limits =
        TenantLimits { share: CpuShare::UNLIMITED, memory: Bounds::OF_A_RULE, openings, tokens: 10, log: 10 };
    let grant = || Grant { doors: vec![SSH], ..Grant::default() };
    Policy {
        grants: ["a", "b", "host"].map(|tenant| (rule(tenant), grant())).into(),
        tenants: ["a", "b"].map(|tenant| (TenantId::new(tenant), limits)).into(),
        max_openings: 100,
        ..policy()
    }
}

#[test]
fn a_tenant_has_as_many_openings_as_it_may_and_takes_none_from_others() {
    let mut world = World::of(shared(2));
    let full = |tenant: &str| vec![format!("{tenant}/knock ssh {}", DropReason::OpeningsFull)];
    for n in 1..=2 {
        assert_eq!(world.open("a", &format!("192.0.2.{n}"), None, None), ["a/knock ssh opened"]);
    }
    assert_eq!(world.open("a", "192.0.2.3", None, None), full("a"));
    assert_eq!(world.open("a", "192.0.2.3", None, Some("t")), full("a"), "and no token is used up in vain");
    assert_eq!(
        world.open("a", "192.0.2.1", None, None),
        ["a/knock ssh extended"],
        "what is its own is no new one"
    );
    assert_eq!(world.open("b", "192.0.2.3", None, None), ["b/knock ssh opened"]);
    assert_eq!(world.open("host", "192.0.2.4", None, None), ["knock ssh opened"]);
    // What another has open as well counts for each of them.
    assert_eq!(world.open("b", "192.0.2.1", None, None), ["b/knock ssh opened"]);
    assert_eq!(world.open("b", "192.0.2.2", None, None), full("b"));
    assert_eq!(world.open("a", "192.0.2.3", None, None), full("a"), "a has as many as before");
    assert_eq!(world.close("a", "192.0.2.1"), ["a/knock ssh closed"]);
    assert_eq!(
        world.open("a", "192.0.2.3", None, None),
        ["a/knock ssh opened"],
        "b's, of which a has room for one"
    );
}

#[test]
fn nobody_but_the_host_closes_what_another_opened() {
    let mut world = World::of(shared(10));
    let nothing: [&str; 0] = [];
    assert_eq!(world.open("a", "192.0.2.1", None, None), ["a/knock ssh opened"]);
    assert_eq!(world.close("b", "192.0.2.1"), nothing, "as if nothing were open");
    assert_eq!(world.open_for(), [of("192.0.2.1", &["a"])]);
    assert_eq!(world.open("b", "192.0.2.1", None, None), ["b/knock ssh opened"]);
    assert_eq!(world.close("a", "192.0.2.1"), ["a/knock ssh closed"]);
    assert_eq!(world.open_for(), [of("192.0.2.1", &["b"])]);
    assert_eq!(world.close("a", "192.0.2.1"), nothing);
    assert_eq!(world.open("a", "192.0.2.1", None, None), ["a/knock ssh opened"]);
    assert_eq!(world.open("host", "192.0.2.2", None, None), ["knock ssh opened"]);
    assert_eq!(world.close("a", "192.0.2.2"), nothing);
    assert_eq!(world.close("host", "192.0.2.1"), ["b/knock ssh closed", "a/knock ssh closed"]);
    assert_eq!(world.close("host", "192.0.2.2"), ["knock ssh closed"]);
    assert_eq!(world.open("a", "192.0.2.1", None, None), ["a/knock ssh opened"], "it begins anew");
    assert_eq!(world.close("a", "192.0.2.1"), ["a/knock ssh closed"]);
    assert_eq!(world.open_for(), []);
}

#[test]
fn what_was_found_open_is_closed_by_a_tenant_only_if_nobody_else_opens_the_door() {
    let found = |world: &mut World| {
        let opening = ListedOpening {
            door: SSH,
            client: "192.0.2.9".parse().unwrap(),
            remaining: Duration::from_secs(9),
            note: OpeningNote::default(),
        };
        let told = world.feed(Event::Listed(Listing { openings: vec![opening], ..Listing::default() }));
        assert_eq!(told, [""; 0]);
    };
    let mut alone = shared(10);
    alone.grants.retain(|rule, _| *rule.tenant.to_string() == *"a");
    for (policy, expected) in [(alone, "a/knock ssh closed"), (shared(10), "a/knock ssh not-its-own")] {
        let mut world = World::of(policy);
        found(&mut world);
        assert_eq!(world.close("a", "192.0.2.9"), [expected]);
    }
}

#[test]
fn a_tenant_that_asks_too_often_delays_nobody() {
    let mut world = World::of(shared(10));
    let too_fast = format!("a/knock ssh {}", DropReason::OrdersTooFast);
    let asked = |world: &mut World| {
        let mut told: Vec<_> = (0..700).flat_map(|_| world.open("a", "192.0.2.1", None, None)).collect();
        told.extend((0..700).flat_map(|_| world.close("a", "192.0.2.1")));
        1400 - told.iter().filter(|line| **line == too_fast).count()
    };
    assert_eq!(asked(&mut world), 1000);
    assert_eq!(world.open("b", "192.0.2.1", None, None).len(), 1);
    assert_eq!(world.open("host", "192.0.2.2", None, None), ["knock ssh opened"]);
    world.now = world.now.plus(Duration::from_secs(1));
    assert_eq!(asked(&mut world), 500);
}

#[test]
fn a_rule_on_trial_opens_closes_and_uses_up_nothing_and_says_what_it_would_do() {
    let mut policy = shared(1);
    policy.grants.get_mut(&rule("a")).unwrap().is_trial = true;
    let mut world = World::of(policy);
    assert_eq!(world.open("b", "192.0.2.1", None, None), ["b/knock ssh opened"]);
    for _ in 0..3 {
        let told = world.open("a", "192.0.2.1", None, Some("t"));
        assert_eq!(told, ["a/knock ssh would open for 10s"], "of any number, with the same token");
    }
    assert_eq!(world.close("a", "192.0.2.1"), ["a/knock ssh would close"]);
    let refused = DropReason::DoorNotGranted.name();
    assert_eq!(world.open("a", "192.0.2.1", Some("web"), None), [format!("a/knock web {refused}")]);
    assert_eq!(world.open_for(), [of("192.0.2.1", &["b"])]);
    assert_eq!(world.close("b", "192.0.2.1"), ["b/knock ssh closed"], "it was b's alone");
}

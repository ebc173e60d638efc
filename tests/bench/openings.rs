//! What the engine takes for very many openings: to open them, to let them end, and to lose their door in a reload.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use postern_core::{
    Action, Again, Client, DoorId, DoorPolicy, Durability, Engine, Event, Grant, Moment, OpenRequest, Policy,
    Receipt, Request, RuleId, TenantId,
};

const MANY: u32 = 100_000;
const SSH: DoorId = DoorId(2);
const OPENED: Moment = Moment(Duration::ZERO);
const ENDED: Moment = Moment(Duration::from_secs(60));

fn rule(door: DoorId) -> RuleId {
    RuleId { tenant: TenantId::host(), name: door.0.to_string().into() }
}

/// Doors in the packet filter with a rule each.
fn policy(doors: &[(DoorId, &str)]) -> Arc<Policy> {
    let door = |name: &str| DoorPolicy {
        name: name.into(),
        lasts: ENDED.since(OPENED),
        keeps_time: true,
        durability: Durability::None,
        again: Again::Extend,
        prefixes: Vec::new(),
        takes_links: true,
    };
    let grant = |id: DoorId| Grant { doors: vec![id], ..Grant::default() };
    Arc::new(Policy {
        grants: doors.iter().map(|(id, _)| (rule(*id), grant(*id))).collect(),
        doors: doors.iter().map(|(id, name)| (*id, door(name))).collect(),
        longest: Duration::from_secs(3600),
        max_openings: 1 << 20,
        ..Policy::default()
    })
}

/// Feeds the engine an event, and the doors' answers to what it orders; how many orders those were.
fn feed(engine: &mut Engine, event: Event, now: Moment) -> usize {
    let actions = engine.handle(event, now);
    answer(engine, actions, now)
}

fn answer(engine: &mut Engine, actions: Vec<Action>, now: Moment) -> usize {
    let mut orders = 0;
    for action in actions {
        if let Action::Order { order, .. } = action {
            orders += 1;
            engine.handle(Event::Answered(Receipt { serial: order.serial, outcome: Ok(()) }), now);
        }
    }
    orders
}

fn open(engine: &mut Engine, door: DoorId, rule: &RuleId) -> usize {
    let generation = engine.generation();
    let judged = |n| Event::Judged {
        rule: rule.clone(),
        generation,
        source: Client::alone(Ipv4Addr::from_bits(0x0a00_0000 + n).into()),
        request: Request::Open(vec![OpenRequest { door: None, ..OpenRequest::default() }]),
    };
    let orders = (0..MANY).map(|n| feed(engine, judged(n), OPENED)).sum();
    assert_eq!(engine.openings().filter(|(key, _)| key.door == door).count(), MANY as usize);
    orders
}

fn expire(engine: &mut Engine, now: Moment) -> usize {
    let mut orders = 0;
    while engine.next_deadline().is_some_and(|due| due <= now) {
        let actions = engine.handle_deadline(now);
        orders += answer(engine, actions, now);
    }
    orders
}

/// Another door's openings come first in the ledger, and last longer than what is measured.
fn with_others() -> Engine {
    let (web, ssh) = ((DoorId(1), "web"), (SSH, "ssh"));
    let mut engine = Engine::new(policy(&[web, ssh]));
    open(&mut engine, DoorId(1), &rule(DoorId(1)));
    engine
}

fn full() -> Engine {
    let mut engine = with_others();
    open(&mut engine, SSH, &rule(SSH));
    engine
}

/// Opens 100,000, beside as many of another door.
#[divan::bench(sample_count = 10)]
fn opening(bencher: Bencher<'_, '_>) {
    let rule = rule(SSH);
    bencher
        .counter(ItemsCount::new(MANY))
        .with_inputs(with_others)
        .bench_local_values(|mut engine| (open(&mut engine, SSH, black_box(&rule)), engine));
}

/// Closes 200,000 that end together.
#[divan::bench(sample_count = 10)]
fn expiring(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(2 * MANY))
        .with_inputs(full)
        .bench_local_values(|mut engine| (expire(&mut engine, ENDED), engine));
}

/// One piece of what ends together, the longest that a knock waits for.
#[divan::bench(sample_count = 10)]
fn expiring_one_piece(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(full)
        .bench_local_values(|mut engine| (engine.handle_deadline(black_box(ENDED)), engine));
}

/// The reload itself, which takes the door away that 100,000 have open.
#[divan::bench(sample_count = 10)]
fn removing_the_door(bencher: Bencher<'_, '_>) {
    let after = policy(&[(DoorId(1), "web")]);
    bencher.with_inputs(full).bench_local_values(|mut engine| {
        let orders = feed(&mut engine, Event::PolicyChanged(Arc::clone(&after)), OPENED);
        (orders, engine)
    });
}

/// The end of 100,000 openings whose door was taken away, and of as many of a door that was not.
#[divan::bench(sample_count = 10)]
fn expiring_without_the_door(bencher: Bencher<'_, '_>) {
    let after = policy(&[(DoorId(1), "web")]);
    let removed = || {
        let mut engine = full();
        feed(&mut engine, Event::PolicyChanged(Arc::clone(&after)), OPENED);
        engine
    };
    bencher
        .counter(ItemsCount::new(2 * MANY))
        .with_inputs(removed)
        .bench_local_values(|mut engine| (expire(&mut engine, ENDED), engine));
}

/// A reload that changes the door, so that 100,000 openings become another door's.
#[divan::bench(sample_count = 10)]
fn changing_the_door(bencher: Bencher<'_, '_>) {
    let after = policy(&[(DoorId(1), "web"), (DoorId(3), "ssh")]);
    bencher.with_inputs(full).bench_local_values(|mut engine| {
        let orders = feed(&mut engine, Event::PolicyChanged(Arc::clone(&after)), OPENED);
        (orders, engine)
    });
}

//! Very many openings: no step costs more than the openings it touches, and none takes long at once.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_core::{
    Act, Action, Again, Client, DoorId, DoorPolicy, Durability, Engine, Event, Grant, ListedOpening, Listing,
    Moment, OpenRequest, OpeningNote, Order, Policy, Receipt, Request, RuleId, TenantId,
};

/// Comes first in the ledger, so that a search for openings of another door meets all of its own.
const WEB: DoorId = DoorId(0);
const SSH: DoorId = DoorId(1);
const SSH_ELSEWHERE: DoorId = DoorId(2);
const LAMP: DoorId = DoorId(3);
/// Enough to tell a scan at every step from none.
const MANY: u32 = 20_000;

fn policy(doors: &[(DoorId, &str, bool)]) -> Arc<Policy> {
    let rule = |door: DoorId| {
        let name = door.0.to_string().into();
        (RuleId { tenant: TenantId::host(), name }, Grant { doors: vec![door], ..Grant::default() })
    };
    let door = |(id, name, keeps_time): &(DoorId, &str, bool)| {
        let policy = DoorPolicy {
            name: Arc::from(*name),
            lasts: Duration::from_secs(10),
            keeps_time: *keeps_time,
            durability: Durability::None,
            again: Again::Extend,
            prefixes: Vec::new(),
            takes_links: false,
        };
        (*id, policy)
    };
    Arc::new(Policy {
        grants: doors.iter().map(|(id, ..)| rule(*id)).collect(),
        doors: doors.iter().map(door).collect(),
        longest: Duration::from_secs(3600),
        max_openings: 1 << 20,
        ..Policy::default()
    })
}

fn at(seconds: f64) -> Moment {
    Moment(Duration::from_secs_f64(seconds))
}

fn orders(actions: Vec<Action>) -> Vec<Order> {
    let order = |action| match action {
        Action::Order { order, .. } => Some(order),
        Action::Claim(_)
        | Action::Record { .. }
        | Action::StrikeOut { .. }
        | Action::Note { .. }
        | Action::Abandon { .. }
        | Action::Tell(_) => None,
    };
    actions.into_iter().filter_map(order).collect()
}

fn answer(engine: &mut Engine, order: &Order, now: Moment) {
    let receipt = Receipt { serial: order.serial, outcome: Ok(()) };
    assert_eq!(orders(engine.handle(Event::Answered(receipt), now)), []);
}

/// Has a door open for so many clients from time 0 on; the orders to it have no answer yet.
fn ask(engine: &mut Engine, door: DoorId, count: u32) -> Vec<Order> {
    let rule = RuleId { tenant: TenantId::host(), name: door.0.to_string().into() };
    let source = |n: u32| Client::alone(Ipv4Addr::from_bits(0x0a00_0000 + n).into());
    let generation = engine.generation();
    let judged = |n| Event::Judged {
        rule: rule.clone(),
        generation,
        source: source(n),
        request: Request::Open(vec![OpenRequest::default()]),
    };
    (0..count).flat_map(|n| orders(engine.handle(judged(n), at(0.0)))).collect()
}

fn fill(engine: &mut Engine, door: DoorId, count: u32) {
    for order in ask(engine, door, count) {
        answer(engine, &order, at(0.0));
    }
    assert_eq!(engine.openings().filter(|(key, _)| key.door == door).count(), count as usize);
}

/// Does what is due, piece by piece.
fn expire(engine: &mut Engine, now: Moment) -> Vec<Order> {
    let mut ordered = Vec::new();
    while engine.next_deadline().is_some_and(|due| due <= now) {
        ordered.extend(orders(engine.handle_deadline(now)));
    }
    ordered
}

/// How long something takes, on a clock that this crate itself never reads.
#[expect(clippy::disallowed_methods, reason = "what is tested is the time that it takes")]
fn time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let done = work();
    (start.elapsed(), done)
}

/// Fails if `work` takes very much longer than to open what it works on, which costs the same for each opening.
#[track_caller]
fn as_cheap_as_opening(opening: Duration, work: impl FnOnce()) {
    let (taken, ()) = time(work);
    assert!(taken < opening * 10, "{taken:?}, and to open them all took {opening:?}");
}

#[test]
fn what_is_due_together_is_done_in_pieces() {
    let mut engine = Engine::new(policy(&[(SSH, "ssh", true)]));
    fill(&mut engine, SSH, 1000);
    let mut pieces = Vec::new();
    while engine.next_deadline().is_some_and(|due| due <= at(10.0)) {
        pieces.push(orders(engine.handle_deadline(at(10.0))).len());
        // A knock that comes in between need not wait for the rest.
        let stranger = Event::Judged {
            rule: RuleId { tenant: TenantId::host(), name: SSH.0.to_string().into() },
            generation: 1,
            source: Client::alone([192, 0, 2, u8::try_from(pieces.len()).unwrap()].into()),
            request: Request::Open(vec![OpenRequest::default()]),
        };
        assert_eq!(orders(engine.handle(stranger, at(10.0))).len(), 1);
    }
    assert_eq!(pieces, [256, 256, 256, 232]);
}

#[test]
fn what_was_lost_together_is_put_back_in_pieces() {
    let mut engine = Engine::new(policy(&[(WEB, "web", true), (SSH, "ssh", true)]));
    fill(&mut engine, WEB, MANY);
    let (opening, ()) = time(|| fill(&mut engine, SSH, 1000));
    let web = engine.openings().filter(|(key, _)| key.door == WEB);
    let remaining = Duration::from_secs(9);
    let openings: Vec<_> = web
        .map(|(key, _)| ListedOpening {
            door: WEB,
            client: key.client,
            remaining,
            note: OpeningNote::default(),
        })
        .collect();
    let mut asked = Vec::new();
    as_cheap_as_opening(opening * (1 + MANY / 1000), || {
        asked.push(orders(engine.handle(Event::Listed(Listing { openings, ..Listing::default() }), at(1.0))));
    });
    while engine.next_deadline().is_some_and(|due| due <= at(1.0)) {
        asked.push(orders(engine.handle_deadline(at(1.0))));
    }
    let pieces: Vec<_> = asked.iter().map(Vec::len).collect();
    assert_eq!(pieces, [256, 256, 256, 232]);
    for order in asked.into_iter().flatten() {
        assert_eq!((order.door, order.act), (SSH, Act::Open(remaining)));
        answer(&mut engine, &order, at(1.0));
    }
    assert_eq!(
        expire(&mut engine, at(10.0)).len(),
        1000 + MANY as usize,
        "each ends at its time all the same"
    );
}

#[test]
fn a_door_that_was_taken_away_ends_as_cheaply_as_it_opened() {
    let (web, ssh) = ((WEB, "web", false), (SSH, "ssh", true));
    let mut engine = Engine::new(policy(&[web, ssh]));
    fill(&mut engine, WEB, MANY);
    let (opening, ()) = time(|| fill(&mut engine, SSH, MANY));
    engine.handle(Event::PolicyChanged(policy(&[web])), at(1.0));
    as_cheap_as_opening(opening, || {
        let closed = expire(&mut engine, at(10.0));
        assert!(closed.iter().all(|order| order.door == WEB));
    });
    assert_eq!(&*engine.door_name(SSH), "", "a door is forgotten with its last opening");
}

#[test]
fn a_door_that_was_taken_away_with_orders_under_way_is_forgotten_with_their_answers() {
    let mut engine = Engine::new(policy(&[(WEB, "web", true), (SSH, "ssh", true)]));
    assert_eq!(ask(&mut engine, WEB, MANY).len(), MANY as usize);
    let (opening, asked) = time(|| ask(&mut engine, SSH, MANY));
    engine.handle(Event::PolicyChanged(policy(&[])), at(1.0));
    assert_eq!(expire(&mut engine, at(10.0)), []);
    assert_eq!(&*engine.door_name(SSH), "ssh");
    as_cheap_as_opening(opening, || asked.iter().for_each(|order| answer(&mut engine, order, at(11.0))));
    assert_eq!(&*engine.door_name(SSH), "");
    assert_eq!(&*engine.door_name(WEB), "web", "its answers are still to come");
}

#[test]
fn a_door_that_was_changed_takes_its_openings_and_orders_along() {
    let (before, after) = ((SSH, "ssh", true), (SSH_ELSEWHERE, "ssh", true));
    let mut engine = Engine::new(policy(&[before]));
    let (opening, ()) = time(|| fill(&mut engine, SSH, MANY));
    let asked = ask(&mut engine, SSH, 10);
    as_cheap_as_opening(opening, || {
        engine.handle(Event::PolicyChanged(policy(&[after])), at(1.0));
        asked.iter().for_each(|order| answer(&mut engine, order, at(1.0)));
        let closed = expire(&mut engine, at(10.0));
        assert!(closed.iter().all(|order| order.door == SSH_ELSEWHERE && order.act == Act::Expire));
        closed.iter().for_each(|order| answer(&mut engine, order, at(10.0)));
    });
    assert_eq!((engine.openings().count(), engine.is_settled()), (0, true));
    assert_eq!(&*engine.door_name(SSH), "");
}

#[test]
fn a_stop_asks_after_each_answer_what_is_left_and_need_not_count() {
    let mut engine = Engine::new(policy(&[(SSH, "ssh", true), (LAMP, "lamp", false)]));
    fill(&mut engine, SSH, MANY);
    let (opening, ()) = time(|| fill(&mut engine, LAMP, MANY));
    let closing = orders(engine.handle(Event::Stopping, at(1.0)));
    assert_eq!(closing.len(), MANY as usize);
    as_cheap_as_opening(opening, || {
        for (done, order) in closing.iter().enumerate() {
            assert_eq!(engine.left_to_close(), closing.len() - done);
            answer(&mut engine, order, at(1.0));
        }
    });
    assert_eq!(engine.left_to_close(), 0);
    assert_eq!(engine.openings().count(), MANY as usize, "the packet filter closes those");
}

#[test]
fn very_many_doors_change_at_once() {
    let doors = |first: u32| -> HashMap<DoorId, String> {
        (first..first + 2000).map(|n| (DoorId(n), format!("door{}", n - first))).collect()
    };
    let policy_of = |doors: &HashMap<DoorId, String>| {
        policy(&doors.iter().map(|(id, name)| (*id, name.as_str(), true)).collect::<Vec<_>>())
    };
    let (before, after) = (doors(10_000), doors(20_000));
    let mut engine = Engine::new(policy_of(&before));
    let (opening, ()) = time(|| before.keys().for_each(|door| fill(&mut engine, *door, 1)));
    as_cheap_as_opening(opening, || {
        engine.handle(Event::PolicyChanged(policy_of(&after)), at(1.0));
    });
    assert!(engine.openings().all(|(key, _)| after.contains_key(&key.door)));
    assert_eq!(engine.openings().count(), 2000);
}

//! Whose openings are when an engine has ended and another one finds them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use postern_core::{
    Act, Action, Again, DoorId, DoorPolicy, Durability, Engine, Event, Grant, ListedOpening, Listing, Moment,
    OpenRequest, OpeningNote, OpeningPart, OwnerMarks, Policy, Request, RuleId, TenantId,
};
use proptest::prelude::*;

use crate::world::check;

#[test]
fn each_has_its_own_part_for_its_own_time_after_a_restart() {
    check(
        "+0 open a/knock 192.0.2.1
         +5 open b/knock 192.0.2.1 lasts=60
         +6 restart
         +7 doors a b
         +20 doors a b
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 10s
            +5.0   -> ssh extend 60s 192.0.2.1
            +5.0 b/knock ssh 192.0.2.1: opened 60s
            +7.0 a sees ssh 192.0.2.1 by a/knock: since Some(7s), 3s left
            +7.0 b sees ssh 192.0.2.1 by b/knock: since Some(2s), 58s left
            +10.0 a/knock ssh 192.0.2.1: closed Expired
            +20.0 b sees ssh 192.0.2.1 by b/knock: since Some(15s), 45s left
            +65.0   -> ssh expire 192.0.2.1
            +65.0 b/knock ssh 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn whoever_closes_after_a_restart_closes_its_own() {
    check(
        "+0 open a/knock 192.0.2.1 lasts=60
         +1 open b/knock 192.0.2.1
         +2 open b/knock 192.0.2.2
         +3 restart
         +4 close a/knock 192.0.2.2
         +5 close b/knock 192.0.2.2
         +6 close a/knock 192.0.2.1
         +7 doors a b
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 60s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 60s
            +1.0   -> ssh extend 59s 192.0.2.1
            +1.0 b/knock ssh 192.0.2.1: opened 10s
            +2.0   -> ssh open 10s 192.0.2.2
            +2.0 b/knock ssh 192.0.2.2: opened 10s
            +5.0   -> ssh close 192.0.2.2
            +5.0 b/knock ssh 192.0.2.2: closed Asked
            +6.0   -> ssh extend 5s 192.0.2.1
            +6.0 a/knock ssh 192.0.2.1: closed Asked
            +7.0 b sees ssh 192.0.2.1 by b/knock: since Some(6s), 4s left
            +11.0   -> ssh expire 192.0.2.1
            +11.0 b/knock ssh 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_was_closed_before_a_restart_stays_so_and_what_is_extended_after_it_goes_on() {
    check(
        "+0 open a/knock 192.0.2.1 lasts=60
         +1 open b/knock 192.0.2.1
         +2 close a/knock 192.0.2.1
         +3 restart
         +4 doors a b
         +5 open b/knock 192.0.2.1 lasts=30
         +6 restart
         +7 doors a b
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 60s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 60s
            +1.0   -> ssh extend 59s 192.0.2.1
            +1.0 b/knock ssh 192.0.2.1: opened 10s
            +2.0   -> ssh extend 9s 192.0.2.1
            +2.0 a/knock ssh 192.0.2.1: closed Asked
            +4.0 b sees ssh 192.0.2.1 by b/knock: since Some(3s), 7s left
            +5.0   -> ssh extend 30s 192.0.2.1
            +5.0 b/knock ssh 192.0.2.1: extended 30s
            +7.0 b sees ssh 192.0.2.1 by b/knock: since Some(6s), 28s left
            +35.0   -> ssh expire 192.0.2.1
            +35.0 b/knock ssh 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_part_that_ends_while_there_is_no_engine_is_gone_and_the_host_is_an_owner_as_well() {
    check(
        "+0 open a/knock 192.0.2.1 lasts=3
         +0 open brief 192.0.2.1
         +1 open knock 192.0.2.1 lasts=20
         +2 delay 100
         +2 open b/knock 192.0.2.1 lasts=15
         +10 restart
         +10 delay 0
         +11 doors a b host
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 3s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 3s
            +0.0   -> ssh extend 3s 192.0.2.1
            +0.0 brief ssh 192.0.2.1: opened 3s
            +1.0   -> ssh extend 20s 192.0.2.1
            +1.0 knock ssh 192.0.2.1: extended 20s
            +2.0   -> ssh extend 19s 192.0.2.1
            +3.0 a/knock ssh 192.0.2.1: closed Expired
            +11.0 b sees ssh 192.0.2.1 by b/knock: since Some(9s), 6s left
            +11.0 host sees ssh 192.0.2.1 by knock: since Some(11s), 10s left
            +17.0 b/knock ssh 192.0.2.1: closed Expired
            +21.0   -> ssh expire 192.0.2.1
            +21.0 knock ssh 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_a_command_opened_is_closed_by_whoever_it_is_after_a_restart() {
    check(
        "+0 open a/knock 192.0.2.1 door=lamp
         +1 open b/knock 192.0.2.1 door=lamp lasts=60
         +2 open a/knock 192.0.2.2 door=lamp
         +3 restart
         +4 doors a b
         +5 close b/knock 192.0.2.2 door=lamp
         +6 close a/knock 192.0.2.2 door=lamp
         +7 close b/knock 192.0.2.1 door=lamp
         +8 restart
         +9 doors a b
         +90 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0   -> journal lamp 10s 192.0.2.1
            +0.0 a/knock lamp 192.0.2.1: opened 10s
            +1.0   -> journal lamp 60s 192.0.2.1
            +1.0 b/knock lamp 192.0.2.1: opened 60s
            +2.0   -> lamp open 10s 192.0.2.2
            +2.0   -> journal lamp 10s 192.0.2.2
            +2.0 a/knock lamp 192.0.2.2: opened 10s
            +4.0 a sees lamp 192.0.2.1 by a/knock: since Some(4s), 6s left
            +4.0 a sees lamp 192.0.2.2 by a/knock: since Some(2s), 8s left
            +4.0 b sees lamp 192.0.2.1 by b/knock: since Some(3s), 57s left
            +6.0   -> lamp close 192.0.2.2
            +6.0 a/knock lamp 192.0.2.2: closed Asked
            +7.0   -> journal lamp 3s 192.0.2.1
            +7.0 b/knock lamp 192.0.2.1: closed Asked
            +9.0 a sees lamp 192.0.2.1 by a/knock: since Some(9s), 1s left
            +10.0   -> lamp close 192.0.2.1
            +10.0 a/knock lamp 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn the_host_closes_after_a_restart_what_its_command_opened_once_more_each() {
    check(
        "+0 open knock 192.0.2.1 door=bell lasts=30
         +1 open knock 192.0.2.1 door=bell lasts=40
         +2 restart
         +3 open knock 192.0.2.1 door=bell
         +4 close knock 192.0.2.1 door=bell
         +90 end",
        expect![[r#"
            +0.0   -> bell open 30s 192.0.2.1
            +0.0   -> journal bell 30s 192.0.2.1
            +0.0 knock bell 192.0.2.1: opened 30s
            +1.0   -> bell open 40s 192.0.2.1
            +1.0   -> journal bell 40s 192.0.2.1
            +1.0 knock bell 192.0.2.1: opened 40s
            +3.0   -> bell open 10s 192.0.2.1
            +3.0   -> journal bell 10s 192.0.2.1
            +3.0 knock bell 192.0.2.1: opened 10s
            +4.0   -> bell close 192.0.2.1
            +4.0   -> bell close 192.0.2.1
            +4.0   -> bell close 192.0.2.1
            +4.0 knock bell 192.0.2.1: closed Asked
            +4.0 knock bell 192.0.2.1: closed Asked
            +4.0 knock bell 192.0.2.1: closed Asked
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_is_its_owners_stays_so_when_the_rule_is_gone_and_is_nobody_elses_when_the_owner_is() {
    check(
        "+0 open a/knock 192.0.2.1 lasts=60
         +1 restart a/knock
         +2 close b/knock 192.0.2.1
         +3 open b/knock 192.0.2.1
         +4 restart
         +5 doors a b
         +6 close b/knock 192.0.2.1
         +7 doors a b
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 60s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 60s
            +3.0   -> ssh extend 57s 192.0.2.1
            +3.0 b/knock ssh 192.0.2.1: opened 10s
            +5.0 a sees ssh 192.0.2.1 by a/knock: since Some(5s), 55s left
            +5.0 b sees ssh 192.0.2.1 by b/knock: since Some(2s), 8s left
            +6.0   -> ssh extend 54s 192.0.2.1
            +6.0 b/knock ssh 192.0.2.1: closed Asked
            +7.0 a sees ssh 192.0.2.1 by a/knock: since Some(7s), 53s left
            +60.0   -> ssh expire 192.0.2.1
            +60.0 a/knock ssh 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_is_somebody_elses_is_not_a_tenants_because_nobody_else_may_open_the_door_now() {
    check(
        "+0 open a/knock 192.0.2.1 lasts=60
         +1 restart a/knock knock brief once
         +2 close b/knock 192.0.2.1
         +3 open b/knock 192.0.2.1
         +4 close b/knock 192.0.2.1
         +5 doors b
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 60s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 60s
            +3.0   -> ssh extend 57s 192.0.2.1
            +3.0 b/knock ssh 192.0.2.1: opened 10s
            +4.0   -> ssh extend 56s 192.0.2.1
            +4.0 b/knock ssh 192.0.2.1: closed Asked
            +60.0   -> ssh expire 192.0.2.1
            +60.0 - ssh 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

const DOOR: DoorId = DoorId(1);
const TENANTS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

fn rule(tenant: &str) -> RuleId {
    RuleId { tenant: TenantId::new(tenant), name: "knock".into() }
}

/// An engine with a door in the packet filter that a rule of each tenant may open.
fn engine() -> Engine {
    let door = DoorPolicy {
        name: "ssh".into(),
        lasts: Duration::from_secs(60),
        keeps_time: true,
        durability: Durability::None,
        again: Again::Extend,
        prefixes: Vec::new(),
        takes_links: false,
    };
    let grant = |tenant| (rule(tenant), Grant { doors: vec![DOOR], ..Grant::default() });
    let grants: HashMap<_, _> = TENANTS.into_iter().map(grant).collect();
    Engine::new(Arc::new(Policy {
        marks: OwnerMarks::new(grants.keys(), [], |name| name.bytes().map(u64::from).sum()),
        grants,
        doors: HashMap::from([(DOOR, door)]),
        longest: Duration::from_secs(3600),
        max_openings: 10,
        ..Policy::default()
    }))
}

/// One that finds the door open for so many seconds, with this note.
fn finding(note: OpeningNote, seconds: u64, now: Moment) -> Engine {
    let mut engine = engine();
    let client = "192.0.2.1".parse().unwrap();
    let remaining = Duration::from_secs(seconds);
    let openings = vec![ListedOpening { door: DOOR, client, remaining, note }];
    assert_eq!(engine.handle(Event::Listed(Listing { openings, lived_on: BTreeSet::new() }), now), []);
    engine
}

/// What is noted when rules of so many tenants have opened the door, each for a second less than the one before.
fn noted(count: usize) -> OpeningNote {
    let (mut engine, mut last) = (engine(), OpeningNote::default());
    for (n, tenant) in (0..).zip(&TENANTS[..count]) {
        let lasts = Some(Duration::from_secs(60 - n));
        let request = Request::Open(vec![OpenRequest { lasts, ..OpenRequest::default() }]);
        let source = "192.0.2.1".parse().unwrap();
        let judged = Event::Judged { rule: rule(tenant), generation: 1, source, request };
        for action in engine.handle(judged, Moment::default()) {
            if let Action::Order { order, note, .. } = action {
                assert!(matches!(order.act, Act::Open(_) | Act::Extend(_)));
                last = note;
            }
        }
    }
    last
}

#[test]
fn of_more_owners_than_there_is_room_for_the_last_are_nobody_until_the_last_of_them_ends() {
    let now = Moment(Duration::from_secs(100));
    for count in [1, 8, 9, TENANTS.len()] {
        let engine = finding(noted(count), 60, now);
        let (_, opening) = engine.openings().next().unwrap();
        let named = if count <= 8 { count } else { 7 };
        let ends: Vec<_> = opening.parts().iter().map(|part| part.until.since(now).as_secs()).collect();
        let owners = opening.parts().iter().filter(|part| part.rule.is_some()).count();
        assert_eq!(owners, named, "{count}");
        let rest = (count > 8).then_some(53);
        assert_eq!(ends, (0..named as u64).map(|n| 60 - n).chain(rest).collect::<Vec<_>>());
    }
}

proptest! {
    /// Whatever is noted, the door is open as long as the packet filter says, each owner has one part of that, and the engine ends all of it.
    #[test]
    fn no_note_keeps_a_door_open_or_closes_it(
        bytes in proptest::collection::vec(any::<u8>(), 0..=postern_core::MOST_NOTE),
        (count, cut, at, byte) in (1_usize..=12, 0_usize..300, 0_usize..300, any::<u8>()),
        is_noise: bool,
    ) {
        let bytes = if is_noise {
            bytes
        } else {
            let mut near = noted(count).as_bytes().to_vec();
            near.truncate(cut.max(1));
            let at = at % near.len();
            near[at] = byte;
            near
        };
        let now = Moment(Duration::from_secs(100));
        let end = now.plus(Duration::from_secs(60));
        let mut engine = finding(OpeningNote::from_bytes(&bytes).unwrap(), 60, now);
        let (_, opening) = engine.openings().next().unwrap();
        prop_assert_eq!(opening.until(), end);
        prop_assert!(opening.parts().iter().all(|part| part.until > now && part.since.is_none_or(|since| since <= now)));
        let owners: Vec<_> = opening.parts().iter().filter_map(OpeningPart::tenant).collect();
        prop_assert_eq!(owners.iter().collect::<BTreeSet<_>>().len(), owners.len());
        let mut orders = 0;
        while let Some(due) = engine.next_deadline().filter(|due| *due <= end) {
            for action in engine.handle_deadline(due) {
                if let Action::Order { order, .. } = action {
                    prop_assert_eq!((order.act, due), (Act::Expire, end));
                    orders += 1;
                }
            }
        }
        prop_assert_eq!(orders, 1);
    }
}

//! What the engine orders happens in the doorman's process.

use postern_core::{Act, NetDoor, Posture, Unprotected};
use postern_link::{LinkAnswer, LinkRequest, WhyNotInPlace};

use crate::engine::{Engine, Hostile, clients};
use crate::supervisor::Supervisor;
use crate::world::{CLIENT4, CLIENT6, HOST4, HOST6, World, nft, run};
use crate::{MINUTE, SSH, table};

#[test]
fn the_guard_is_up_before_there_is_a_table_and_orders_open_it_then() {
    let Some(world) = World::new() else { return };
    let _listener = std::net::TcpListener::bind(("::", 22)).unwrap();
    let mut supervisor = Supervisor::start();
    let NetDoor::Guard(guard) = table(1).doors[0].1.clone() else { panic!() };
    assert_ne!(supervisor.guard(vec![guard]).unwrap(), Posture::Unguarded);
    world.must_hear_nothing(CLIENT4, (HOST4, 22));

    supervisor.give(table(1));
    let mut engine = Engine::start(supervisor.link());
    // The guard alone opens for nobody.
    assert_eq!(engine.say(SSH, CLIENT4, Act::Open(MINUTE)), Err("beyond-table"));
    assert_ne!(engine.put_in_place(1).unwrap(), Posture::Unguarded);
    assert_eq!(supervisor.hears_of(), 1);
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
    assert_eq!(engine.say(SSH, CLIENT4, Act::Open(MINUTE)), Ok(()));
    assert_eq!(engine.say(SSH, CLIENT6, Act::Open(MINUTE)), Ok(()));
    world.must_connect(CLIENT4, (HOST4, 22));
    world.must_connect(CLIENT6, (HOST6, 22));
    assert_eq!(clients(&engine.list().unwrap()), [CLIENT4.parse().unwrap(), CLIENT6.parse().unwrap()]);
    assert_eq!(engine.say(SSH, CLIENT4, Act::Close), Ok(()));
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
    world.must_connect(CLIENT6, (HOST6, 22));
    // Its end takes nothing away.
    assert!(supervisor.leave());
    world.must_connect(CLIENT6, (HOST6, 22));
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
}

#[test]
fn a_table_that_cannot_be_put_in_place_leaves_the_one_before() {
    let Some(_world) = World::new() else { return };
    let mut supervisor = Supervisor::start();
    let mut wrong = table(2);
    wrong.doors[0].1 = NetDoor::Set { sets: vec!["inet filter missing".parse().unwrap()] };
    supervisor.give(table(1));
    supervisor.give(wrong);
    let mut engine = Engine::start(supervisor.link());
    engine.put_in_place(1).unwrap();
    let refused = engine.put_in_place(2).unwrap_err();
    assert_eq!(refused.why, WhyNotInPlace::Mistakes);
    let (door, text) = &refused.mistakes[0];
    assert!(*door == SSH && text.contains("there is no set inet filter missing"), "{refused:?}");
    assert_eq!(engine.say(SSH, CLIENT4, Act::Open(MINUTE)), Ok(()));
}

#[test]
fn what_another_program_changes_is_told_to_the_engine() {
    let Some(_world) = World::new() else { return };
    let mut supervisor = Supervisor::start();
    let mut with_set = table(1);
    with_set.doors[0].1 = NetDoor::Set { sets: vec!["inet filter web".parse().unwrap()] };
    nft("table inet filter { set web { type ipv4_addr; flags timeout; }; }");
    supervisor.give(with_set);
    let mut engine = Engine::start(supervisor.link());
    engine.put_in_place(1).unwrap();
    engine.list().unwrap();
    assert_eq!(engine.say(SSH, CLIENT4, Act::Open(MINUTE)), Ok(()));
    run(&format!("nft delete element inet filter web {{ {CLIENT4} }}"));
    let listing = engine.changed();
    assert!(clients(&listing).is_empty() && listing.lived_on.contains(&SSH), "{listing:?}");
}

#[test]
fn a_guard_without_an_owner_is_put_up_again() {
    let Some(world) = World::new() else { return };
    let _listener = std::net::TcpListener::bind(("::", 22)).unwrap();
    // The kernel lets no owner be added to it.
    nft("table inet postern { }");
    let mut supervisor = Supervisor::start();
    supervisor.give(table(1));
    let mut engine = Engine::start(supervisor.link());
    assert_eq!(engine.put_in_place(1).unwrap(), Posture::Plain(Unprotected::Found));
    assert_eq!(engine.say(SSH, CLIENT4, Act::Open(MINUTE)), Ok(()));
    run("nft flush ruleset");
    let listing = engine.changed();
    assert!(clients(&listing).is_empty() && !listing.lived_on.contains(&SSH), "{listing:?}");
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
}

#[test]
fn the_packets_of_an_opening_are_told_and_only_of_the_doors_in_place() {
    let Some(world) = World::new() else { return };
    let _listener = std::net::TcpListener::bind(("::", 22)).unwrap();
    let mut supervisor = Supervisor::start();
    let mut engine = Engine::start(supervisor.link());
    assert_eq!(engine.packets(CLIENT4), None, "no table is in place");
    (1..=2).for_each(|number| supervisor.give(table(number)));
    engine.put_in_place(1).unwrap();
    for client in [CLIENT4, "fd77::/64"] {
        assert_eq!(engine.packets(client), None, "it is not open");
        assert_eq!(engine.say(SSH, client, Act::Open(MINUTE)), Ok(()));
        assert_eq!(engine.packets(client), Some(0));
    }
    drop(world.must_connect(CLIENT4, (HOST4, 22)));
    drop(world.must_connect(CLIENT6, (HOST6, 22)));
    assert!(engine.packets(CLIENT4) >= Some(1));
    assert!(engine.packets("fd77::/64") >= Some(1));
    engine.put_in_place(2).unwrap();
    assert!(engine.packets(CLIENT4) >= Some(1), "it asks by the table that it had put in place");

    // What a question by an older table means is not known any more.
    let hostile = Hostile::start(supervisor.link());
    let ask = |table| {
        let client = CLIENT4.parse().unwrap();
        hostile.write(&LinkRequest::Packets { ticket: 3, table, door: SSH, client }.encode());
        match hostile.read() {
            Some(LinkAnswer::Counted { ticket: 3, packets }) => packets,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((ask(1), ask(3)), (None, None));
    assert!(ask(2) >= Some(1));
}

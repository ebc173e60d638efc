//! What an engine that was taken over cannot do.

use std::time::Duration;

use postern_core::Act;
use postern_link::{LinkAnswer, LinkRequest, REQUEST_SIZE};

use crate::engine::{Engine, Hostile};
use crate::supervisor::Supervisor;
use crate::world::{CLIENT4, HOST4, World};
use crate::{MINUTE, SSH, table};

#[test]
fn no_order_goes_beyond_the_table() {
    let Some(world) = World::new() else { return };
    let _listener = std::net::TcpListener::bind(("::", 22)).unwrap();
    let mut supervisor = Supervisor::start();
    (1..=3).for_each(|number| supervisor.give(table(number)));
    let engine = Hostile::start(supervisor.link());
    let open = Act::Open(MINUTE);
    assert_eq!(engine.say(1, 1, CLIENT4, open), Err("beyond-table"), "no table is in place");
    assert!(matches!(engine.put_in_place(4), Some(LinkAnswer::NotInPlace { .. })), "nobody gave it");
    assert!(matches!(engine.put_in_place(2), Some(LinkAnswer::InPlace { .. })));
    assert!(matches!(engine.put_in_place(1), Some(LinkAnswer::NotInPlace { .. })), "it is older");
    for (table, door, client, act, why) in [
        (1, 1, CLIENT4, open, "an older table"),
        (3, 1, CLIENT4, open, "a later table"),
        (2, 2, CLIENT4, open, "another door"),
        (2, 1, "0.0.0.0/8", open, "a width that the table does not have"),
        (2, 1, "::/16", open, "a width that the table does not have"),
        (2, 1, CLIENT4, Act::Open(MINUTE + Duration::from_millis(1)), "too long"),
        (2, 1, CLIENT4, Act::Extend(MINUTE * 1000), "much too long"),
    ] {
        assert_eq!(engine.say(table, door, client, act), Err("beyond-table"), "{why}");
    }
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
    for n in 1..=3 {
        assert_eq!(engine.say(2, 1, &format!("192.0.2.{n}"), open), Ok(()));
    }
    assert_eq!(engine.say(2, 1, CLIENT4, open), Err("openings-full"));
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
    let most = (0..5000).find(|_| engine.say(2, 1, CLIENT4, Act::Expire) == Err("orders-too-fast"));
    assert!(most.is_some(), "there is no limit to orders a second");
    let is_refused = || {
        engine.write(&LinkRequest::List { ticket: 1 }.encode());
        loop {
            match engine.read() {
                Some(LinkAnswer::Listed { outcome, .. }) => break outcome.is_err(),
                Some(LinkAnswer::Openings { .. } | LinkAnswer::LivedOn { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    assert!((0..5000).any(|_| is_refused()), "there is no limit to listings a second");
    assert!(
        matches!(engine.put_in_place(2), Some(LinkAnswer::NotInPlace { .. })),
        "tables have the same limit"
    );
}

#[test]
fn nonsense_ends_the_link_and_nothing_else() {
    let Some(_world) = World::new() else { return };
    let mut supervisor = Supervisor::start();
    supervisor.give(table(1));
    let probe = LinkRequest::Probe { ticket: 1 }.encode();
    let unknown = [0xff; REQUEST_SIZE];
    for nonsense in
        [&probe[..63], &[1, 2, 3], &unknown, &[0; 10_000], &LinkRequest::List { ticket: 1 }.encode()[..1]]
    {
        let engine = Hostile::start(supervisor.link());
        engine.write(&probe);
        assert_eq!(engine.read(), Some(LinkAnswer::Probed { ticket: 1, outcome: Ok(()) }));
        engine.write(nonsense);
        assert_eq!(engine.read(), None, "{nonsense:?}");
    }
    // One that does not say hello first.
    let link = supervisor.link();
    assert_eq!(link.send(&probe), postern_link::Sent::Sent);
    let mut engine = Engine::start(supervisor.link());
    engine.put_in_place(1).unwrap();
    assert_eq!(engine.say(SSH, CLIENT4, Act::Open(MINUTE)), Ok(()));
}

#[test]
fn an_engine_that_reads_nothing_stops_no_other() {
    let Some(_world) = World::new() else { return };
    let mut supervisor = Supervisor::start();
    supervisor.give(table(1));
    let deaf = supervisor.link();
    let hello = LinkRequest::Hello(postern_link::Hello::of_this_process().unwrap());
    assert_eq!(deaf.send(&hello.encode()), postern_link::Sent::Sent);
    let mut sent = 0;
    // It takes no further request when it has too many answers, so that this ends.
    while deaf.send(&LinkRequest::List { ticket: 1 }.encode()) == postern_link::Sent::Sent && sent < 100_000 {
        sent += 1;
    }
    std::thread::sleep(Duration::from_millis(200));
    while deaf.send(&LinkRequest::List { ticket: 1 }.encode()) == postern_link::Sent::Sent && sent < 100_000 {
        sent += 1;
    }
    assert!(sent < 100_000, "the doorman keeps whatever it is sent");
    let mut engine = Engine::start(supervisor.link());
    engine.put_in_place(1).unwrap();
    assert_eq!(engine.say(SSH, CLIENT4, Act::Open(MINUTE)), Ok(()));
}

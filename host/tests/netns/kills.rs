//! The doorman's process dies at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use postern_core::{Act, DropReason, Posture};
use postern_doorman::DoormanEvent;
use posternd::net_doors::NetDoors as _;
use rustix::process::Signal;

use crate::engine::{Engine, clients};
use crate::supervisor::Supervisor;
use crate::world::{CLIENT4, HOST4, NEIGHBOUR4, World, run, try_nft};
use crate::{MINUTE, SSH, table};

/// A doorman with table 1 in place, and its engine.
fn start() -> (Supervisor, Engine) {
    let mut supervisor = Supervisor::start();
    supervisor.give(table(1));
    let engine = Engine::start(supervisor.link());
    engine.put_in_place(1).unwrap();
    assert_eq!(supervisor.hears_of(), 1);
    (supervisor, engine)
}

#[test]
fn a_killed_doorman_leaves_the_guard_up_and_owned_and_the_next_goes_on() {
    let Some(world) = World::new() else { return };
    let _listener = std::net::TcpListener::bind(("::", 22)).unwrap();
    let (mut supervisor, mut engine) = start();
    let is_owned = engine.put_in_place(1).unwrap() == Posture::Owned;
    assert_eq!(engine.say(SSH, CLIENT4, Act::Open(MINUTE)), Ok(()));
    supervisor.kill();
    // No doorman is there.
    world.must_connect(CLIENT4, (HOST4, 22));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    if is_owned {
        // The supervisor's copy of the socket keeps others from it.
        try_nft("flush table inet postern").unwrap_err();
        try_nft("delete table inet postern").unwrap_err();
    }
    // It waits for the next doorman.
    let serial = engine.order(SSH, NEIGHBOUR4, Act::Open(MINUTE));
    let supervisor = supervisor.restart(table(1));
    engine.reconnector.reconnect(OwnedFd::from(supervisor.link()));
    // What is open comes before the answers to what waited.
    let listing = engine.changed();
    assert_eq!(clients(&listing), [CLIENT4.parse().unwrap()]);
    assert!(listing.lived_on.is_empty(), "{listing:?}");
    let receipt = engine.receipt();
    assert_eq!((receipt.serial, receipt.outcome), (serial, Ok(())));
    world.must_connect(NEIGHBOUR4, (HOST4, 22));
    if is_owned {
        assert_eq!(engine.put_in_place(1).unwrap(), Posture::Owned, "the next doorman owns it, too");
        try_nft("delete table inet postern").unwrap_err();
    }
    // Once nobody holds the socket, the guard stays all the same.
    drop((supervisor, engine));
    assert!(run("nft list tables").contains("inet postern"));
    world.must_connect(CLIENT4, (HOST4, 22));
}

#[test]
fn a_doorman_whose_socket_is_of_no_use_takes_the_table_with_another() {
    let Some(world) = World::new() else { return };
    let _listener = std::net::TcpListener::bind(("::", 22)).unwrap();
    let (mut supervisor, mut engine) = start();
    assert_eq!(engine.say(SSH, CLIENT4, Act::Open(MINUTE)), Ok(()));
    supervisor.kill();
    supervisor.lose_socket();
    let supervisor = supervisor.restart(table(1));
    engine.reconnector.reconnect(OwnedFd::from(supervisor.link()));
    assert_eq!(clients(&engine.changed()), [CLIENT4.parse().unwrap()]);
    world.must_connect(CLIENT4, (HOST4, 22));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    assert_eq!(engine.say(SSH, NEIGHBOUR4, Act::Open(MINUTE)), Ok(()));
}

#[test]
fn orders_are_refused_by_name_while_no_doorman_comes() {
    let Some(_world) = World::new() else { return };
    let (mut supervisor, mut engine) = start();
    supervisor.kill();
    let before = Instant::now();
    assert_eq!(engine.say(SSH, CLIENT4, Act::Open(MINUTE)), Err("restarting"));
    let waited = before.elapsed();
    assert!(waited > Duration::from_secs(1) && waited < Duration::from_secs(5), "{waited:?}");
    // Nothing waits any longer.
    let before = Instant::now();
    assert_eq!(engine.say(SSH, CLIENT4, Act::Open(MINUTE)), Err("restarting"));
    assert!(engine.list().unwrap_err().contains("restarted"));
    assert!(engine.put_in_place(1).unwrap_err().text.contains("restarted"));
    assert!(before.elapsed() < Duration::from_millis(500));
    let supervisor = supervisor.restart(table(1));
    engine.reconnector.reconnect(OwnedFd::from(supervisor.link()));
    engine.changed();
    assert_eq!(engine.say(SSH, CLIENT4, Act::Open(MINUTE)), Ok(()));
    engine.doorman.stop();
}

/// Every order has exactly one answer, and what was answered to be open is open, whenever the doorman dies.
#[test]
fn no_order_is_left_without_its_answer() {
    let Some(_world) = World::new() else { return };
    let (mut supervisor, mut engine) = start();
    for round in 0..10_u64 {
        let mut orders = BTreeMap::new();
        for n in 0..60 {
            let client = format!("192.0.2.{}", n % 3 + 1);
            orders.insert(engine.order(SSH, &client, Act::Extend(MINUTE)), client);
        }
        std::thread::sleep(Duration::from_micros(round * 150));
        supervisor.kill();
        for _ in 0..60 {
            let client = "192.0.2.1".to_owned();
            orders.insert(engine.order(SSH, &client, Act::Open(MINUTE)), client);
        }
        supervisor = supervisor.restart(table(1));
        engine.reconnector.reconnect(OwnedFd::from(supervisor.link()));
        let mut open = BTreeSet::new();
        let mut listings = 0;
        while !orders.is_empty() {
            match engine.event() {
                DoormanEvent::Answered(receipt) => {
                    let client = orders.remove(&receipt.serial).expect("an answer that nobody waits for");
                    match receipt.outcome.as_ref().map_err(|error| error.reason()) {
                        Ok(()) => drop(open.insert(client)),
                        Err(reason) => assert_eq!(reason, DropReason::Restarting, "{receipt:?}"),
                    }
                }
                DoormanEvent::RulesetChanged(_) => listings += 1,
                DoormanEvent::CameIn(..) => panic!("nothing is tried"),
            }
        }
        assert!(listings >= 1);
        let listed = clients(&engine.list().unwrap());
        let are_listed = open.iter().all(|client| listed.contains(&client.parse().unwrap()));
        assert!(!open.is_empty() && are_listed, "{open:?} {listed:?}");
    }
}

/// A doorman that is stopped keeps no judging thread waiting, and what is too much is dropped by name.
#[test]
fn a_stopped_doorman_fills_a_bounded_queue() {
    let Some(_world) = World::new() else { return };
    let (supervisor, mut engine) = start();
    supervisor.signal(Signal::STOP);
    let before = Instant::now();
    let mut orders: BTreeSet<_> =
        (0..20_000).map(|_| engine.order(SSH, CLIENT4, Act::Open(MINUTE))).collect();
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    let mut dropped = 0;
    while let Some(receipt) = engine.receipt_within(Duration::from_millis(100)) {
        let reason = receipt.outcome.as_ref().map_err(|error| error.reason());
        assert_eq!(reason, Err(DropReason::LinkFull), "{receipt:?}");
        assert!(orders.remove(&receipt.serial));
        dropped += 1;
    }
    assert!(dropped > 10_000 && orders.len() > 4000, "{dropped} of 20,000");
    supervisor.signal(Signal::CONT);
    let mut done = 0;
    while !orders.is_empty() {
        let receipt = engine.receipt();
        assert!(orders.remove(&receipt.serial));
        match receipt.outcome.as_ref().map_err(|error| error.reason()) {
            Ok(()) => done += 1,
            Err(reason) => assert_eq!(reason, DropReason::OrdersTooFast),
        }
    }
    assert!(done >= 1000, "{done}");
    assert_eq!(clients(&engine.list().unwrap()), [CLIENT4.parse().unwrap()]);
}

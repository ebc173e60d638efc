//! A guard that is tried: the kernel lets everything pass at the end, whatever the doorman does or does not do, unless it is confirmed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_core::{Act, DoorId, GuardDoor, GuardProtocol, NetDoor, OnClose, PortRange, Trusted};
use postern_doorman::{Doorman, DoormanError, GuardKeeper, GuardTrial, Posture, Release, give_up_trial};

use crate::world::{CLIENT4, CLIENT6, HOST4, HOST6, NEIGHBOUR4, World, nft, run, wait_until};
use crate::{MINUTE, SSH, guard, identity, listen, must, postern_table, ssh, start};

/// A trial that begins now.
fn first(lasts: Duration) -> GuardTrial {
    GuardTrial { until: Instant::now() + lasts, is_begun: false }
}

/// A keeper, and no doorman so far.
fn keeper(trial: GuardTrial) -> (GuardKeeper, Option<Doorman>) {
    (GuardKeeper::new(Some(identity()), Arc::new(())).on_trial(Some(trial)), None)
}

/// How long the kernel lets the guard stay; none if it does not know of a trial.
fn left() -> Option<Duration> {
    let table = postern_table();
    let elements = table.split("set trial {").nth(1)?.split('}').next()?;
    let expires = elements.split("expires ").nth(1)?.split([',', ' ']).next()?;
    Some(postern_text::duration::parse(expires).expect("nft writes durations as we do"))
}

fn web() -> (DoorId, NetDoor) {
    (DoorId(2), guard(&[(GuardProtocol::Tcp, 80)], OnClose::Cut))
}

#[test]
fn nft_shows_what_is_tried_as_documented() {
    let Some(_world) = World::new() else { return };
    let (mut keeper, mut doorman) = keeper(first(MINUTE));
    assert_eq!(keeper.set_doors(&mut doorman, &[ssh()], Release::Now).unwrap(), Posture::Owned);
    let table = run("nft list table inet postern");
    let lines: Vec<_> = table.lines().map(str::trim).collect();
    let set = lines.iter().position(|line| *line == "set trial {").unwrap();
    assert_eq!(lines[set + 1..set + 3], ["type nf_proto", "flags timeout"]);
    assert!(lines[set + 3].starts_with("elements = { ipv4 timeout "), "{}", lines[set + 3]);
    let vmaps = lines.iter().enumerate().filter(|(_, line)| line.ends_with("vmap @ports"));
    let gates: Vec<_> = vmaps.map(|(at, _)| lines[at - 1]).collect();
    assert_eq!(gates, ["meta nfproto != @trial accept"; 2]);
}

#[test]
fn it_goes_by_itself_for_both_versions_and_in_both_chains() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    // A port that is dialled is delivered at another: only the first of the base chains sees it.
    nft("add table inet other
         add chain inet other c { type nat hook prerouting priority -100; }
         add rule inet other c tcp dport 80 redirect to :22");
    let trial = first(Duration::from_secs(2));
    let until = trial.until;
    let (mut keeper, mut doorman) = keeper(trial);
    keeper.set_doors(&mut doorman, &[ssh(), web()], Release::Now).unwrap();
    let all = [(NEIGHBOUR4, HOST4, 22), (NEIGHBOUR4, HOST4, 80), (CLIENT6, HOST6, 22), (CLIENT6, HOST6, 80)];
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    world.must_hear_nothing(CLIENT6, (HOST6, 80));
    wait_until("its time is over", || left().is_none());
    all.iter().for_each(|(from, host, port)| drop(world.must_connect(from, (host, *port))));
    // What comes too late closes nothing. The kernel's clock for it may be some milliseconds ahead.
    wait_until("it is late", || Instant::now() > until);
    let late = keeper.set_doors(&mut doorman, &[ssh()], Release::Now);
    assert!(matches!(late, Err(DoormanError::TrialOver)), "{late:?}");
    world.must_connect(NEIGHBOUR4, (HOST4, 22));
}

#[test]
fn neither_a_reload_nor_the_next_doorman_makes_it_longer() {
    let Some(world) = World::new() else { return };
    let (_ssh, _web) = (listen(22), listen(80));
    let trial = first(Duration::from_secs(4));
    let is_within =
        || left().is_some_and(|left| left <= trial.until - Instant::now() + Duration::from_millis(50));
    let (mut before, mut doorman) = keeper(trial);
    before.set_doors(&mut doorman, &[ssh()], Release::Now).unwrap();
    assert!(is_within(), "{:?}", left());
    std::thread::sleep(Duration::from_secs(1));
    before.set_doors(&mut doorman, &[ssh(), web()], Release::Later).unwrap();
    assert!(is_within(), "{:?}", left());
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 80));
    drop((before, doorman));
    let (mut next, mut doorman) = keeper(GuardTrial { is_begun: true, ..trial });
    wait_until("the next doorman takes it over", || {
        next.set_doors(&mut doorman, &[ssh(), web()], Release::Later).is_ok()
    });
    assert!(is_within(), "{:?}", left());
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    wait_until("its time is over", || left().is_none());
    assert!(Instant::now() <= trial.until + Duration::from_secs(1));
    world.must_connect(NEIGHBOUR4, (HOST4, 22));
    world.must_connect(NEIGHBOUR4, (HOST4, 80));
}

#[test]
fn confirmed_it_is_a_guard_like_any_other() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let (mut keeper, mut doorman) = keeper(first(Duration::from_secs(2)));
    keeper.set_doors(&mut doorman, &[ssh()], Release::Now).unwrap();
    let doorman_of =
        |doorman: &mut Option<Doorman>| must(doorman.as_mut().unwrap(), SSH, CLIENT4, Act::Open(MINUTE));
    doorman_of(&mut doorman);
    let _before = world.must_connect(CLIENT4, (HOST4, 22));
    assert_eq!(keeper.confirm(&mut doorman).unwrap(), Posture::Owned);
    assert!(!postern_table().contains("trial"), "{}", postern_table());
    std::thread::sleep(Duration::from_secs(2));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    world.must_connect(CLIENT4, (HOST4, 22));
    // The next doorman knows it as any other, and nothing gives it up.
    drop((keeper, doorman));
    let mut next = GuardKeeper::new(Some(identity()), Arc::new(()));
    let mut doorman = None;
    wait_until("the next doorman takes it over", || {
        next.set_doors(&mut doorman, &[ssh()], Release::Now).is_ok()
    });
    next.give_up(&mut doorman).unwrap();
    drop((next, doorman));
    assert!(!give_up_trial(identity()).unwrap());
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
}

#[test]
fn who_gives_up_what_was_confirmed_has_not_heard_of_that() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let (mut keeper, mut doorman) = keeper(first(MINUTE));
    keeper.set_doors(&mut doorman, &[ssh()], Release::Now).unwrap();
    keeper.confirm(&mut doorman).unwrap();
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    keeper.give_up(&mut doorman).unwrap();
    world.must_connect(NEIGHBOUR4, (HOST4, 22));
    assert!(!run("nft list tables").contains("postern"));
}

#[test]
fn given_up_it_is_gone_and_does_not_come_back() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    // A table that nobody owns, which another program may remove.
    nft("add table inet postern");
    let (mut keeper, mut doorman) = keeper(first(MINUTE));
    keeper.set_doors(&mut doorman, &[ssh()], Release::Now).unwrap();
    nft("flush ruleset");
    assert!(keeper.look(&mut doorman).is_some());
    assert!(left().is_some_and(|left| left < MINUTE), "it is put back for the rest of its time");
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    keeper.give_up(&mut doorman).unwrap();
    assert!(!run("nft list tables").contains("postern"));
    // Whatever happens then.
    nft("add table inet other; delete table inet other");
    keeper.look(&mut doorman);
    assert!(keeper.set_doors(&mut doorman, &[ssh()], Release::Now).is_err());
    assert!(keeper.retry_in().is_none());
    world.must_connect(NEIGHBOUR4, (HOST4, 22));
    // One who comes for that alone removes what another left.
    let (mut next, mut another) = (GuardKeeper::new(Some(identity()), Arc::new(())), None);
    next = next.on_trial(Some(first(MINUTE)));
    next.set_doors(&mut another, &[ssh()], Release::Now).unwrap();
    drop((next, another));
    assert!(give_up_trial(identity()).unwrap());
    assert!(!run("nft list tables").contains("postern"));
}

#[test]
fn what_is_guarded_for_good_is_not_tried() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    drop(start(&[ssh()]).unwrap());
    let (mut keeper, mut doorman) = keeper(first(MINUTE));
    wait_until("the kernel lets go of the table", || {
        let refused = keeper.set_doors(&mut doorman, &[ssh()], Release::Now).unwrap_err();
        match refused {
            DoormanError::GuardedForGood(_) => {
                let words = refused.to_string();
                assert!(words.contains("`posternd reset --config /etc/postern/postern.toml`"), "{words}");
                true
            }
            DoormanError::Owned(_) => false,
            other => panic!("{other}"),
        }
    });
    keeper.give_up(&mut doorman).unwrap();
    assert!(!give_up_trial(identity()).unwrap());
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
}

#[test]
fn who_has_come_in_by_an_open_door_is_told_once() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let before = world.must_connect(CLIENT4, (HOST4, 22));
    let trusted = Trusted::Network("10.77.0.3/32".parse().unwrap());
    let door = NetDoor::Guard(GuardDoor {
        name: "ssh".into(),
        ports: vec![PortRange::single(GuardProtocol::Tcp, 22)],
        always: vec![trusted],
        prefixes: Vec::new(),
        on_close: OnClose::Keep,
    });
    let (mut keeper, mut doorman) = keeper(first(MINUTE));
    keeper.set_doors(&mut doorman, &[(SSH, door)], Release::Now).unwrap();
    let doorman = doorman.as_mut().unwrap();
    assert_eq!(doorman.passages(), []);
    for client in [CLIENT4, NEIGHBOUR4, CLIENT6] {
        must(doorman, SSH, client, Act::Open(MINUTE));
    }
    assert_eq!(doorman.passages(), [], "a connection of before says nothing");
    let _needs_no_knock = world.must_connect(NEIGHBOUR4, (HOST4, 22));
    assert_eq!(doorman.passages(), [], "nor does one that needed no knock");
    let after = world.must_connect(CLIENT4, (HOST4, 22));
    assert_eq!(doorman.passages(), [(SSH, CLIENT4.parse().unwrap())]);
    assert_eq!(doorman.passages(), [], "it was told");
    let _six = world.must_connect(CLIENT6, (HOST6, 22));
    assert_eq!(doorman.passages(), [(SSH, CLIENT6.parse().unwrap())]);
    drop((before, after));
}

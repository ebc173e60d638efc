//! What is taken over: tables of an earlier layout, tables that are not ours, and configurations that change.

use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use postern_core::Unprotected;
use postern_core::{Act, DoorId, GuardProtocol, NetDoor, OnClose, PortRange};
use postern_doorman::{Doorman, Posture, Release};

use crate::world::{CLIENT4, CLIENT6, HOST4, NEIGHBOUR4, World, nft, run};
use crate::{MINUTE, SSH, guard, identity, listen, must, postern_table, remaining, set_doors, ssh, start};

/// The table as it was before each door had a chain of its own.
const EARLIER: &str = "table inet postern {
    set open4 { type ipv4_addr . inet_proto . inet_service; size 131072; flags timeout; }
    set open6 { type ipv6_addr . inet_proto . inet_service; size 131072; flags timeout; }
    set guarded { type inet_proto . inet_service; elements = { tcp . 22, udp . 53, tcp . 23 } }
    set strict { type inet_proto . inet_service; }
    chain prerouting {
        type filter hook prerouting priority -150; policy accept;
        fib daddr type != local accept
        iifname lo accept
        meta l4proto . th dport != @guarded accept
        ip saddr . meta l4proto . th dport @open4 accept
        ip6 saddr . meta l4proto . th dport @open6 accept
        meta l4proto . th dport @strict counter drop
        ct state established,related accept
        counter drop
    }
    chain input {
        type filter hook input priority -10; policy accept;
        iifname lo accept
        meta l4proto . th dport != @guarded accept
        ip saddr . meta l4proto . th dport @open4 accept
        ip6 saddr . meta l4proto . th dport @open6 accept
        meta l4proto . th dport @strict counter drop
        ct state established,related accept
        counter drop
    }
}";

fn both() -> (DoorId, NetDoor) {
    (SSH, guard(&[(GuardProtocol::Tcp, 22), (GuardProtocol::Udp, 53)], OnClose::Keep))
}

#[test]
fn the_earlier_layout_is_taken_over_with_what_is_open() {
    let Some(world) = World::new() else { return };
    let (_ssh, _telnet) = (listen(22), listen(23));
    nft(EARLIER);
    nft("add element inet postern open4 { 10.77.0.2 . tcp . 22 timeout 1h expires 50s, 10.77.0.2 . udp . 53 timeout 1h expires 40s,
         10.77.0.3 . tcp . 22 timeout 1h }
         add element inet postern open6 { fd77::2 . tcp . 22 timeout 1h expires 30s, fd77::2 . udp . 53 timeout 1h }");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let tries = std::thread::scope(|scope| {
        let stop = stop;
        let tries = scope.spawn(|| {
            world.on_client(move || {
                let (mut tries, stranger) = (0, NEIGHBOUR4.parse().unwrap());
                let target = (HOST4.parse::<std::net::IpAddr>().unwrap(), 23).into();
                while stopped.try_recv() == Err(TryRecvError::Empty) {
                    let reach = crate::world::reach(stranger, target, Duration::from_millis(1));
                    assert!(matches!(reach, crate::world::Reach::Silence), "{reach:?}");
                    tries += 1;
                }
                tries
            })
        });
        let telnet = (DoorId(2), guard(&[(GuardProtocol::Tcp, 23)], OnClose::Keep));
        let mut doormen: Vec<Doorman> = Vec::new();
        for _ in 0..20 {
            doormen.clear();
            let (mut doorman, posture) = start(&[both(), telnet.clone()]).unwrap();
            assert_eq!(posture, Posture::Plain(Unprotected::Found));
            let left = remaining(&mut doorman, SSH, CLIENT4).unwrap();
            assert!(left <= Duration::from_secs(40) && left > Duration::from_secs(20), "{left:?}");
            assert!(remaining(&mut doorman, SSH, CLIENT6).unwrap() <= Duration::from_secs(30));
            assert_eq!(remaining(&mut doorman, SSH, NEIGHBOUR4), None, "half open is not open");
            doormen.push(doorman);
        }
        drop(stop);
        tries.join().unwrap()
    });
    assert!(tries > 5, "only {tries} tries");
    let table = postern_table();
    assert!(!table.contains("open4") && !table.contains("@guarded"), "{table}");
    world.must_connect(CLIENT4, (HOST4, 22));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
}

#[test]
fn what_of_the_earlier_layout_nobody_names_is_held_until_it_may_be_released() {
    let Some(world) = World::new() else { return };
    let (_ssh, _telnet) = (listen(22), listen(23));
    nft(EARLIER);
    let (mut doorman, _) = Doorman::start(Some(identity()), &[ssh()], Release::Later).unwrap();
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
    world.must_hear_nothing(CLIENT4, (HOST4, 23));
    assert!(postern_table().contains("6 . 23 : jump door..held"), "{}", postern_table());
    set_doors(&mut doorman, &[ssh()]).unwrap();
    world.must_connect(CLIENT4, (HOST4, 23));
    assert!(!postern_table().contains("held"), "{}", postern_table());
}

#[test]
fn a_port_is_let_go_of_only_when_that_is_wanted_and_is_open_until_then_to_whom_it_was() {
    let Some(world) = World::new() else { return };
    let (_ssh, _web) = (listen(22), listen(80));
    let web = |ports: &[u16]| {
        let ports: Vec<_> = ports.iter().map(|port| (GuardProtocol::Tcp, *port)).collect();
        (DoorId(2), guard(&ports, OnClose::Keep))
    };
    let (mut doorman, _) = start(&[ssh(), web(&[80, 22_000])]).unwrap();
    must(&mut doorman, DoorId(2), CLIENT4, Act::Open(MINUTE));
    // A door goes, one of two ports of another goes.
    for doors in [vec![ssh()], vec![web(&[80])], vec![]] {
        doorman.set_doors(&doors, Release::Later).unwrap();
        world.must_hear_nothing(NEIGHBOUR4, (HOST4, 80));
        world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
        world.must_connect(CLIENT4, (HOST4, 80));
    }
    assert!(postern_table().contains("6 . 22000 : jump door.tcp-80"), "{}", postern_table());
    set_doors(&mut doorman, &[ssh()]).unwrap();
    world.must_connect(NEIGHBOUR4, (HOST4, 80));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    assert!(!postern_table().contains("tcp-80"), "{}", postern_table());
}

#[test]
fn what_is_held_is_held_over_a_flush_of_the_ruleset() {
    let Some(world) = World::new() else { return };
    let (_ssh, _web) = (listen(22), listen(80));
    // A table that nobody can own, so that a flush takes it.
    nft("add table inet postern");
    let web = (DoorId(2), guard(&[(GuardProtocol::Tcp, 80)], OnClose::Keep));
    let (mut doorman, posture) = start(&[ssh(), web]).unwrap();
    assert_eq!(posture, Posture::Plain(Unprotected::Found));
    for doors in [vec![ssh()], vec![]] {
        doorman.set_doors(&doors, Release::Later).unwrap();
        nft("flush ruleset\nadd table inet postern");
        doorman.restore_table().unwrap();
        world.must_hear_nothing(NEIGHBOUR4, (HOST4, 80));
        world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    }
    nft("flush ruleset");
    doorman.restore_table().unwrap();
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 80));
    set_doors(&mut doorman, &[ssh()]).unwrap();
    world.must_connect(NEIGHBOUR4, (HOST4, 80));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
}

#[test]
fn ranges_are_guarded_and_may_change_in_part() {
    let Some(world) = World::new() else { return };
    let _ports = [listen(60_000), listen(60_500), listen(61_000), listen(61_001)];
    let door = |first, last| {
        let NetDoor::Guard(mut door) = guard(&[(GuardProtocol::Tcp, 1)], OnClose::Keep) else {
            unreachable!()
        };
        door.ports = vec![PortRange { protocol: GuardProtocol::Tcp, first, last }];
        (SSH, NetDoor::Guard(door))
    };
    let (mut doorman, _) = start(&[door(60_000, 61_000)]).unwrap();
    for port in [60_000, 60_500, 61_000] {
        world.must_hear_nothing(CLIENT4, (HOST4, port));
    }
    world.must_connect(CLIENT4, (HOST4, 61_001));
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    for port in [60_000, 60_500, 61_000] {
        world.must_connect(CLIENT4, (HOST4, port));
        world.must_hear_nothing(NEIGHBOUR4, (HOST4, port));
    }
    doorman.set_doors(&[door(60_400, 60_600)], Release::Later).unwrap();
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 61_000));
    world.must_connect(CLIENT4, (HOST4, 61_000));
    set_doors(&mut doorman, &[door(60_400, 60_600)]).unwrap();
    world.must_connect(NEIGHBOUR4, (HOST4, 61_000));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 60_500));
    world.must_connect(CLIENT4, (HOST4, 60_500));
}

#[test]
fn a_table_of_our_name_that_is_not_ours_is_no_reason_not_to_guard() {
    let tables = [
        "table inet postern { set open4 { type ipv4_addr; } }",
        "table inet postern { set guarded { type ipv4_addr; } set door.tcp-22.ip { type mark; } }",
        "table inet postern { map ports { type ipv4_addr : verdict; } }",
        "table inet postern { chain input { type nat hook output priority 0; } }",
        "table inet postern { chain prerouting { type filter hook input priority 5; tcp dport 22 accept; } chain input { tcp dport 22 accept; } }",
        "table inet postern { chain door.tcp-22 { type filter hook input priority 0; } }",
        "table inet postern { flags dormant; }",
    ];
    for table in tables {
        let Some(world) = World::new() else { return };
        let _ssh = listen(22);
        nft(&table.replace(" }", "\n}\n").replace("; ", ";\n"));
        let (mut doorman, _) = start(&[ssh()]).unwrap_or_else(|error| panic!("{table}: {error:?}"));
        world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
        must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
        world.must_connect(CLIENT4, (HOST4, 22));
        assert!(run("nft list table inet postern").contains("vmap @ports"));
    }
}

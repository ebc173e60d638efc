//! Connections that were there before their port was guarded, and those that end with a door.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use postern_core::{Act, DoorId, GuardProtocol, NetDoor, OnClose, Order, Trusted};
use postern_doorman::{Doorman, Release};

use crate::world::{CLIENT4, CLIENT6, HOST4, HOST6, NEIGHBOUR4, NEIGHBOUR6, World, nft, run};
use crate::{MINUTE, SSH, guard, identity, listen, must, ssh};

/// Sends a byte one way, with so many milliseconds of patience; a retransmission takes 200.
fn arrives(from: &mut TcpStream, to: &mut TcpStream, patience: u64) -> bool {
    from.write_all(b"a").unwrap();
    to.set_read_timeout(Some(Duration::from_millis(patience))).unwrap();
    to.read_exact(&mut [0]).is_ok()
}

#[test]
fn an_idle_connection_lives_on_when_its_port_becomes_guarded() {
    let Some(world) = World::new() else { return };
    let (ssh_socket, web) = (listen(22), listen(80));
    let mut connections = Vec::new();
    for (host, client) in [(HOST4, CLIENT4), (HOST6, CLIENT6)] {
        for (port, listener) in [(22, &ssh_socket), (80, &web)] {
            let near = world.must_connect(client, (host, port));
            connections.push((near, listener.accept().unwrap().0));
        }
    }
    let (mut doorman, kept) = Doorman::start(Some(identity()), &[ssh()], Release::Now).unwrap();
    assert_eq!((kept.connections, kept.failed.is_none()), (2, true));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    // The client speaks first; then a port becomes guarded while another is.
    for (near, far) in &mut connections {
        assert!(arrives(near, far, 5000));
    }
    let web = (DoorId(2), guard(&[(GuardProtocol::Tcp, 80)], OnClose::Keep));
    let kept = doorman.set_doors(&[ssh(), web], Release::Now).unwrap();
    assert_eq!(kept.connections, 2);
    for (near, far) in &mut connections {
        assert!(arrives(near, far, 5000) && arrives(far, near, 5000) && arrives(near, far, 5000));
    }
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 80));
    // Large windows, both ways.
    let (near, far) = &mut connections[0];
    let (mut sender, bytes) = (near.try_clone().unwrap(), 8 << 20);
    let sending = std::thread::spawn(move || sender.write_all(&vec![0; bytes]).unwrap());
    far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    far.read_exact(&mut vec![0; bytes]).unwrap();
    sending.join().unwrap();
}

#[test]
fn at_a_door_that_cuts_a_connection_does_not_live_on_and_the_tracker_is_told_nothing() {
    let Some(world) = World::new() else { return };
    let listener = listen(22);
    let mut near = world.must_connect(CLIENT4, (HOST4, 22));
    let mut far = listener.accept().unwrap().0;
    let cut = (SSH, guard(&[(GuardProtocol::Tcp, 22)], OnClose::Cut));
    let (mut doorman, kept) = Doorman::start(Some(identity()), &[cut], Release::Now).unwrap();
    assert_eq!((kept.connections, kept.cut), (0, 1));
    assert!(!arrives(&mut near, &mut far, 500));
    assert!(!run("cat /proc/net/nf_conntrack").contains("dport=22"));
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    assert!(arrives(&mut near, &mut far, 5000), "what was sent before comes now");
}

#[test]
fn the_end_of_a_kept_connection_is_the_end_of_what_lets_it_through() {
    let Some(world) = World::new() else { return };
    let listener = listen(22);
    let near = world.must_connect(CLIENT4, (HOST4, 22));
    let far = listener.accept().unwrap().0;
    let from = near.local_addr().unwrap().port();
    let (_doorman, _) = Doorman::start(Some(identity()), &[ssh()], Release::Now).unwrap();
    drop((far, near));
    // The same client with the same port is a stranger once the tracker has seen the end.
    crate::world::wait_until("the connection has ended", || {
        let entries = run("cat /proc/net/nf_conntrack");
        !entries.lines().any(|line| line.contains(&format!("sport={from}")) && line.contains("ESTABLISHED"))
    });
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
}

#[test]
fn only_what_is_established_gets_in_without_a_knock() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let (_doorman, _) = Doorman::start(Some(identity()), &[ssh()], Release::Now).unwrap();
    // A tracking helper may be talked into expecting a connection to any port: here it is told so directly.
    nft("table ip h {
            ct helper ftp { type \"ftp\" protocol tcp; }
            chain pre { type filter hook prerouting priority -150; tcp dport 21 ct helper set \"ftp\"; }
        }");
    let control = listen(21);
    let mut near = world.must_connect(CLIENT4, (HOST4, 21));
    let mut far = control.accept().unwrap().0;
    assert!(arrives(&mut near, &mut far, 5000));
    far.write_all(b"227 Entering Passive Mode (10,77,0,1,0,22)\r\n").unwrap();
    near.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(near.read(&mut [0; 99]).unwrap() > 0);
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
}

#[test]
fn a_door_that_resets_tells_both_ends_when_it_is_closed_and_cuts_when_its_time_is_over() {
    let Some(world) = World::new() else { return };
    let (listener, other) = (listen(23), listen(24));
    let doors = [
        (DoorId(2), guard(&[(GuardProtocol::Tcp, 23)], OnClose::Reset)),
        (DoorId(3), guard(&[(GuardProtocol::Tcp, 24)], OnClose::Cut)),
        ssh(),
    ];
    let (mut doorman, _) = Doorman::start(Some(identity()), &doors, Release::Now).unwrap();
    for (host, client) in [(HOST4, CLIENT4), (HOST6, CLIENT6)] {
        for door in [DoorId(2), DoorId(3), SSH] {
            must(&mut doorman, door, client, Act::Open(MINUTE));
        }
        must(&mut doorman, DoorId(2), NEIGHBOUR4, Act::Open(MINUTE));
        let connect = |client, port: u16, listener: &std::net::TcpListener| {
            let host = if client == NEIGHBOUR4 { HOST4 } else { host };
            (world.must_connect(client, (host, port)), listener.accept().unwrap().0)
        };
        let (mut ours, mut neighbours, mut others) =
            (connect(client, 23, &listener), connect(NEIGHBOUR4, 23, &listener), connect(client, 24, &other));
        must(&mut doorman, DoorId(2), client, Act::Close);
        let ended = |stream: &mut TcpStream| {
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            stream.read(&mut [0]).err().map(|error| error.kind())
        };
        assert_eq!(ended(&mut ours.0), Some(ErrorKind::ConnectionReset));
        assert_eq!(ended(&mut ours.1), Some(ErrorKind::ConnectionAborted));
        assert!(arrives(&mut neighbours.0, &mut neighbours.1, 5000));
        assert!(arrives(&mut others.0, &mut others.1, 5000));
        world.must_hear_nothing(client, (host, 23));
    }
}

#[test]
fn a_reset_leaves_alone_whom_the_door_lets_in_all_the_same() {
    let Some(world) = World::new() else { return };
    let listener = listen(23);
    let door = |always: &[&str]| {
        let NetDoor::Guard(mut door) = guard(&[(GuardProtocol::Tcp, 23)], OnClose::Reset) else {
            unreachable!()
        };
        door.prefixes = vec!["ipv6/64".parse().unwrap()];
        door.always = always.iter().map(|net| Trusted::Network(net.parse().unwrap())).collect();
        (SSH, NetDoor::Guard(door))
    };
    let (mut doorman, _) = Doorman::start(Some(identity()), &[door(&[])], Release::Now).unwrap();
    let connect = |client| {
        let host = if client == CLIENT4 { HOST4 } else { HOST6 };
        (world.must_connect(client, (host, 23)), listener.accept().unwrap().0)
    };
    // A single address within a prefix, and the other way round.
    must(&mut doorman, SSH, CLIENT6, Act::Open(MINUTE));
    must(&mut doorman, SSH, "fd77::/64", Act::Open(MINUTE));
    let (mut near, mut far) = connect(CLIENT6);
    let (mut near_neighbour, mut far_neighbour) = connect(NEIGHBOUR6);
    must(&mut doorman, SSH, CLIENT6, Act::Close);
    assert!(arrives(&mut near, &mut far, 5000) && arrives(&mut near_neighbour, &mut far_neighbour, 5000));
    must(&mut doorman, SSH, CLIENT6, Act::Open(MINUTE));
    must(&mut doorman, SSH, "fd77::/64", Act::Close);
    assert!(arrives(&mut near, &mut far, 5000));
    near_neighbour.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(near_neighbour.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    // Closed and opened again by two orders that are carried out together.
    let order = |serial, act| Order { serial, act, ..crate::order(SSH, CLIENT6, act) };
    doorman.carry_out(&[order(1, Act::Close), order(2, Act::Open(MINUTE))]);
    assert!(arrives(&mut near, &mut far, 5000));
    // Who needs no knock.
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    let (mut near, mut far) = connect(CLIENT4);
    doorman.set_doors(&[door(&["10.77.0.0/24"])], Release::Now).unwrap();
    must(&mut doorman, SSH, CLIENT4, Act::Close);
    assert!(arrives(&mut near, &mut far, 5000));
}

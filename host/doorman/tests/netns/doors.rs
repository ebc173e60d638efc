//! Guard doors with traffic: what is closed, what is open, for whom and for how long.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use postern_core::{Act, Client, DoorId, GuardProtocol, NetDoor, OnClose, Order, Trusted};
use postern_doorman::Doorman;

use crate::world::{CLIENT4, CLIENT6, HOST4, HOST6, NEIGHBOUR4, NEIGHBOUR6, Reach, World, nft, wait_until};
use crate::{MINUTE, SSH, guard, listen, must, order, postern_table, remaining, set_doors, ssh, start};

#[test]
fn a_door_is_open_for_one_client_only() {
    let Some(world) = World::new() else { return };
    let (_ssh, _web) = (listen(22), listen(80));
    let udp = UdpSocket::bind(("::", 53)).unwrap();
    let both = guard(&[(GuardProtocol::Tcp, 22), (GuardProtocol::Udp, 53)], OnClose::Keep);
    let (mut doorman, _) = start(&[(SSH, both)]).unwrap();
    for (host, client, neighbour) in [(HOST4, CLIENT4, NEIGHBOUR4), (HOST6, CLIENT6, NEIGHBOUR6)] {
        world.must_hear_nothing(client, (host, 22));
        assert!(!world.datagram_arrives(client, (host, 53), &udp, false));
        // What is not guarded is not touched, nor is the machine itself.
        world.must_connect(client, (host, 80));
        assert!(matches!(world.connect(client, (host, 81)), Reach::Refused));
        TcpStream::connect((host, 22)).unwrap();
        TcpStream::connect(("::1", 22)).unwrap();

        must(&mut doorman, SSH, client, Act::Open(MINUTE));
        world.must_connect(client, (host, 22));
        assert!(world.datagram_arrives(client, (host, 53), &udp, true));
        world.must_hear_nothing(neighbour, (host, 22));
        assert!(!world.datagram_arrives(neighbour, (host, 53), &udp, false));

        must(&mut doorman, SSH, client, Act::Close);
        world.must_hear_nothing(client, (host, 22));
        must(&mut doorman, SSH, client, Act::Close);
    }
}

#[test]
fn the_kernel_closes_doors_by_itself() {
    let Some(world) = World::new() else { return };
    let ssh = listen(22);
    let (mut doorman, _) = start(&[crate::ssh()]).unwrap();
    let start = Instant::now();
    must(&mut doorman, SSH, CLIENT4, Act::Open(Duration::from_secs(2)));
    must(&mut doorman, SSH, NEIGHBOUR4, Act::Open(Duration::from_nanos(1)));
    drop(doorman);
    world.must_connect(CLIENT4, (HOST4, 22));
    // The shortest time is a tick of the kernel's, which is some milliseconds.
    wait_until("the shortest time is over", || !postern_table().contains(NEIGHBOUR4));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    wait_until("the door is closed", || match world.connect(CLIENT4, (HOST4, 22)) {
        Reach::Connected(_) => ssh.accept().is_err(),
        _ => true,
    });
    let open_for = start.elapsed();
    assert!(open_for >= Duration::from_secs(2) && open_for < Duration::from_secs(4), "{open_for:?}");
}

#[test]
fn an_extension_extends() {
    let Some(_world) = World::new() else { return };
    let (mut doorman, _) = start(&[ssh()]).unwrap();
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    for act in [Act::Open(MINUTE), Act::Extend(MINUTE)] {
        let mut before = MINUTE;
        wait_until("time passes", || {
            before = remaining(&mut doorman, SSH, CLIENT4).unwrap();
            before < MINUTE - Duration::from_millis(200)
        });
        must(&mut doorman, SSH, CLIENT4, act);
        let after = remaining(&mut doorman, SSH, CLIENT4).unwrap();
        assert!(after > before && after <= MINUTE, "{before:?}, then {after:?}");
    }
    must(&mut doorman, SSH, CLIENT4, Act::Extend(MINUTE / 2));
    assert!(remaining(&mut doorman, SSH, CLIENT4).unwrap() <= MINUTE / 2, "an extension can shorten");
    // Opening what was closed in between is what a late extension must do.
    must(&mut doorman, SSH, CLIENT4, Act::Close);
    must(&mut doorman, SSH, CLIENT4, Act::Extend(MINUTE));
    assert!(remaining(&mut doorman, SSH, CLIENT4).is_some());
}

#[test]
fn connections_live_on_or_are_cut() {
    let Some(world) = World::new() else { return };
    let (kept, cut) = (listen(22), listen(23));
    let strict = (DoorId(2), guard(&[(GuardProtocol::Tcp, 23)], OnClose::Cut));
    let (mut doorman, _) = start(&[ssh(), strict]).unwrap();
    for (host, client) in [(HOST4, CLIENT4), (HOST6, CLIENT6)] {
        must(&mut doorman, SSH, client, Act::Open(MINUTE));
        must(&mut doorman, DoorId(2), client, Act::Open(MINUTE));
        let mut kept = (world.must_connect(client, (host, 22)), kept.accept().unwrap().0);
        let mut cut = (world.must_connect(client, (host, 23)), cut.accept().unwrap().0);
        assert!(talk(&mut kept, 5000) && talk(&mut cut, 5000));
        must(&mut doorman, SSH, client, Act::Close);
        must(&mut doorman, DoorId(2), client, Act::Close);
        world.must_hear_nothing(client, (host, 22));
        assert!(talk(&mut kept, 5000));
        assert!(!talk(&mut cut, 300));
        // By expiry as well.
        must(&mut doorman, SSH, client, Act::Open(Duration::from_millis(10)));
        wait_until("it is closed", || remaining(&mut doorman, SSH, client).is_none());
        assert!(talk(&mut kept, 5000));
    }
}

#[test]
fn what_is_always_let_through_needs_no_knock_and_changes_without_a_gap() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let door = |always: &[&str]| {
        let NetDoor::Guard(mut door) = guard(&[(GuardProtocol::Tcp, 22)], OnClose::Cut) else {
            unreachable!()
        };
        let trusted = |text: &&str| {
            text.parse().map_or_else(|_| Trusted::Interface((*text).to_owned()), Trusted::Network)
        };
        door.always = always.iter().map(trusted).collect();
        (SSH, NetDoor::Guard(door))
    };
    let (mut doorman, _) =
        start(&[door(&["10.77.0.2/32", "192.0.2.0/24", "fd77::2/128", "2001:db8::/32"])]).unwrap();
    let reach = |open: bool, clients: &[(&str, &str)]| {
        for (client, host) in clients {
            match open {
                true => drop(world.must_connect(client, (host, 22))),
                false => world.must_hear_nothing(client, (host, 22)),
            }
        }
    };
    reach(true, &[(CLIENT4, HOST4), (CLIENT6, HOST6)]);
    reach(false, &[(NEIGHBOUR4, HOST4), (NEIGHBOUR6, HOST6)]);
    set_doors(&mut doorman, &[door(&["fd77::/64"])]).unwrap();
    reach(true, &[(CLIENT6, HOST6), (NEIGHBOUR6, HOST6)]);
    reach(false, &[(CLIENT4, HOST4), (NEIGHBOUR4, HOST4)]);
    set_doors(&mut doorman, &[door(&["wg0", "eth0"])]).unwrap();
    reach(true, &[(CLIENT4, HOST4), (NEIGHBOUR6, HOST6)]);
    set_doors(&mut doorman, &[door(&["eth"])]).unwrap();
    reach(false, &[(CLIENT4, HOST4), (CLIENT6, HOST6)]);
    // As many as may be, and everybody.
    let many: Vec<_> = (0..1024).map(|n| format!("2001:db8:{n:x}::/48")).collect();
    set_doors(&mut doorman, &[door(&many.iter().map(String::as_str).collect::<Vec<_>>())]).unwrap();
    reach(false, &[(CLIENT6, HOST6)]);
    set_doors(&mut doorman, &[door(&["0.0.0.0/0"])]).unwrap();
    reach(true, &[(NEIGHBOUR4, HOST4)]);
    reach(false, &[(CLIENT6, HOST6)]);
}

#[test]
fn a_redirected_port_is_guarded_where_it_is_dialled() {
    let Some(world) = World::new() else { return };
    // Both ways past the chain at input: to another port, and, as containers do it, to another machine.
    let _local = listen(9090);
    nft("table ip nat { chain prerouting { type nat hook prerouting priority -100;
            tcp dport 8080 dnat to 10.77.0.1:9090; tcp dport 8081 dnat to 10.78.0.2:9090;
        }
    }");
    let _inner = world.put_behind_host();
    world.must_connect(CLIENT4, (HOST4, 8080));
    world.must_connect(CLIENT4, (HOST4, 8081));
    let ports = [(GuardProtocol::Tcp, 8080), (GuardProtocol::Tcp, 8081)];
    let (mut doorman, _) = start(&[(SSH, guard(&ports, OnClose::Keep))]).unwrap();
    world.must_hear_nothing(CLIENT4, (HOST4, 8080));
    world.must_hear_nothing(CLIENT4, (HOST4, 8081));
    // Packets for other machines are none of our business.
    world.must_connect(CLIENT4, ("10.78.0.2", 9090));
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    world.must_connect(CLIENT4, (HOST4, 8080));
    world.must_connect(CLIENT4, (HOST4, 8081));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 8081));
}

#[test]
fn untracked_packets_do_not_get_in() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    nft("table inet raw { chain p { type filter hook prerouting priority -300; tcp dport 22 notrack; }
            chain o { type filter hook output priority -300; tcp sport 22 notrack; }
    }");
    world.must_connect(CLIENT4, (HOST4, 22));
    let (mut doorman, _) = start(&[ssh()]).unwrap();
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    world.must_connect(CLIENT4, (HOST4, 22));
}

#[test]
fn one_bad_order_does_not_refuse_the_others() {
    let Some(_world) = World::new() else { return };
    nft("table inet filter { set small { type ipv4_addr; flags timeout; size 2; }
}");
    let (mut doorman, _) = start(&[ssh(), (DoorId(2), crate::set(&["inet filter small"]))]).unwrap();
    let mut orders = Vec::new();
    let mut order = |door: u32, client: String, act| {
        let (serial, client) = (1000 + orders.len() as u64, client.parse().unwrap());
        orders.push(Order { serial, door: DoorId(door), client, occurrence: 0, act });
    };
    for number in 0..200 {
        order(1, format!("192.0.2.{number}"), Act::Open(MINUTE));
        order(2, format!("198.51.100.{number}"), if number < 3 { Act::Open(MINUTE) } else { Act::Close });
        order(1, format!("2001:db8::{number:x}"), Act::Open(MINUTE));
    }
    order(9, CLIENT4.to_owned(), Act::Open(MINUTE));
    order(1, "::ffff:192.0.2.1".to_owned(), Act::Open(MINUTE));
    order(2, CLIENT6.to_owned(), Act::Open(MINUTE));
    order(1, CLIENT4.to_owned(), Act::Open(Duration::ZERO));
    order(1, "192.0.2.7".to_owned(), Act::Close);
    let receipts = doorman.carry_out(&orders);
    let serials: Vec<_> = receipts.iter().map(|receipt| receipt.serial).collect();
    assert_eq!(serials, orders.iter().map(|order| order.serial).collect::<Vec<_>>());
    let refused: Vec<_> =
        receipts.iter().filter_map(|receipt| receipt.outcome.as_ref().err()?.to_string().into()).collect();
    assert_eq!(
        refused,
        [
            "the set inet filter small is full; declare it with a larger size",
            "it is not in the packet filter any more",
            "::ffff:192.0.2.1 is an IPv4 address in the form of an IPv6 address",
            "the door has no set for IPv6 clients",
            "a door cannot be opened for no time",
        ]
    );
    let openings = doorman.list().unwrap().openings;
    assert_eq!(openings.iter().filter(|opening| opening.door == SSH).count(), 399);
    assert_eq!(openings.iter().filter(|opening| opening.door == DoorId(2)).count(), 2);
    assert!(openings.iter().all(|opening| opening.remaining <= MINUTE));
}

#[test]
#[ignore = "a measurement"]
fn how_long_an_order_takes() {
    let Some(_world) = World::new() else { return };
    nft("table inet filter { set gone { type ipv4_addr; flags timeout; }\n}");
    let doors = [ssh(), (DoorId(2), crate::set(&["inet filter gone"]))];
    let (mut doorman, _) = start(&doors).unwrap();
    nft("delete table inet filter");
    let mut measure = |what: &str, door: DoorId, act: Act, orders_at_once: u32| {
        let mut times: Vec<_> = (0..500)
            .map(|round| {
                let order = |number: u32| {
                    let address =
                        std::net::Ipv4Addr::from_bits(0x0A00_0000 + round * orders_at_once + number);
                    let client = Client::alone(address.into());
                    Order { serial: 0, door, client, occurrence: 0, act }
                };
                let orders: Vec<_> = (0..orders_at_once).map(order).collect();
                let start = Instant::now();
                let receipts = doorman.carry_out(&orders);
                let time = start.elapsed() / orders_at_once;
                assert_eq!(receipts[0].outcome.is_ok(), door == SSH || act == Act::Close);
                time
            })
            .collect();
        times.sort();
        println!("{what}: min {:?}, median {:?}, p99 {:?}", times[0], times[250], times[495]);
    };
    measure("open", SSH, Act::Open(MINUTE), 1);
    measure("extend", SSH, Act::Extend(MINUTE), 1);
    measure("close", SSH, Act::Close, 1);
    measure("close what is closed", SSH, Act::Close, 1);
    measure("open, one of forty", SSH, Act::Open(MINUTE), 40);
    measure("close, one of forty", SSH, Act::Close, 40);
    measure("open, refused", DoorId(2), Act::Open(MINUTE), 1);
}

#[test]
#[ignore = "a measurement"]
fn how_long_counting_takes() {
    let Some(_world) = World::new() else { return };
    let client = |number: u32| Client::alone(std::net::Ipv4Addr::from_bits(0x0A00_0000 + number).into());
    // With openings of others in the set.
    for open in [0, 33_000] {
        for counts in [false, true] {
            if !counts {
                nft(crate::packets::IN_THE_WAY);
            }
            let (mut doorman, _) = start(&[ssh()]).unwrap();
            let order =
                |number, act| Order { serial: 0, door: SSH, client: client(number), occurrence: 0, act };
            let others: Vec<_> = (0..open).map(|n| order(1_000_000 + n, Act::Open(MINUTE * 10))).collect();
            doorman.carry_out(&others);
            let mut measure = |what: &str, act: &mut dyn FnMut(&mut Doorman, u32)| {
                let mut times: Vec<_> = (0..5000)
                    .map(|number| {
                        let start = Instant::now();
                        act(&mut doorman, number);
                        start.elapsed()
                    })
                    .collect();
                times.sort();
                println!(
                    "{what}, {open} open, counted: {counts}: median {:?}, p99 {:?}",
                    times[2500], times[4950]
                );
            };
            measure("open", &mut |doorman, n| drop(doorman.carry_out(&[order(n, Act::Open(MINUTE))])));
            measure("extend", &mut |doorman, n| drop(doorman.carry_out(&[order(n, Act::Extend(MINUTE))])));
            measure("packets", &mut |doorman, n| {
                assert_eq!(doorman.packets(SSH, client(n)).is_some(), counts);
            });
            measure("close", &mut |doorman, n| drop(doorman.carry_out(&[order(n, Act::Close)])));
            drop(doorman);
            nft("flush ruleset");
        }
    }
}

/// Sends a byte each way, with so many milliseconds of patience; a retransmission takes 200.
fn talk(ends: &mut (TcpStream, TcpStream), patience: u64) -> bool {
    let patience = Some(Duration::from_millis(patience));
    ends.0.write_all(b"a").unwrap();
    ends.1.set_read_timeout(patience).unwrap();
    if ends.1.read_exact(&mut [0]).is_err() {
        return false;
    }
    ends.1.write_all(b"b").unwrap();
    ends.0.set_read_timeout(patience).unwrap();
    ends.0.read_exact(&mut [0]).is_ok()
}

#[test]
fn orders_for_the_same_client_at_once_are_all_carried_out() {
    let Some(world) = World::new() else { return };
    let _listener = listen(22);
    let (mut doorman, _) = start(&[ssh()]).unwrap();
    let orders: Vec<_> = (0..100)
        .map(|n| {
            let act = if n % 10 == 9 { Act::Close } else { Act::Open(MINUTE + Duration::from_secs(n)) };
            order(SSH, CLIENT4, act)
        })
        .chain([order(SSH, CLIENT4, Act::Extend(MINUTE))])
        .collect();
    let receipts = doorman.carry_out(&orders);
    assert_eq!(receipts.len(), orders.len());
    for receipt in receipts {
        assert_eq!(receipt.outcome, Ok(()));
    }
    assert!(remaining(&mut doorman, SSH, CLIENT4).unwrap() <= MINUTE);
    world.must_connect(CLIENT4, (HOST4, 22));
}

//! How many packets came through an opening: with packets, and with kernels and tables that do not count.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use postern_core::{Act, DoorId, GuardProtocol, NetDoor, OnClose};
use postern_doorman::Doorman;

use crate::world::{CLIENT4, CLIENT6, HOST4, HOST6, NEIGHBOUR4, NEIGHBOUR6, World, nft, run};
use crate::{MINUTE, SSH, guard, listen, must, postern_table, remaining, set, ssh, start};

/// What keeps a doorman from seeing that the kernel counts, as a kernel does that refuses it.
pub(crate) const IN_THE_WAY: &str = "table inet postern-counts";

/// A door for DNS, which may be opened for networks as well.
fn dns() -> (DoorId, NetDoor) {
    let NetDoor::Guard(mut door) = guard(&[(GuardProtocol::Udp, 53)], OnClose::Keep) else { unreachable!() };
    door.prefixes = vec!["ipv4/24".parse().unwrap()];
    (SSH, NetDoor::Guard(door))
}

fn packets(doorman: &mut Doorman, client: &str) -> Option<u64> {
    doorman.packets(SSH, client.parse().unwrap())
}

/// Sends that many packets; the guard has looked at all of them when this returns.
fn send(world: &World, from: &str, to: (&str, u16), count: usize) {
    let (from, to): (IpAddr, _) = (from.parse().unwrap(), SocketAddr::new(to.0.parse().unwrap(), to.1));
    world.on_client(|| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        (0..count).for_each(|_| assert_eq!(socket.send_to(b"x", to).unwrap(), 1));
    });
}

/// Waits until all that was sent before has come; the first one may wait for an answer about the neighbour's address.
#[track_caller]
fn expect(doorman: &mut Doorman, client: &str, expected: u64) {
    crate::world::wait_until("the packets have come", || packets(doorman, client) >= Some(expected));
    assert_eq!(packets(doorman, client), Some(expected));
}

#[test]
fn each_packet_counts_once_for_the_opening_that_let_it_through_however_often_that_is_extended() {
    let Some(world) = World::new() else { return };
    let _dns = UdpSocket::bind(("::", 53)).unwrap();
    let (mut doorman, _) = start(&[dns()]).unwrap();
    for (host, client, neighbour) in [(HOST4, CLIENT4, NEIGHBOUR4), (HOST6, CLIENT6, NEIGHBOUR6)] {
        assert_eq!(packets(&mut doorman, client), None, "it is not open");
        send(&world, client, (host, 53), 2);
        must(&mut doorman, SSH, client, Act::Open(MINUTE));
        must(&mut doorman, SSH, neighbour, Act::Open(MINUTE));
        assert_eq!(packets(&mut doorman, client), Some(0));
        send(&world, client, (host, 53), 3);
        expect(&mut doorman, client, 3);
        // With the same time and with another.
        for lasts in [MINUTE, MINUTE, MINUTE * 2] {
            must(&mut doorman, SSH, client, Act::Extend(lasts));
            assert_eq!(packets(&mut doorman, client), Some(3));
        }
        assert!(remaining(&mut doorman, SSH, client).unwrap() > MINUTE, "it is extended all the same");
        send(&world, client, (host, 53), 2);
        expect(&mut doorman, client, 5);
        assert_eq!(packets(&mut doorman, neighbour), Some(0));
        must(&mut doorman, SSH, client, Act::Close);
        assert_eq!(packets(&mut doorman, client), None);
        must(&mut doorman, SSH, client, Act::Open(MINUTE));
        assert_eq!(packets(&mut doorman, client), Some(0), "it begins anew");
        must(&mut doorman, SSH, client, Act::Close);
        must(&mut doorman, SSH, neighbour, Act::Close);
    }
    must(&mut doorman, SSH, "10.77.0.0/24", Act::Open(MINUTE));
    send(&world, CLIENT4, (HOST4, 53), 2);
    send(&world, NEIGHBOUR4, (HOST4, 53), 2);
    expect(&mut doorman, "10.77.0.0/24", 4);
    assert_eq!(packets(&mut doorman, CLIENT4), None, "it has no opening of its own");
    assert_eq!(doorman.packets(DoorId(99), CLIENT4.parse().unwrap()), None, "there is no such door");
}

#[test]
fn a_packet_that_only_one_chain_guards_is_half_a_packet() {
    let Some(world) = World::new() else { return };
    let _dns = UdpSocket::bind(("::", 5353)).unwrap();
    nft("table ip nat {
        chain prerouting { type nat hook prerouting priority dstnat; udp dport 53 redirect to 5353; }
    }");
    let (mut doorman, _) = start(&[dns()]).unwrap();
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    send(&world, CLIENT4, (HOST4, 53), 1);
    expect(&mut doorman, CLIENT4, 1);
    send(&world, CLIENT4, (HOST4, 53), 4);
    expect(&mut doorman, CLIENT4, 3);
}

#[test]
fn a_kernel_that_refuses_to_count_keeps_no_door_from_anything() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    nft(IN_THE_WAY);
    let (mut doorman, _) = start(&[ssh()]).unwrap();
    assert!(run("nft list tables").contains("postern-counts"), "it is another program's, and stays");
    for act in [Act::Open(MINUTE), Act::Extend(MINUTE), Act::Extend(MINUTE * 2)] {
        must(&mut doorman, SSH, CLIENT4, act);
        world.must_connect(CLIENT4, (HOST4, 22));
        assert_eq!(packets(&mut doorman, CLIENT4), None);
    }
    assert!(remaining(&mut doorman, SSH, CLIENT4).unwrap() > MINUTE);
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    must(&mut doorman, SSH, CLIENT4, Act::Close);
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
}

#[test]
fn what_a_version_that_did_not_count_left_open_stays_so_and_sets_count_once_they_are_empty() {
    let Some(world) = World::new() else { return };
    let _dns = UdpSocket::bind(("::", 53)).unwrap();
    // It leaves what the version before left.
    nft(IN_THE_WAY);
    let (mut before, posture) = start(&[dns()]).unwrap();
    must(&mut before, SSH, CLIENT4, Act::Open(MINUTE));
    assert!(!run("nft list sets").contains("counter"), "{}", postern_table());
    let sets = sets_of_doors();
    drop(before);
    nft("delete table inet postern-counts");

    let (mut after, posture_after) = start(&[dns()]).unwrap();
    assert_eq!(posture_after, posture);
    assert!(!run("nft list tables").contains("postern-counts"), "nothing is left of what was tried");
    let made_anew: Vec<_> = sets_of_doors().into_iter().filter(|set| !sets.contains(set)).collect();
    assert_eq!(made_anew.len(), sets.len() - 1, "{made_anew:?}");
    assert!(remaining(&mut after, SSH, CLIENT4).is_some());
    for act in [Act::Extend(MINUTE), Act::Extend(MINUTE * 2)] {
        must(&mut after, SSH, CLIENT4, act);
        assert_eq!(packets(&mut after, CLIENT4), None);
    }
    for client in [CLIENT6, "10.77.0.0/24"] {
        must(&mut after, SSH, client, Act::Open(MINUTE));
        assert_eq!(packets(&mut after, client), Some(0));
    }
    send(&world, CLIENT6, (HOST6, 53), 2);
    expect(&mut after, CLIENT6, 2);
    must(&mut after, SSH, CLIENT4, Act::Close);

    // A reload will do. What was counted outlives that, and the doorman.
    crate::set_doors(&mut after, &[dns()]).unwrap();
    must(&mut after, SSH, CLIENT4, Act::Open(MINUTE));
    send(&world, CLIENT4, (HOST4, 53), 3);
    expect(&mut after, CLIENT4, 3);
    let sets = sets_of_doors();
    drop(after);
    let (mut next, _) = start(&[dns()]).unwrap();
    assert_eq!((packets(&mut next, CLIENT4), packets(&mut next, CLIENT6)), (Some(3), Some(2)));
    drop(next);
    // Nor does it matter to what is open that a later doorman finds that the kernel does not count.
    nft(IN_THE_WAY);
    let (mut last, _) = start(&[dns()]).unwrap();
    assert_eq!(sets_of_doors(), sets);
    must(&mut last, SSH, CLIENT4, Act::Extend(MINUTE * 2));
    assert!(remaining(&mut last, SSH, CLIENT4).unwrap() > MINUTE);
    assert!(remaining(&mut last, SSH, CLIENT6).is_some());
}

/// Each with the kernel's handle of it.
fn sets_of_doors() -> Vec<String> {
    let sets = run("nft -a list sets");
    sets.lines().filter(|line| line.contains("set door.")).map(str::to_owned).collect()
}

#[test]
fn a_ruleset_that_was_saved_while_a_door_was_open_can_be_loaded() {
    let Some(world) = World::new() else { return };
    let _dns = UdpSocket::bind(("::", 53)).unwrap();
    let (mut doorman, _) = start(&[dns()]).unwrap();
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    send(&world, CLIENT4, (HOST4, 53), 2);
    expect(&mut doorman, CLIENT4, 2);
    must(&mut doorman, SSH, CLIENT4, Act::Extend(MINUTE * 2));
    let saved = run("nft list ruleset");
    assert!(saved.contains("counter packets 4 "), "{saved}");
    drop(doorman);
    nft(&format!("flush ruleset\n{saved}"));
}

#[test]
fn a_set_of_the_users_counts_if_the_user_says_so() {
    let Some(world) = World::new() else { return };
    let _dns = UdpSocket::bind(("::", 53)).unwrap();
    for (declared, expected) in [("counter", Some(3)), ("", None)] {
        nft(&format!(
            "table inet filter {{
                set dns {{ type ipv4_addr; flags timeout; {declared}; }}
                chain input {{ type filter hook input priority 0; policy accept; udp dport 53 ip saddr @dns accept; }}
            }}"
        ));
        let (mut doorman, _) = start(&[(SSH, set(&["inet filter dns"]))]).unwrap();
        must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
        send(&world, CLIENT4, (HOST4, 53), 3);
        crate::world::wait_until("the packets have come", || packets(&mut doorman, CLIENT4) == expected);
        drop(doorman);
        nft("delete table inet filter");
    }
}

#[test]
fn many_orders_at_once_count_on_each_from_where_it_was() {
    let Some(world) = World::new() else { return };
    let _dns = UdpSocket::bind(("::", 53)).unwrap();
    let (mut doorman, _) = start(&[dns()]).unwrap();
    let others: Vec<_> = (1..=100).map(|n| format!("192.0.2.{n}")).collect();
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    must(&mut doorman, SSH, NEIGHBOUR4, Act::Open(MINUTE));
    send(&world, CLIENT4, (HOST4, 53), 3);
    send(&world, NEIGHBOUR4, (HOST4, 53), 2);
    expect(&mut doorman, CLIENT4, 3);
    expect(&mut doorman, NEIGHBOUR4, 2);
    let mut orders: Vec<_> =
        others.iter().map(|client| crate::order(SSH, client, Act::Open(MINUTE))).collect();
    orders.insert(30, crate::order(SSH, CLIENT4, Act::Extend(MINUTE)));
    // One that fails, in the middle of a batch.
    orders.insert(60, crate::order(DoorId(99), CLIENT4, Act::Extend(MINUTE)));
    orders.insert(90, crate::order(SSH, NEIGHBOUR4, Act::Extend(MINUTE)));
    let receipts = doorman.carry_out(&orders);
    let failed: Vec<_> = (0..).zip(&receipts).filter(|(_, of)| of.outcome.is_err()).map(|(n, _)| n).collect();
    assert_eq!(failed, [60]);
    assert_eq!((packets(&mut doorman, CLIENT4), packets(&mut doorman, NEIGHBOUR4)), (Some(3), Some(2)));
    assert_eq!(packets(&mut doorman, "192.0.2.77"), Some(0));
}

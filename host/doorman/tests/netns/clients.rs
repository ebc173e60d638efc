//! Doors for other clients than single addresses, and what others take out of our sets.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use postern_core::{Act, DoorId, GuardDoor, GuardProtocol, NetDoor, OnClose};

use crate::world::{
    CLIENT4, CLIENT6, HOST_LINK_LOCAL, HOST4, HOST6, NEIGHBOUR4, NEIGHBOUR6, Reach, World, nft,
};
use crate::{MINUTE, SSH, guard, listen, must, postern_table, remaining, say, set, set_doors, start};

fn door(prefixes: &[&str]) -> (DoorId, NetDoor) {
    let NetDoor::Guard(door) = guard(&[(GuardProtocol::Tcp, 22)], OnClose::Cut) else { unreachable!() };
    let prefixes = prefixes.iter().map(|width| width.parse().unwrap()).collect();
    (SSH, NetDoor::Guard(GuardDoor { prefixes, ..door }))
}

#[test]
fn a_door_opens_for_a_prefix_of_a_width_that_it_has() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let (mut doorman, _) = start(&[door(&["ipv6/64", "ipv4/30"])]).unwrap();
    // 10.77.0.2 and .3 are in one network of 30 bits, both addresses of IPv6 in one of 64.
    for (prefix, host, clients) in
        [("10.77.0.0/30", HOST4, [CLIENT4, NEIGHBOUR4]), ("fd77::/64", HOST6, [CLIENT6, NEIGHBOUR6])]
    {
        must(&mut doorman, SSH, prefix, Act::Open(MINUTE));
        clients.iter().for_each(|client| drop(world.must_connect(client, (host, 22))));
        assert!(remaining(&mut doorman, SSH, prefix).unwrap() > MINUTE / 2);
        must(&mut doorman, SSH, prefix, Act::Close);
        clients.iter().for_each(|client| world.must_hear_nothing(client, (host, 22)));
    }
    let error = say(&mut doorman, SSH, "fd77::/48", Act::Open(MINUTE)).unwrap_err();
    assert_eq!(error.to_string(), "the door has no set for prefixes of 48 bits");
    // What is open stays so when another width comes, and ends with its own.
    must(&mut doorman, SSH, "fd77::/64", Act::Open(MINUTE));
    set_doors(&mut doorman, &[door(&["ipv6/48", "ipv6/64"])]).unwrap();
    world.must_connect(NEIGHBOUR6, (HOST6, 22));
    must(&mut doorman, SSH, "fd77::/48", Act::Open(MINUTE));
    set_doors(&mut doorman, &[door(&[])]).unwrap();
    world.must_hear_nothing(NEIGHBOUR6, (HOST6, 22));
    assert!(!postern_table().contains("ip6/"), "{}", postern_table());
}

#[test]
fn a_link_local_address_is_let_in_on_its_own_link_only() {
    let Some(world) = World::new() else { return };
    // A second cable, on which the client has the very same address.
    let _ssh = listen(22);
    world.second_cable();
    let index = |name: &str| crate::world::index_of(name);
    let (mut doorman, _) = start(&[door(&[])]).unwrap();
    let reach = |scope: &str| {
        world.on_client(|| {
            let scope = crate::world::index_of(scope);
            let target = SocketAddrV6::new(HOST_LINK_LOCAL.parse().unwrap(), 22, 0, scope);
            let from = SocketAddrV6::new("fe80::c".parse::<Ipv6Addr>().unwrap(), 0, 0, scope);
            let reach = crate::world::reach_from(from.into(), target.into(), Duration::from_millis(500));
            matches!(reach, Reach::Connected(_))
        })
    };
    assert!(!reach("eth0") && !reach("eth1"));
    let client = format!("fe80::c%{}", index("eth0"));
    must(&mut doorman, SSH, &client, Act::Open(MINUTE));
    assert!(reach("eth0") && !reach("eth1"));
    assert!(remaining(&mut doorman, SSH, &client).is_some());
    must(&mut doorman, SSH, &client, Act::Close);
    assert!(!reach("eth0") && !reach("eth1"));
    let error = say(&mut doorman, SSH, "fe80::c%4000", Act::Open(MINUTE)).unwrap_err();
    assert_eq!(error.to_string(), "the interface number 4000 is gone");
}

#[test]
fn a_set_that_lived_on_is_told_from_one_that_was_made_anew() {
    let Some(_world) = World::new() else { return };
    let ruleset = "table inet filter {\n set web4 { type ipv4_addr; flags timeout; }\n}\n";
    nft(ruleset);
    let web = DoorId(3);
    let (mut doorman, _) = start(&[(web, set(&["inet filter web4"])), door(&[])]).unwrap();
    let mut lived_on = || doorman.list().unwrap().lived_on;
    assert_eq!(lived_on(), BTreeSet::new(), "nothing is known of the time before");
    assert_eq!(lived_on(), BTreeSet::from([web, SSH]));
    nft(
        "add element inet filter web4 { 192.0.2.1 timeout 1h }; delete element inet filter web4 { 192.0.2.1 }",
    );
    nft("flush set inet filter web4");
    assert_eq!(lived_on(), BTreeSet::from([web, SSH]));
    nft(&format!("flush ruleset\n{ruleset}"));
    assert_eq!(
        lived_on(),
        BTreeSet::from([SSH]),
        "another set of the same name in another table of the same name"
    );
    assert_eq!(lived_on(), BTreeSet::from([web, SSH]));
    nft("delete set inet filter web4; add set inet filter web4 { type ipv4_addr; flags timeout; }");
    assert_eq!(lived_on(), BTreeSet::from([SSH]));
    nft("delete table inet filter");
    assert_eq!(lived_on(), BTreeSet::from([SSH]));
    assert_eq!(lived_on(), BTreeSet::from([SSH]), "what is gone does not live on");
}

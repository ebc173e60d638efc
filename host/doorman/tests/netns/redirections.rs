//! Ports that lead to other ports: which ways in a guard door closes, which it does not, and that the latter are seen.

use std::process::Command;

use postern_core::{Act, GuardProtocol, OnClose};
use postern_doorman::redirections;

use crate::world::{CLIENT4, HOST4, NEIGHBOUR4, World, nft, run};
use crate::{MINUTE, SSH, guard, listen, must, set_doors, start};

const TCP: GuardProtocol = GuardProtocol::Tcp;

/// What is seen, a line each.
fn seen() -> Vec<String> {
    let show = |found: postern_doorman::Redirection| {
        let (from, to) = found.dialled.into_inner();
        let address = found.address.map_or_else(String::new, |address| format!("{address} "));
        format!("{}/{from}-{to} -> {address}{} in {}", found.protocol, found.port, found.chain)
    };
    redirections().unwrap().into_iter().map(show).collect()
}

/// To guard what is redirected to closes the redirected port and the port itself; to guard what is dialled closes that alone.
#[test]
fn a_redirection_to_a_guarded_port_is_closed_and_opened_with_it() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    nft(
        "table inet own { chain before { type nat hook prerouting priority dstnat; tcp dport 2201 redirect to :22; }; }",
    );
    world.must_connect(CLIENT4, (HOST4, 2201));
    let (mut doorman, _) = start(&[(SSH, guard(&[(TCP, 22)], OnClose::Keep))]).unwrap();
    for port in [22, 2201] {
        world.must_hear_nothing(CLIENT4, (HOST4, port));
    }
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    for port in [22, 2201] {
        world.must_connect(CLIENT4, (HOST4, port));
        world.must_hear_nothing(NEIGHBOUR4, (HOST4, port));
    }
    set_doors(&mut doorman, &[(SSH, guard(&[(TCP, 2201)], OnClose::Keep))]).unwrap();
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 2201));
    world.must_connect(NEIGHBOUR4, (HOST4, 22));
}

/// As containers are published. The inner port is a port of another machine: to guard it here guards nothing.
#[test]
fn of_a_container_the_published_port_is_what_to_guard() {
    let Some(world) = World::new() else { return };
    let _inner = world.put_behind_host();
    nft("table ip containers { chain before { type nat hook prerouting priority dstnat;
            fib daddr type local tcp dport 8080 dnat to 10.78.0.2:9090;
        }
    }");
    world.must_connect(CLIENT4, (HOST4, 8080));
    let (mut doorman, _) = start(&[(SSH, guard(&[(TCP, 9090)], OnClose::Keep))]).unwrap();
    world.must_connect(CLIENT4, (HOST4, 8080));
    assert_eq!(seen(), ["tcp/8080-8080 -> 10.78.0.2 9090 in ip containers before"]);

    set_doors(&mut doorman, &[(SSH, guard(&[(TCP, 8080)], OnClose::Keep))]).unwrap();
    world.must_hear_nothing(CLIENT4, (HOST4, 8080));
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    world.must_connect(CLIENT4, (HOST4, 8080));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 8080));
    // What is only passed on was never dialled here.
    world.must_connect(NEIGHBOUR4, ("10.78.0.2", 9090));
}

/// A container is a machine like any other for a guarded port of its host.
#[test]
fn a_container_cannot_reach_a_guarded_port_of_its_host() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let inner = world.put_behind_host();
    assert!(inner.connects(("10.78.0.1", 22)));
    let (mut doorman, _) = start(&[(SSH, guard(&[(TCP, 22)], OnClose::Keep))]).unwrap();
    for address in ["10.78.0.1", HOST4] {
        assert!(!inner.connects((address, 22)), "{address}");
    }
    must(&mut doorman, SSH, "10.78.0.2", Act::Open(MINUTE));
    assert!(inner.connects(("10.78.0.1", 22)));
}

#[test]
fn redirections_are_read_however_they_are_written() {
    let Some(_world) = World::new() else { return };
    assert!(seen().is_empty());
    nft("table ip a { chain c { type nat hook prerouting priority dstnat;
            tcp dport 2201 redirect to :22
            udp dport 5000-5010 dnat to 10.78.0.2:53
            ip protocol tcp th dport 81 counter dnat to 10.78.0.2:80
            tcp dport 443 dnat to 10.78.0.2
            tcp dport 90 dnat to 10.78.0.2:90
            tcp dport { 1, 2 } redirect to :3
            tcp dport 22 accept
        }
    }
    table ip6 b { chain c { type nat hook prerouting priority dstnat; tcp dport 82 dnat to [fd78::2]:80; }; }
    table inet d { chain c { type nat hook prerouting priority dstnat; iifname eth0 tcp dport 83 dnat ip to 10.78.0.2:80; }; }");
    assert_eq!(
        seen(),
        [
            "tcp/83-83 -> 10.78.0.2 80 in inet d c",
            "tcp/2201-2201 -> 22 in ip a c",
            "udp/5000-5010 -> 10.78.0.2 53 in ip a c",
            "tcp/81-81 -> 10.78.0.2 80 in ip a c",
            "tcp/82-82 -> fd78::2 80 in ip6 b c",
        ]
    );
}

#[test]
fn redirections_of_iptables_are_read() {
    let Some(_world) = World::new() else { return };
    let version = Command::new("iptables").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("nf_tables")) {
        eprintln!("skipped: no iptables-nft here");
        return;
    }
    run("iptables -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.78.0.2:80");
    run("iptables -t nat -A PREROUTING -p udp --dport 5000:5010 -j REDIRECT --to-ports 53");
    run("ip6tables -t nat -A PREROUTING -p tcp -m tcp --dport 8443 -j DNAT --to-destination [fd78::2]:443");
    assert_eq!(
        seen(),
        [
            "tcp/8080-8080 -> 10.78.0.2 80 in ip nat PREROUTING",
            "udp/5000-5010 -> 53 in ip nat PREROUTING",
            "tcp/8443-8443 -> fd78::2 443 in ip6 nat PREROUTING",
        ]
    );
}

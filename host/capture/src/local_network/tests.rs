//! What is known of a real network as it changes, and where its packets are seen.

use std::net::Ipv6Addr;
use std::sync::Mutex;
use std::time::Instant;

use postern_core::{Detail, Direction, TcpFlags, Transport, Watch};

use super::*;
use crate::confinement::confine;
use crate::decode::decode;
use crate::filter::Filter;
use crate::links::LOOPBACK;
use crate::live::{CaptureSettings, LiveCapture};
use crate::namespace::{Namespace, ip, made, send_frame};

const LONG: Duration = Duration::from_secs(20);

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn until_contains(local: &LocalNetwork, address: &str, expected: bool) {
    let address: IpAddr = address.parse().unwrap();
    until(&format!("{address} is not {expected}"), || local.contains(address) == expected);
}

#[test]
fn addresses_are_known_as_they_come_and_go() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.inside(|| {
        ip("link add pe-a type veth peer name pe-b");
        ip("addr add 192.0.2.7/24 brd + dev pe-a");
        let local = LocalNetwork::follow(Arc::new(())).unwrap();
        let contains = |address: &str| local.contains(address.parse().unwrap());
        for address in ["127.0.0.1", "127.200.0.9", "::1", "192.0.2.7"] {
            assert!(contains(address), "{address}");
        }
        // A broadcast address, a neighbour, mapped, and nobody.
        for address in ["192.0.2.255", "192.0.2.8", "::ffff:192.0.2.7", "2001:db8::7", "0.0.0.0", "::"] {
            assert!(!contains(address), "{address}");
        }
        ip("addr add 2001:db8::7/64 dev pe-a nodad");
        until_contains(&local, "2001:db8::7", true);
        ip("addr add 198.51.100.1 peer 198.51.100.2 dev pe-b");
        until_contains(&local, "198.51.100.1", true);
        assert!(!contains("198.51.100.2"), "the far end");
        ip("addr del 192.0.2.7/24 dev pe-a");
        until_contains(&local, "192.0.2.7", false);
        ip("link delete pe-a");
        until_contains(&local, "198.51.100.1", false);
        until_contains(&local, "2001:db8::7", false);
        assert!(contains("::1"));
    });
}

#[test]
fn a_thousand_addresses_are_read_while_they_change() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.inside(|| {
        let local = LocalNetwork::follow(Arc::new(())).unwrap();
        for index in 0..1000 {
            ip(&format!("addr add 10.1.{}.{}/32 dev lo", index / 250, index % 250));
        }
        until_contains(&local, "10.1.3.249", true);
        assert!(local.known.load().addresses.count() >= 1002);
        ip("addr flush dev lo");
        until_contains(&local, "10.1.0.0", false);
    });
}

#[test]
fn sources_are_held_against_what_the_kernel_says() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.inside(|| {
        ip("link add pe-a type veth peer name pe-b");
        // No broadcast address is assigned to the first; the second has one of its own.
        ip("addr add 192.0.2.7/24 dev pe-a");
        ip("addr add 198.51.100.7/24 brd 198.51.100.99 dev pe-a");
        ip("addr add 203.0.113.1 peer 203.0.113.130/25 dev pe-b");
        let local = LocalNetwork::follow(Arc::new(())).unwrap();
        let pe_a = index_of(&local, "pe-a");
        let can_send = |source: &str| local.known.load().addresses.can_send(source.parse().unwrap(), pe_a, 0);
        for source in
            ["192.0.2.7", "192.0.2.255", "198.51.100.99", "198.51.100.255", "203.0.113.1", "203.0.113.255"]
        {
            assert!(!can_send(source), "{source}");
        }
        for source in ["192.0.2.8", "203.0.113.127", "203.0.113.130"] {
            assert!(can_send(source), "{source}");
        }
        ip("addr add 10.0.0.1/30 dev pe-b");
        until("10.0.0.3 is a broadcast address", || !can_send("10.0.0.3"));
        ip("addr del 10.0.0.1/30 dev pe-b");
        until("10.0.0.3 is none any more", || can_send("10.0.0.3"));
    });
}

#[test]
fn changes_are_followed_without_a_new_socket() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.inside(|| {
        let sockets = LocalNetworkSockets::open().unwrap();
        let follow = || {
            confine();
            LocalNetwork::follow_on(sockets, Arc::new(())).unwrap()
        };
        let local = thread::scope(|scope| scope.spawn(follow).join().unwrap());
        for _ in 0..3 {
            ip("addr add 192.0.2.9/32 dev lo");
            until_contains(&local, "192.0.2.9", true);
            ip("addr delete 192.0.2.9/32 dev lo");
            until_contains(&local, "192.0.2.9", false);
        }
    });
}

#[test]
fn links_are_known_as_they_come_and_go() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.inside(|| {
        let local = LocalNetwork::follow(Arc::new(())).unwrap();
        assert_eq!(local.links().name(LOOPBACK), Some("lo"), "the first of every namespace");
        ip("link add pe-a type veth peer name pe-b");
        ip("link add pe-br type bridge");
        until("pe-br is there", || find(&local, "pe-br").is_some());
        let (port, bridge) = (index_of(&local, "pe-a"), index_of(&local, "pe-br"));
        let seen = || local.links().seen_by_ip(port, &[]);
        assert_eq!(seen(), port);
        ip("link set pe-a master pe-br");
        until("the port is the bridge's", || seen() == bridge);
        ip("link set pe-a nomaster");
        until("the port is its own", || seen() == port);
        ip("link set pe-a name pe-c");
        until("its name changed", || local.links().name(port) == Some("pe-c"));
        ip("link delete pe-c");
        until("it is gone", || local.links().name(port).is_none());
        assert_eq!(seen(), 0);
    });
}

fn find(local: &LocalNetwork, name: &str) -> Option<u32> {
    let links = local.links();
    (1..100).find(|index| links.name(*index) == Some(name))
}

#[track_caller]
fn index_of(local: &LocalNetwork, name: &str) -> u32 {
    find(local, name).unwrap_or_else(|| panic!("there is no {name}"))
}

/// What became of knocks: the last digits of the source, and the name of the link or why not.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    /// Captures what goes to port 2222.
    fn capture(&self, local: &Arc<LocalNetwork>, interface: &str) -> LiveCapture {
        let (seen, local, mut view) = (self.0.clone(), Arc::clone(local), local.view());
        let watch = Watch {
            transport: Transport::Udp,
            first_port: 2222,
            last_port: 2222,
            set: TcpFlags(0),
            clear: TcpFlags(0),
        };
        let settings = CaptureSettings {
            interface: interface.to_owned(),
            direction: Direction::Incoming,
            promiscuous: true,
        };
        let filter = Arc::new(Filter::from_watches(&[watch]));
        let capture = LiveCapture::start(settings, filter, move |frame: Frame<'_>| {
            let placed = decode(&frame, Detail::LEAST)
                .and_then(|mut knock| view.place(&mut knock, &frame).map(|()| knock));
            let line = match placed {
                Ok(knock) => format!("{} {}", knock.source, local.links().name(knock.link).unwrap_or("-")),
                Err(reason) => reason.to_string(),
            };
            seen.lock().unwrap().push(line);
        });
        let capture = capture.unwrap();
        assert!(capture.ready(LONG), "{interface} is not listening");
        capture
    }

    /// Waits for these lines and no others, in any order: interfaces are read by threads of their own.
    #[track_caller]
    fn expect(&self, lines: &[&str]) {
        let told = || {
            let mut lines = self.0.lock().unwrap().clone();
            lines.sort();
            lines
        };
        let mut expected: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        expected.sort();
        let end = Instant::now() + LONG;
        while told().len() < expected.len() && Instant::now() < end {
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(told(), expected);
        self.0.lock().unwrap().clear();
    }
}

/// A datagram to port 2222 as an Ethernet frame to everybody, with these tags.
fn frame(source: &str, tags: &str) -> String {
    let udp = "1234 08ae 0008 0000";
    let (kind, packet) = match source.parse::<IpAddr>().unwrap() {
        IpAddr::V4(v4) => {
            ("0800", format!("4500 001c 0001 0000 3f 11 0000 {:08x} c6336402 {udp}", v4.to_bits()))
        }
        IpAddr::V6(v6) => {
            let to = "fe80::99".parse::<Ipv6Addr>().unwrap();
            ("86dd", format!("60000000 0008 11 40 {:032x} {:032x} {udp}", v6.to_bits(), to.to_bits()))
        }
    };
    format!("ffffffffffff 020000000001 {tags} {kind} {packet}")
}

/// Runs a test between two ends of a wire, `pe-a` here and `pe-b` as if far away, where only its own packets are.
fn on_a_wire(test: impl FnOnce() + Send) {
    let Some(namespace) = Namespace::new() else { return };
    namespace.inside(|| {
        // Neighbour discovery would mix in; link-local addresses are not made either.
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        ip("link add pe-a type veth peer name pe-b");
        ip("link set pe-a up");
        ip("link set pe-b up");
        test();
    });
}

#[test]
fn impossible_sources_are_dropped_by_name_wherever_they_are_captured() {
    on_a_wire(|| {
        ip("addr add 192.0.2.7/24 dev pe-a");
        let local = Arc::new(LocalNetwork::follow(Arc::new(())).unwrap());
        for interface in ["pe-a", "any"] {
            let seen = Seen::default();
            let _tap = seen.capture(&local, interface);
            let impossible = [
                "0.0.0.0",
                "192.0.2.7",
                "192.0.2.255",
                "127.0.0.1",
                "224.0.0.1",
                "255.255.255.255",
                "::",
                "::1",
                "ff02::1",
                "::ffff:192.0.2.8",
                "::192.0.2.7",
                "::127.0.0.1",
            ];
            for source in impossible {
                send_frame("pe-b", &frame(source, ""));
            }
            send_frame("pe-b", &frame("192.0.2.8", ""));
            let mut lines = vec!["impossible-source"; impossible.len()];
            lines.push("192.0.2.8 -");
            seen.expect(&lines);
        }
    });
}

#[test]
fn this_machine_may_knock_at_itself_by_loopback() {
    on_a_wire(|| {
        ip("addr add 192.0.2.7/24 dev pe-a");
        let local = Arc::new(LocalNetwork::follow(Arc::new(())).unwrap());
        for interface in ["lo", "any"] {
            let seen = Seen::default();
            let _tap = seen.capture(&local, interface);
            for to in ["127.0.0.1:2222", "192.0.2.7:2222", "[::1]:2222"] {
                let from = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
                std::net::UdpSocket::bind(from).unwrap().send_to(b"", to).unwrap();
            }
            seen.expect(&["127.0.0.1 -", "192.0.2.7 -", "::1 -"]);
        }
    });
}

#[test]
fn a_link_local_source_has_the_link_that_ip_sees() {
    on_a_wire(|| {
        let local = Arc::new(LocalNetwork::follow(Arc::new(())).unwrap());
        for interface in ["pe-a", "any"] {
            let seen = Seen::default();
            let _tap = seen.capture(&local, interface);
            send_frame("pe-b", &frame("fe80::1", ""));
            // For its priority only; IP sees it.
            send_frame("pe-b", &frame("fe80::2", "8100 e000"));
            // Others need no link, and pay nothing for it.
            send_frame("pe-b", &frame("2001:db8::1", ""));
            seen.expect(&["fe80::1 pe-a", "fe80::2 pe-a", "2001:db8::1 -"]);
        }
    });
}

#[test]
fn a_link_local_source_behind_a_tag_that_nobody_has_is_on_no_link() {
    on_a_wire(|| {
        let local = Arc::new(LocalNetwork::follow(Arc::new(())).unwrap());
        let send = || {
            for (source, tags) in
                [("fe80::5", "8100 0005"), ("fe80::6", "88a8 0005 8100 0006"), ("2001:db8::1", "8100 0005")]
            {
                send_frame("pe-b", &frame(source, tags));
            }
        };
        let seen = Seen::default();
        let capture = seen.capture(&local, "pe-a");
        send();
        seen.expect(&["fe80::5 -", "fe80::6 -", "2001:db8::1 -"]);
        capture.stop();
        // There the tag cannot be seen, so they are not let through.
        let _tap = seen.capture(&local, "any");
        send();
        seen.expect(&["2001:db8::1 -"]);
    });
}

#[test]
fn the_port_of_a_bridge_is_the_bridges_link() {
    on_a_wire(|| {
        ip("link add pe-br type bridge");
        ip("link set pe-a master pe-br");
        ip("link set pe-br up");
        let local = Arc::new(LocalNetwork::follow(Arc::new(())).unwrap());
        for (interface, times) in [("pe-a", 1), ("pe-br", 1), ("any", 2)] {
            let seen = Seen::default();
            let _tap = seen.capture(&local, interface);
            send_frame("pe-b", &frame("fe80::1", ""));
            seen.expect(&vec!["fe80::1 pe-br"; times]);
        }
    });
}

#[test]
fn a_tagged_frame_is_on_the_link_of_its_vlan() {
    on_a_wire(|| {
        if !made("link add link pe-a name pe-a.5 type vlan id 5") {
            return;
        }
        ip("link set pe-a.5 up");
        let local = Arc::new(LocalNetwork::follow(Arc::new(())).unwrap());
        for interface in ["pe-a", "pe-a.5", "any"] {
            let seen = Seen::default();
            let _tap = seen.capture(&local, interface);
            send_frame("pe-b", &frame("fe80::1", "8100 0005"));
            seen.expect(&["fe80::1 pe-a.5"]);
        }
    });
}

#[test]
fn what_comes_in_on_a_part_of_a_bond_is_the_bonds() {
    on_a_wire(|| {
        if !made("link add pe-bond type bond mode active-backup") {
            return;
        }
        ip("link set pe-a down");
        ip("link set pe-a master pe-bond");
        ip("link set pe-bond up");
        let local = Arc::new(LocalNetwork::follow(Arc::new(())).unwrap());
        for (interface, times) in [("pe-a", 1), ("pe-bond", 1), ("any", 2)] {
            let seen = Seen::default();
            let _tap = seen.capture(&local, interface);
            send_frame("pe-b", &frame("fe80::1", ""));
            seen.expect(&vec!["fe80::1 pe-bond"; times]);
        }
    });
}

#[test]
fn a_machines_own_link_local_address_is_anothers_on_another_link() {
    on_a_wire(|| {
        ip("link add pe-c type veth peer name pe-d");
        for interface in ["pe-c", "pe-d"] {
            ip(&format!("link set {interface} up"));
        }
        std::fs::write("/proc/sys/net/ipv6/conf/pe-c/disable_ipv6", "0").unwrap();
        ip("addr flush dev pe-c");
        ip("addr add fe80::1/64 dev pe-c nodad");
        let local = Arc::new(LocalNetwork::follow(Arc::new(())).unwrap());
        let seen = Seen::default();
        let _taps = ["pe-a", "pe-c"].map(|interface| seen.capture(&local, interface));
        send_frame("pe-b", &frame("fe80::1", ""));
        seen.expect(&["fe80::1 pe-a"]);
        send_frame("pe-d", &frame("fe80::1", ""));
        seen.expect(&["impossible-source"]);
    });
}

use expect_test::{Expect, expect};
use postern_core::GuardProtocol;

use super::*;
use crate::doctor::finding::lines;

fn obstacle(chain: &str, is_rejected: bool, is_policy: bool, is_certain: bool) -> Obstacle {
    Obstacle { chain: chain.to_owned(), is_rejected, is_policy, is_certain }
}

fn stopped(ports: &[(u16, u16)], interfaces: &[&str], (over_v4, over_v6): (bool, bool)) -> Stopped {
    let range =
        |(first, last): &(u16, u16)| PortRange { protocol: GuardProtocol::Tcp, first: *first, last: *last };
    Stopped {
        ports: ports.iter().map(range).collect(),
        arriving: ports.iter().map(range).collect(),
        interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
        over_v4,
        over_v6,
    }
}

#[test]
fn ports_for_which_there_was_no_time_are_said() {
    assert_eq!(not_tried(0), None);
    assert!(not_tried(1).unwrap().what.starts_with("1 guarded port or range could not be tried within 30s"));
    assert!(not_tried(7).unwrap().what.starts_with("7 guarded ports and ranges could not"));
}

fn check(by: Obstacle, of: Stopped, writers: Writers, expected: Expect) {
    let tried = TriedPackets { interfaces: ["eth0", "wlan0"].map(str::to_owned).into(), with_v6: true };
    expected.assert_eq(&lines(&judge(&StoppedBy::from([(by, of)]), &tried, writers)));
}

#[test]
fn each_firewall_has_its_own_remedy() {
    let all = &["eth0", "wlan0"];
    check(
        obstacle("inet filter input", false, true, true),
        stopped(&[(22, 22)], all, (true, true)),
        Writers::default(),
        expect![[r#"
            problem: inet filter input (its policy) drops tcp/22, whether a door is open or not; let it in there, too: `nft insert rule inet filter input tcp dport 22 accept`; inet postern keeps it closed to who has not knocked
        "#]],
    );
    check(
        obstacle("ip filter INPUT", false, true, true),
        stopped(&[(22, 22), (6000, 6010)], all, (true, false)),
        Writers { ufw: true },
        expect![[r#"
            problem: ip filter INPUT (its policy) drops tcp/22, tcp/6000-6010 over IPv4, whether a door is open or not; let it in there, too: `ufw allow 22/tcp && ufw allow 6000:6010/tcp`; inet postern keeps it closed to who has not knocked
        "#]],
    );
    check(
        obstacle("ip6 filter INPUT", true, false, true),
        stopped(&[(22, 22)], &["eth0"], (false, true)),
        Writers::default(),
        expect![[r#"
            problem: ip6 filter INPUT rejects tcp/22 over IPv6 on eth0, whether a door is open or not; let it in there, too: `ip6tables -I INPUT -p tcp --dport 22 -j ACCEPT`; inet postern keeps it closed to who has not knocked
        "#]],
    );
    check(
        obstacle("inet firewalld filter_INPUT", true, false, false),
        stopped(&[(22, 22)], all, (true, true)),
        Writers::default(),
        expect![[r#"
            warning: inet firewalld filter_INPUT rejects tcp/22, whether a door is open or not, but for what its rules let in by conditions such as a source address; let it in there, too: `firewall-cmd --permanent --add-port=22/tcp && firewall-cmd --reload`; inet postern keeps it closed to who has not knocked
        "#]],
    );
}

#[test]
fn packets_come_in_where_ip_sees_them() {
    let interface = |index, name: &str, kind: Option<&str>, master, is_up| MachineInterface {
        index,
        name: name.to_owned(),
        kind: kind.map(str::to_owned),
        master,
        is_up,
        is_loopback: name == "lo",
    };
    let there = [
        interface(1, "lo", None, None, true),
        interface(2, "eth0", None, Some(3), true),
        interface(3, "br0", Some("bridge"), None, true),
        interface(4, "eth1", None, None, false),
        interface(5, "eth2", None, Some(6), true),
        interface(6, "vrf0", Some("vrf"), None, true),
    ];
    let names = |wanted: &[&str]| {
        let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
        entries(&wanted, &there).iter().map(|interface| interface.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["any"]), ["br0", "eth2", "vrf0"]);
    assert_eq!(names(&["eth0", "br0", "eth1", "eth9"]), ["br0"]);
    assert_eq!(names(&["eth2"]), ["eth2"]);
}

#[test]
fn a_redirected_port_is_tried_where_it_leads() {
    let interface = MachineInterface {
        index: 2,
        name: "eth0".to_owned(),
        kind: None,
        master: None,
        is_up: true,
        is_loopback: false,
    };
    let led = [Redirection {
        protocol: GuardProtocol::Tcp,
        dialled: 8080..=8080,
        port: 80,
        address: Some("192.0.2.99".parse().unwrap()),
        chain: "ip nat DOCKER".to_owned(),
    }];
    let range = PortRange { protocol: GuardProtocol::Tcp, first: 8080, last: 8081 };
    let of = |is_ipv6| {
        let packets = packets(range, &interface, is_ipv6, &led);
        packets.iter().map(|it| (it.dialled, it.arrives_at, it.forwarded_to.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(of(false), [(8080, 80, true), (8081, 8081, false)]);
    // What lets it through has to let it through by that number.
    let mut stopped = StoppedBy::new();
    let by = obstacle("ip filter FORWARD", false, true, true);
    note(&mut stopped, by, range, &packets(range, &interface, false, &led)[0]);
    let remedy = &judge(&stopped, &TriedPackets::default(), Writers::default())[0].remedy;
    assert!(remedy.contains("`iptables -I FORWARD -p tcp --dport 80 -j ACCEPT`"), "{remedy}");
    assert_eq!(of(true), [(8080, 8080, false), (8081, 8081, false)]);
}

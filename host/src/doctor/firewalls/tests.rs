use expect_test::{Expect, expect};
use postern_core::GuardProtocol;

use super::*;
use crate::doctor::finding::lines;

fn obstacle(chain: &str, is_rejected: bool, is_policy: bool, is_certain: bool) -> Obstacle {
    Obstacle { chain: chain.to_owned(), is_rejected, is_policy, is_answer: false, is_certain }
}

fn stopped(ports: &[(u16, u16)], interfaces: &[&str], (over_v4, over_v6): (bool, bool)) -> Stopped {
    let range =
        |(first, last): &(u16, u16)| PortRange { protocol: GuardProtocol::Tcp, first: *first, last: *last };
    Stopped {
        ports: ports.iter().map(range).collect(),
        direct: ports.iter().map(range).collect(),
        interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
        over_v4,
        over_v6,
        ..Stopped::default()
    }
}

#[test]
fn ports_for_which_there_was_no_time_are_said() {
    assert_eq!(not_tried(0), None);
    assert!(not_tried(1).unwrap().what.starts_with("1 guarded port or range could not be tried within 30s"));
    assert!(not_tried(7).unwrap().what.starts_with("7 guarded ports and ranges could not"));
}

fn check(by: Obstacle, of: Stopped, writers: Writers, expected: Expect) {
    let interfaces = ["eth0", "wlan0"].map(str::to_owned).into();
    let tried = TriedPackets { interfaces, with_v6: true, from: of.only_from, ..TriedPackets::default() };
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
            problem: inet filter input (its policy) drops tcp/22, whether a door is open or not; let it in there, too: `nft insert rule inet filter input tcp dport 22 accept`, and in the file that its rules are loaded from, or it lasts no longer than they do; inet postern keeps it closed to who has not knocked
        "#]],
    );
    check(
        obstacle("ip filter INPUT", false, true, true),
        stopped(&[(22, 22), (6000, 6010)], all, (true, false)),
        Writers { ufw: true, ..Writers::default() },
        expect![[r#"
            problem: ip filter INPUT (its policy) drops tcp/22, tcp/6000-6010 over IPv4, whether a door is open or not; let it in there, too: `ufw allow 22/tcp && ufw allow 6000:6010/tcp`; inet postern keeps it closed to who has not knocked
        "#]],
    );
    check(
        obstacle("ip6 filter INPUT", true, false, true),
        stopped(&[(22, 22)], &["eth0"], (false, true)),
        Writers::default(),
        expect![[r#"
            problem: ip6 filter INPUT rejects tcp/22 over IPv6 on eth0, whether a door is open or not; let it in there, too: `ip6tables -I INPUT -p tcp --dport 22 -j ACCEPT`, and in the file that its rules are loaded from, or it lasts no longer than they do; inet postern keeps it closed to who has not knocked
        "#]],
    );
    check(
        obstacle("inet firewalld filter_INPUT", true, false, false),
        stopped(&[(22, 22)], all, (true, true)),
        Writers::default(),
        expect![[r#"
            warning: inet firewalld filter_INPUT rejects tcp/22, whether a door is open or not, but for what its rules let in by conditions such as a source address; let it in there, too: `firewall-cmd --permanent --zone=$(firewall-cmd --get-zone-of-interface=eth0 || firewall-cmd --get-default-zone) --add-port=22/tcp && firewall-cmd --permanent --zone=$(firewall-cmd --get-zone-of-interface=wlan0 || firewall-cmd --get-default-zone) --add-port=22/tcp && firewall-cmd --reload`; inet postern keeps it closed to who has not knocked
        "#]],
    );
}

#[test]
fn a_remedy_is_what_the_writer_of_a_chain_takes() {
    let check = |chain: &str, is_policy, of: Stopped, writers, expected: &str| {
        let by = obstacle(chain, false, is_policy, true);
        let tried = TriedPackets { from: of.only_from, ..TriedPackets::default() };
        let remedy = &judge(&StoppedBy::from([(by, of)]), &tried, writers)[0].remedy;
        assert!(remedy.contains(&format!("`{expected}`")), "{remedy}");
    };
    let ssh = || stopped(&[(22, 22)], &["eth0"], (true, false));
    // What ufw denies comes before what is allowed later; without its rules for IPv6 nothing is allowed there.
    let ufw = Writers { ufw: true, ufw6: true, ..Writers::default() };
    check("ip filter INPUT", false, ssh(), ufw, "ufw prepend allow 22/tcp");
    check("ip6 filter INPUT", true, ssh(), ufw, "ufw allow 22/tcp");
    check(
        "ip6 filter INPUT",
        true,
        ssh(),
        Writers { ufw6: false, ..ufw },
        "sed -i 's/^IPV6=no/IPV6=yes/' /etc/default/ufw && ufw reload && ufw allow 22/tcp",
    );
    let firewalld = "firewall-cmd --permanent --zone=$(firewall-cmd --get-zone-of-interface=eth0 || firewall-cmd --get-default-zone) --add-port=22/tcp && firewall-cmd --reload";
    check("inet firewalld filter_INPUT", false, ssh(), Writers::default(), firewalld);
    let by_iptables = Writers { firewalld: true, ..Writers::default() };
    check("ip filter INPUT", false, ssh(), by_iptables, firewalld);
    // Others of its chains are not in a zone.
    let raw = "iptables -t raw -I PREROUTING -p tcp --dport 22 -j ACCEPT";
    check("ip raw PREROUTING", false, ssh(), by_iptables, raw);
    check("ip filter input", true, ssh(), ufw, "nft insert rule ip filter input tcp dport 22 accept");
    // A client that is kept out is let in alone.
    let only_from = Some("192.0.2.7".parse().unwrap());
    let banned = || Stopped { only_from, ..ssh() };
    check("inet f2b-table f2b-chain", false, banned(), ufw, "fail2ban-client unban 192.0.2.7");
    let insert = "nft insert rule inet own input ip saddr 192.0.2.7 tcp dport 22 accept";
    check("inet own input", true, banned(), ufw, insert);
    let insert = "iptables -I INPUT -s 192.0.2.7 -p tcp --dport 22 -j ACCEPT";
    check("ip filter INPUT", false, banned(), ufw, insert);
    let led = Stopped { direct: BTreeSet::new(), led: ssh().direct, ..ssh() };
    let insert =
        "nft insert rule inet own forward meta l4proto tcp ct status dnat ct original proto-dst 22 accept";
    check("inet own forward", true, led, ufw, insert);
}

#[test]
fn answers_that_are_stopped_are_said() {
    let by = Obstacle { is_answer: true, ..obstacle("inet own output", false, true, true) };
    check(
        by,
        stopped(&[(22, 22)], &["eth0", "wlan0"], (true, true)),
        Writers::default(),
        expect![[r#"
            problem: inet own output (its policy) drops the answers of tcp/22, whether a door is open or not; let them out there: `nft insert rule inet own output tcp sport 22 accept`, and in the file that its rules are loaded from, or it lasts no longer than they do
        "#]],
    );
}

#[test]
fn what_gets_in_by_another_interface_is_no_problem_unless_each_is_named() {
    let ssh = stopped(&[(22, 22)], &["docker0"], (true, true));
    let range = *ssh.ports.first().unwrap();
    let by = StoppedBy::from([(obstacle("inet own input", false, true, true), ssh)]);
    let check = |on_any, gets_in: &[(PortRange, bool)], severity: &str| {
        let interfaces = ["docker0", "eth0"].map(str::to_owned).into();
        let gets_in = gets_in.iter().copied().collect();
        let tried = TriedPackets { interfaces, on_any, gets_in, ..TriedPackets::default() };
        let found = &judge(&by, &tried, Writers::default())[0];
        assert_eq!(found.severity.name(), severity, "{found:?}");
    };
    check(true, &[(range, false), (range, true)], "note");
    check(false, &[(range, false), (range, true)], "problem");
    check(true, &[(range, false)], "problem");
    check(true, &[], "problem");
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
    // What lets it through has to know it by the number that is guarded: others may come to the same port of that machine.
    let mut stopped = StoppedBy::new();
    let by = obstacle("ip filter FORWARD", false, true, true);
    note(&mut stopped, by, range, &packets(range, &interface, false, &led)[0], None);
    for (docker, chain) in [(false, "FORWARD"), (true, "DOCKER-USER")] {
        let writers = Writers { docker, ..Writers::default() };
        let remedy = &judge(&stopped, &TriedPackets::default(), writers)[0].remedy;
        let expected = format!(
            "`iptables -I {chain} -p tcp -m conntrack --ctstate DNAT --ctorigdstport 8080 -j ACCEPT`"
        );
        assert!(remedy.contains(&expected), "{remedy}");
    }
    assert_eq!(of(true), [(8080, 8080, false), (8081, 8081, false)]);
}

//! Firewalls of others: what is said of a packet is what becomes of a real one.

mod iptables;

use postern_core::GuardProtocol;
use postern_doorman::{FirstPacket, OtherFilters};

use crate::world::{CLIENT4, CLIENT6, HOST4, HOST6, NEIGHBOUR4, Reach, World, index_of, nft};
use crate::{listen, ssh, start};

/// A client's first packet to a port of the host.
fn packet(is_ipv6: bool, port: u16) -> FirstPacket {
    FirstPacket {
        interface: "eth0".to_owned(),
        link: index_of("eth0"),
        is_ipv6,
        source: None,
        protocol: GuardProtocol::Tcp,
        dialled: port,
        arrives_at: port,
        forwarded_to: None,
    }
}

/// What stands in the way, a line each.
fn seen(packet: &FirstPacket) -> Vec<String> {
    let show = |found: &postern_doorman::Obstacle| {
        let how = match (found.is_rejected, found.is_policy) {
            (true, _) => "rejects",
            (false, true) => "drops by policy",
            (false, false) => "drops",
        };
        let what = if found.is_answer { " the answer" } else { "" };
        format!("{} {how}{what}{}", found.chain, if found.is_certain { "" } else { ", or not" })
    };
    OtherFilters::read().unwrap().obstacles(packet).unwrap().iter().map(show).collect()
}

/// Puts a chain for what comes in into the way of port 22, and compares what is said of it with what real packets see.
#[track_caller]
fn check(world: &World, chain: &str, expected: &[&str]) {
    nft("flush ruleset");
    // Older nft wants chains one below the other.
    nft(&format!("table inet own {{\n{}\n}}", chain.replace("; } ", "; }\n").replace("{ } ", "{ }\n")));
    for (is_ipv6, client, host) in [(false, CLIENT4, HOST4), (true, CLIENT6, HOST6)] {
        let found = seen(&packet(is_ipv6, 22));
        let expected: Vec<_> = expected
            .iter()
            .filter_map(|line| match line.split_once(": ") {
                Some(("ip", line)) => (!is_ipv6).then_some(line),
                Some(("ip6", line)) => is_ipv6.then_some(line),
                _ => Some(*line),
            })
            .collect();
        assert_eq!(found, expected, "IPv{}\n{chain}", if is_ipv6 { 6 } else { 4 });
        let is_sure = found.iter().any(|line| !line.ends_with("or not"));
        if is_sure || found.is_empty() {
            let reach = world.connect(client, (host, 22));
            let is_open = matches!(reach, Reach::Connected(_));
            assert_eq!(is_open, found.is_empty(), "{reach:?} of {client}\n{chain}");
        }
    }
}

/// Neighbours are found by ICMPv6, which is not what is tried.
const INPUT: &str = "type filter hook input priority 0; policy drop; meta l4proto ipv6-icmp accept;";
const DROPS: &[&str] = &["inet own input drops by policy"];

#[test]
fn a_chain_is_in_the_way_if_it_drops_whatever_a_client_is() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let check = |rules: &str, expected: &[&str]| {
        let ports = "set ports { type inet_service; flags interval; elements = { 20-30, 443 }; }";
        let others = "set others { type inet_service; elements = { 80, 443 }; }";
        let seen = "set seen { type ipv4_addr; flags dynamic; timeout 1m; }";
        let named = "counter hits { packets 0 bytes 0; }";
        check(
            &world,
            &format!("{ports} {others} {seen} {named} chain input {{ {INPUT} {rules}; }}"),
            expected,
        );
    };
    check("", DROPS);
    check("iif lo accept; iifname \"lo\" accept; ct state established,related accept", DROPS);
    check("ct state vmap { established : accept, related : accept, invalid : drop }", DROPS);
    check("ct state { established, related } accept; ct status dnat accept", DROPS);
    check("tcp dport 22 accept", &[]);
    check("tcp dport { 22, 80 } accept", &[]);
    check("tcp dport 80 accept; udp dport 22 accept; tcp dport { 23, 8000-9000 } accept", DROPS);
    check("tcp dport 20-30 accept", &[]);
    check("tcp dport { 10-30, 80 } counter accept", &[]);
    check("tcp dport != 22 accept", DROPS);
    check("meta l4proto tcp th dport 22 log prefix \"ssh \" accept", &[]);
    check("meta l4proto . th dport { tcp . 22, udp . 53 } accept", &[]);
    check("iifname \"eth0\" tcp dport vmap { 22 : accept }", &[]);
    check("iifname . tcp dport { \"eth1\" . 22 } accept", DROPS);
    check("iifname { \"eth1\", \"wg*\" } accept", DROPS);
    check("tcp flags & (fin | syn | rst | ack) == syn tcp dport 22 accept", &[]);
    check("ct state new tcp dport 22 accept", &[]);
    check("ct state != new accept", DROPS);
    check("fib daddr type { broadcast, multicast } drop; fib daddr type local accept", &[]);
    check("meta nfproto ipv4 tcp dport 22 accept", &["ip6: inet own input drops by policy"]);
    check("tcp dport 22 drop; accept", &["inet own input drops"]);
    check("tcp dport 22 reject with tcp reset; accept", &["inet own input rejects"]);
    check("reject", &["inet own input rejects"]);
    check("pkttype host accept", &[]);
    check("iifname \"eth*\" accept", &[]);
    check("tcp dport != { 22, 80 } accept", DROPS);
    check("tcp dport != { 23, 80 } accept", &[]);
    check("tcp dport vmap { 1-19 : drop, 20-30 : accept, 31-65535 : drop }", &[]);
    check("tcp dport vmap { 22 : drop }; accept", &["inet own input drops"]);
    check("tcp dport vmap { 80 : drop, * : accept }", &[]);
    check("meta l4proto . th dport { tcp . 20-30, udp . 1-1023 } accept", &[]);
    check("meta l4proto . th dport { tcp . 30-40, udp . 20-30 } accept", DROPS);
    check("ct state . tcp dport { new . 20-30 } accept", &[]);
    check("iif . tcp dport { lo . 20-30 } accept", DROPS);
    check("tcp dport @ports accept", &[]);
    check("tcp dport @others accept", DROPS);
    check("tcp dport 1-99 ct original proto-dst 22 accept", &[]);
    check("meta protocol ip ip protocol tcp accept", &["ip6: inet own input drops by policy"]);
    check("@th,16,16 22 accept", &[]);
    check("tcp dport 22 counter name hits accept", &[]);
    check("tcp sport 1024-65535 tcp dport 22 accept", &[]);
    check("tcp sport < 1024 accept", DROPS);
    // A client's first packet is within what is allowed of them.
    check("tcp dport 22 ct state new limit rate 15/minute accept", &[]);
    check("limit rate over 100/second drop; ct count over 20 reject; quota over 1 mbytes drop; accept", &[]);
    check("tcp dport 22 limit rate over 100/second accept", DROPS);
    check("tcp dport 22 ct count 20 accept", &[]);
    let of_v4 = &["ip6: inet own input drops by policy"];
    check("tcp dport 22 update @seen { ip saddr limit rate 10/minute } accept", of_v4);
    check("tcp dport 22 add @seen { ip saddr limit rate over 100/second } accept", DROPS);
    check("add @seen { ip saddr } tcp dport 22 accept", of_v4);
}

#[test]
fn an_answer_that_does_not_get_out_is_seen() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let check = |rules: &str, expected: &[&str]| {
        let policy = "type filter hook output priority 0; policy drop; meta l4proto ipv6-icmp accept;";
        check(&world, &format!("chain output {{ {policy} {rules}; }}"), expected);
    };
    let drops = &["inet own output drops by policy the answer"];
    check("", drops);
    check("ct state established,related accept", &[]);
    check("ct state new accept", drops);
    check("ct direction reply accept", &[]);
    check("meta l4proto tcp ct original proto-dst 22 accept", &[]);
    check("tcp dport 22 accept", drops);
    check("tcp sport 22 accept", &[]);
    check("tcp sport { 80, 443 } accept", drops);
    check("tcp flags & (syn | ack) == syn accept", drops);
    check("oifname \"eth0\" accept", &[]);
    check("oif lo accept", drops);
    check("iifname \"eth0\" accept", &["inet own output drops by policy the answer, or not"]);
    check(
        "ip daddr 10.0.0.0/8 accept",
        &[
            "ip: inet own output drops by policy the answer, or not",
            "ip6: inet own output drops by policy the answer",
        ],
    );
    check("tcp sport 22 reject; accept", &["inet own output rejects the answer"]);
}

#[test]
fn what_is_led_to_a_machine_behind_has_to_get_there_and_back() {
    let Some(world) = World::new() else { return };
    let _behind = world.put_behind_host();
    let led = FirstPacket {
        arrives_at: 9090,
        forwarded_to: Some("10.78.0.2".parse().unwrap()),
        ..packet(false, 8080)
    };
    let check = |rules: &str, expected: &[&str]| {
        nft("flush ruleset");
        nft(&format!(
            "table ip own {{
                chain after {{ type filter hook postrouting priority 0; tcp sport 8080 drop; }}
                chain last {{ type filter hook postrouting priority 101; tcp sport 9090 drop; }}
                chain before {{ type nat hook prerouting priority dstnat; tcp dport 8080 dnat to 10.78.0.2:9090; }}
                chain forward {{ type filter hook forward priority 0; policy drop; {rules}; }}
            }}"
        ));
        assert_eq!(seen(&led), expected, "{rules}");
        let is_open = matches!(world.connect(CLIENT4, (HOST4, 8080)), Reach::Connected(_));
        assert_eq!(is_open, expected.is_empty(), "{rules}");
    };
    check("", &["ip own forward drops by policy"]);
    check("tcp dport 8080 accept", &["ip own forward drops by policy"]);
    check("tcp dport 9090 accept", &["ip own forward drops by policy the answer"]);
    check("tcp dport 9090 accept; tcp sport 9090 accept", &[]);
    check("tcp dport 9090 accept; ct state established accept", &[]);
    check("meta l4proto tcp ct status dnat ct original proto-dst 8080 accept", &[]);
    check(
        "meta l4proto tcp ct status dnat ct original proto-dst 9090 accept",
        &["ip own forward drops by policy"],
    );
}

#[test]
fn of_a_client_that_is_known_more_is_known() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let check = |rules: &str, expected: [&[&str]; 2]| {
        nft("flush ruleset");
        let banned = "set banned { type ipv4_addr; elements = { 10.77.0.3 }; }";
        nft(&format!("table inet own {{\n{banned}\nchain input {{ {INPUT} {rules}; }}\n}}"));
        for (client, expected) in [CLIENT4, NEIGHBOUR4].into_iter().zip(expected) {
            let of = FirstPacket { source: client.parse().ok(), ..packet(false, 22) };
            assert_eq!(seen(&of), expected, "{client}: {rules}");
            let is_open = matches!(world.connect(client, (HOST4, 22)), Reach::Connected(_));
            assert_eq!(is_open, expected.is_empty(), "{client}: {rules}");
        }
    };
    check("ip saddr @banned reject; accept", [&[], &["inet own input rejects"]]);
    check("ip saddr 10.77.0.2 accept", [&[], DROPS]);
    check("ip saddr != 10.77.0.2/31 drop; accept", [&[], &[]]);
    check("ip saddr != { 10.77.0.0/31, 10.77.0.3 } drop; accept", [&["inet own input drops"], &[]]);
    check("ip saddr vmap { 10.77.0.2 : accept, 10.77.0.3 : drop }", [&[], &["inet own input drops"]]);
}

#[test]
fn what_is_not_known_of_a_client_is_said() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let check = |rules: &str, expected: &[&str]| {
        check(
            &world,
            &format!("set some {{ type ipv4_addr; }} chain input {{ {INPUT} {rules}; }}"),
            expected,
        );
    };
    let perhaps = &["ip: inet own input drops by policy, or not", "ip6: inet own input drops by policy"];
    check("ip saddr 10.0.0.0/8 tcp dport 22 accept", perhaps);
    check("ip saddr @some accept", perhaps);
    check("ip saddr != @some accept", perhaps);
    check("ip saddr vmap { 10.77.0.2 : accept, 10.77.0.3 : drop }", perhaps);
    // Some are kept out, as fail2ban does; all others get in.
    check("ip saddr @some drop; ip saddr { 10.9.0.0/16 } reject; accept", &[]);
    check("meta mark 7 accept", &["inet own input drops by policy, or not"]);
}

#[test]
fn chains_that_lead_to_chains_are_followed() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let check = |chains: &str, expected: &[&str]| check(&world, chains, expected);
    let from = |rules: &str| format!("chain input {{ {INPUT} {rules}; }}");
    let input = from("jump one; goto two;");
    check(&format!("chain two {{ }} chain one {{ tcp dport 22 accept; }} {input}"), &[]);
    check(
        &format!("chain two {{ drop; }} chain one {{ tcp dport 22 return; accept; }} {input}"),
        &["inet own input drops"],
    );
    check(&format!("chain two {{ }} chain one {{ tcp dport 80 accept; }} {input}"), DROPS);
    check(&format!("chain two {{ tcp dport 22 accept; }} chain one {{ }} {input}"), &[]);
    // Zones, as firewalld has them: each interface its own chain.
    let zones =
        "ct status dnat accept; ct state invalid drop; jump zones; reject with icmpx port-unreachable";
    let zones = format!(
        "chain one {{ accept; }} chain two {{ tcp dport 443 accept; }} chain zones {{ iifname \"eth1\" goto one; goto two; }} {}",
        from(zones)
    );
    check(&zones, &["inet own input rejects"]);
    check(&zones.replace("443", "22"), &[]);
    check(&zones.replace("eth1", "eth0"), &[]);
    let perhaps = from("ip saddr 10.0.0.0/8 jump one");
    check(
        &format!("chain one {{ tcp dport 22 accept; }} {perhaps}"),
        &["ip: inet own input drops by policy, or not", "ip6: inet own input drops by policy"],
    );
    // An accept is the end of one base chain, and not of the next.
    let other = "chain early { type filter hook prerouting priority raw; policy accept; tcp dport 22 drop; }";
    check(&format!("{other} {}", from("accept")), &["inet own early drops"]);
    check("chain out { type filter hook output priority 0; policy accept; tcp dport 22 drop; }", &[]);
}

#[test]
fn its_own_table_and_one_that_sleeps_are_none() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let (doorman, _) = start(&[ssh()]).unwrap();
    assert_eq!(seen(&packet(false, 22)), Vec::<String>::new());
    nft(&format!("table ip own {{ flags dormant; chain input {{ {INPUT} }}; }}"));
    assert_eq!(seen(&packet(false, 22)), Vec::<String>::new());
    drop(doorman);
    nft("flush ruleset");
    nft(
        "table ip own { set some { type ipv4_addr; }; set other { type ipv4_addr; }; chain c { ip saddr @some accept; }; }",
    );
    let filters = OtherFilters::read().unwrap();
    assert!(filters.asks(&"ip own some".parse().unwrap()));
    assert!(
        !filters.asks(&"ip own other".parse().unwrap()) && !filters.asks(&"inet own some".parse().unwrap())
    );
    drop(world);
}

#[test]
fn a_redirected_packet_is_asked_for_by_the_number_that_it_has_then() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    nft(&format!(
        "table inet own {{
            chain before {{ type nat hook prerouting priority dstnat; tcp dport 2201 redirect to :22; }}
            chain early {{ type filter hook prerouting priority mangle; tcp dport 22 drop; }}
            chain input {{ {INPUT} tcp dport 22 ct status dnat accept; }}
        }}"
    ));
    let redirected = FirstPacket { arrives_at: 22, ..packet(false, 2201) };
    assert_eq!(seen(&redirected), Vec::<String>::new());
    world.must_connect(CLIENT4, (HOST4, 2201));
    assert_eq!(seen(&packet(false, 22)), ["inet own early drops", "inet own input drops by policy"]);
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
    nft(
        "table ip fw { chain forward { type filter hook forward priority 0; policy drop; ct direction reply accept; ip daddr 10.78.0.2 tcp dport 80 accept; }; }",
    );
    let forwarded = |port| FirstPacket {
        arrives_at: port,
        forwarded_to: Some("10.78.0.2".parse().unwrap()),
        ..packet(false, 8080)
    };
    assert_eq!(seen(&forwarded(80)), Vec::<String>::new());
    assert_eq!(seen(&forwarded(81)), ["ip fw forward drops by policy"]);
}

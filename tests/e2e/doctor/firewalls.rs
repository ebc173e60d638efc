//! Other firewalls: what the doctor says of them is so, and what it says to do helps.

use std::net::IpAddr;
use std::process::Command;

use postern_tests::{CLIENT4, CLIENT6, Lab, STRANGER4, eventually, skip_everywhere};

use super::{follow, nothing_wrong, only, ssh, wrong};
use crate::{A_WHILE, SOON, SSH_2S, STEPS, STORY};

#[test]
fn a_chain_that_drops_what_a_door_lets_in_is_a_problem_and_its_remedy_mends_it() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    lab.firewall(
        "table inet own { chain input { type filter hook input priority filter; policy drop;
            ct state established,related accept
            meta l4proto { icmp, ipv6-icmp } accept
            udp dport 53 accept
        }
        }",
    );
    let daemon = ssh(&lab).start();
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence(), "it is open, and dropped");
    let said = wrong(&daemon.doctor(&["--json"]));
    let [one] = &said[..] else { panic!("{said:?}") };
    assert_eq!((&*one.look, &*one.severity), ("other firewalls", "problem"), "{one:?}");
    assert!(one.what.contains("inet own input (its policy) drops tcp/22,"), "{one:?}");
    follow(&lab, &one.remedy);
    let said = wrong(&daemon.doctor(&["--json"]));
    assert!(said.is_empty(), "{said:?}");
    lab.knock(CLIENT4, STEPS);
    assert!(lab.tcp_soon(CLIENT4, 22, SOON).1 < SOON);
    assert!(lab.tcp(STRANGER4, 22, A_WHILE).is_silence(), "the guard keeps the others out");
    daemon.stop();
}

/// As fail2ban does it: what others may, one that is known may not.
#[test]
fn a_client_that_is_kept_out_is_found_when_it_is_named_and_let_in_alone() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    lab.firewall(&format!(
        "table inet own {{
            set banned {{ type ipv4_addr; elements = {{ {CLIENT4}, {STRANGER4} }}; }}
            chain input {{ type filter hook input priority filter - 1; policy accept;
                tcp dport 22 ip saddr @banned reject
            }}
        }}"
    ));
    let daemon = ssh(&lab).start();
    assert!(wrong(&daemon.doctor(&["--json"])).is_empty());
    let of = |client: IpAddr| wrong(&daemon.doctor(&["--json", "--from", &client.to_string()]));
    assert!(of(CLIENT6).is_empty());
    let said = of(CLIENT4);
    let [one] = &said[..] else { panic!("{said:?}") };
    assert_eq!((&*one.look, &*one.severity), ("other firewalls", "problem"), "{one:?}");
    assert!(one.what.contains(&format!("inet own input rejects tcp/22 from {CLIENT4},")), "{one:?}");
    follow(&lab, &one.remedy);
    assert!(of(CLIENT4).is_empty() && !of(STRANGER4).is_empty());
    lab.knock(CLIENT4, STEPS);
    assert!(lab.tcp_soon(CLIENT4, 22, SOON).1 < SOON);
    daemon.stop();
}

#[test]
fn answers_that_do_not_get_out_are_a_problem_and_the_remedy_mends_it() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    lab.firewall(
        "table inet own { chain output { type filter hook output priority filter; policy drop;
            meta l4proto { icmp, ipv6-icmp } accept
        }
        }",
    );
    let setup = ssh(&lab);
    let one = only(&setup, "other firewalls", "problem");
    assert!(one.what.contains("inet own output (its policy) drops the answers of tcp/22,"), "{one:?}");
    assert!(!lab.tcp_connects(CLIENT4, 22, A_WHILE), "it is so");
    follow(&lab, &one.remedy);
    nothing_wrong(&setup);
    assert!(lab.tcp_connects(CLIENT4, 22, SOON) && lab.tcp_connects(CLIENT6, 22, SOON));
}

/// As on a machine with containers, which come in by interfaces of their own.
#[test]
fn what_gets_in_where_clients_come_in_is_no_problem() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    lab.firewall(
        "table inet own { chain input { type filter hook input priority filter; policy drop;
            meta l4proto { icmp, ipv6-icmp } accept
            iifname \"eth0\" tcp dport 22 accept
        }
        }",
    );
    for link in ["add inner type veth peer name outer", "set inner up", "set outer up"] {
        let ip: Vec<_> = ["ip", "link"].into_iter().chain(link.split(' ')).collect();
        assert!(lab.server_exec(&ip).status.success());
    }
    eventually("both are up", || {
        let links = String::from_utf8(lab.server_exec(&["ip", "-br", "link"]).stdout).expect("it is text");
        let state = |link: &str| link.split_whitespace().nth(1) == Some("UP");
        (links.lines().filter(|link| link.contains("inner")).all(state)).then_some(())
    });
    let setup = ssh(&lab).config(&SSH_2S.replace("\"eth0\"", "\"any\""));
    let one = only(&setup, "other firewalls", "note");
    assert!(one.what.contains("drops tcp/22 on inner, outer"), "{one:?}");
    // Whoever names it wants to be reached by it.
    let setup = setup.config(&SSH_2S.replace("\"eth0\"", "\"eth0\", \"inner\""));
    only(&setup, "other firewalls", "problem");
}

#[test]
fn a_chain_of_iptables_is_one_too() {
    let Some(lab) = Lab::if_possible() else { return };
    let version = Command::new("iptables").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("nf_tables")) {
        return skip_everywhere("no iptables-nft here");
    }
    let _ssh = lab.tcp_service(22);
    for rule in ["-P INPUT DROP", "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"] {
        follow(&lab, &format!("`iptables {rule}`"));
    }
    let setup = ssh(&lab);
    let one = only(&setup, "other firewalls", "problem");
    assert!(one.what.contains("ip filter INPUT (its policy) drops tcp/22 over IPv4"), "{one:?}");
    follow(&lab, &one.remedy);
    nothing_wrong(&setup);
}

#[test]
fn a_set_that_no_rule_asks_for_opens_nothing() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    lab.firewall(
        "table inet own {
            set friends { type ipv4_addr; flags timeout; }
            chain input { type filter hook input priority filter; policy accept; }
        }",
    );
    let door = "guard = \"tcp/22\"";
    let setup = ssh(&lab).config(&SSH_2S.replace(door, "set = \"inet own friends\""));
    let said = wrong(&setup.doctor(&["--json"]));
    let [unused, half] = &said[..] else { panic!("{said:?}") };
    assert!(unused.severity == "problem" && unused.what.contains("door ssh opens nothing"), "{unused:?}");
    assert!(half.look == "address families" && half.what.contains("over IPv4 alone"), "{half:?}");
    lab.firewall("add rule inet own input ip saddr @friends tcp dport 22 accept");
    only(&setup, "address families", "warning");
}

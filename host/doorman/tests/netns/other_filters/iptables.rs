//! Rules that iptables-nft has written, where there is one.

use std::process::Command;

use super::{packet, seen};
use crate::listen;
use crate::world::{CLIENT4, HOST4, Reach, World, nft, run};

#[test]
fn rules_of_iptables_are_read() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let version = Command::new("iptables").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("nf_tables")) {
        eprintln!("skipped: no iptables-nft here");
        return;
    }
    let check = |rules: &[&str], expected: &[&str]| {
        nft("flush ruleset");
        for rule in ["-P INPUT DROP", "-A INPUT -i lo -j ACCEPT"].iter().chain(rules) {
            run(&format!("iptables {rule}"));
        }
        let found = seen(&packet(false, 22));
        assert_eq!(found, expected, "{rules:?}");
        if found.iter().all(|line| !line.ends_with("or not")) {
            let is_open = matches!(world.connect(CLIENT4, (HOST4, 22)), Reach::Connected(_));
            assert_eq!(is_open, found.is_empty(), "{rules:?}");
        }
    };
    let drops = &["ip filter INPUT drops by policy"];
    check(&["-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"], drops);
    check(&["-A INPUT -m conntrack --ctstate DNAT -j ACCEPT"], drops);
    check(&["-A INPUT -m conntrack ! --ctstate RELATED,ESTABLISHED -j ACCEPT"], &[]);
    check(&["-A INPUT -m state --state NEW -p tcp -m tcp --dport 22 -j ACCEPT"], &[]);
    check(&["-A INPUT -p tcp --dport 20:30 -j ACCEPT"], &[]);
    check(&["-A INPUT -p tcp --sport 1024:65535 --dport 20:30 -j ACCEPT"], &[]);
    check(&["-A INPUT -p tcp --sport 0:1023 -j ACCEPT"], drops);
    check(&["-A INPUT -p tcp ! --dport 22 -j ACCEPT"], drops);
    check(&["-A INPUT -p tcp --syn --dport 22 -j ACCEPT"], &[]);
    check(&["-A INPUT -p tcp ! --syn -j ACCEPT"], drops);
    check(&["-A INPUT -p udp --dport 22 -j ACCEPT"], drops);
    check(&["-A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT"], drops);
    check(&["-A INPUT -p tcp -m multiport --dports 80,20:30 -j ACCEPT"], &[]);
    check(&["-A INPUT -p tcp -m multiport ! --dports 80,20:30 -j ACCEPT"], drops);
    check(&["-A INPUT -m addrtype --dst-type MULTICAST -j ACCEPT"], drops);
    check(&["-A INPUT -m addrtype --dst-type LOCAL -m comment --comment mine -j ACCEPT"], &[]);
    check(
        &["-A INPUT -s 10.0.0.0/8 -p tcp --dport 22 -j ACCEPT"],
        &["ip filter INPUT drops by policy, or not"],
    );
    check(
        &["-A INPUT -p tcp --sport 49152:65535 --dport 22 -j ACCEPT"],
        &["ip filter INPUT drops by policy, or not"],
    );
    check(&["-A INPUT -p tcp --dport 22 -m limit --limit 15/min -j ACCEPT"], &[]);
    for mode in ["--hashlimit-mode srcip --hashlimit-name one", "--hashlimit-name other"] {
        check(&[&format!("-A INPUT -p tcp -m hashlimit --hashlimit-upto 15/min {mode} -j ACCEPT")], &[]);
        check(&[&format!("-A INPUT -p tcp -m hashlimit --hashlimit-above 15/min {mode} -j ACCEPT")], drops);
    }
    check(&["-A INPUT -p tcp -m connlimit --connlimit-upto 3 -j ACCEPT"], &[]);
    check(&["-A INPUT -p tcp -m connlimit --connlimit-above 3 -j ACCEPT"], drops);
    check(&["-A INPUT -p tcp -m conntrack --ctorigdstport 22 --ctdir ORIGINAL -j ACCEPT"], &[]);
    check(&["-A INPUT -p tcp -m conntrack --ctorigdstport 23:99 -j ACCEPT"], drops);
    check(&["-A INPUT -p tcp -m conntrack --ctdir REPLY -j ACCEPT"], drops);
    check(&["-A INPUT -p tcp -m conntrack ! --ctorigdstport 22 -j ACCEPT"], drops);
    check(
        &["-A INPUT -j ACCEPT", "-A OUTPUT -p tcp -m multiport --sports 22,80 -j DROP"],
        &["ip filter OUTPUT drops the answer"],
    );
    check(
        &["-A INPUT -j ACCEPT", "-t mangle -A OUTPUT -p tcp --sport 22 -j DROP"],
        &["ip mangle OUTPUT drops the answer"],
    );
    check(&["-A INPUT -p tcp --dport 22 -j LOG", "-A INPUT -j REJECT"], &["ip filter INPUT rejects"]);
    check(&["-N ssh", "-A ssh -p tcp --dport 22 -j ACCEPT", "-A INPUT -j ssh"], &[]);
}

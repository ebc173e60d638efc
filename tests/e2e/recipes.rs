//! Recipes on a real wire: their pages say what to write into the configuration and how to knock, and that is what is tried.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use postern_tests::{CLIENT4, CLIENT6, Entry, Lab, SERVER4, SERVER6, STRANGER4, STRANGER6, examples, frame};

use crate::{A_WHILE, BOTH_KINDS, KNOCK, SOON, SSH_2S, STEPS, STORY, greeted, is_alive, posternd};

const DECOY: &str = include_str!("../../rules/recipes/decoy/README.md");
const DECOY_RULE: &str = include_str!("../../rules/recipes/decoy/decoy.toml");
const NETWORKS_RULE: &str = include_str!("../../rules/recipes/networks/networks.toml");
const OFFICE_RULE: &str = include_str!("../../rules/recipes/office-hours/office-hours.toml");
const PAYLOAD_RULE: &str = include_str!("../../rules/recipes/payload-match/payload-match.toml");
const PING_RULE: &str = include_str!("../../rules/recipes/ping-length/ping-length.toml");
const SYN_RULE: &str = include_str!("../../rules/recipes/syn-sequence/syn-sequence.toml");
/// Three of the decoys.
const SCAN: &str = "23/tcp 445/tcp 3389/tcp";
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A Python script that sends an echo request with zeros. The kernel sums up ICMPv6 by itself.
const PING: &str = r"
import socket, sys
source, server, size = sys.argv[1:]
if ':' in source:
    family, protocol, head = socket.AF_INET6, socket.IPPROTO_ICMPV6, b'\x80\0\0\0'
else:
    family, protocol, head = socket.AF_INET, socket.IPPROTO_ICMP, b'\x08\0\xf7\xff'
raw = socket.socket(family, socket.SOCK_RAW, protocol)
raw.bind((source, 0))
raw.sendto(head + bytes(4 + int(size)), (server, 0))
";

/// The indented lines below the first line that contains `heading`.
fn example(document: &str, heading: &str) -> String {
    let below = document.lines().skip_while(|line| !line.contains(heading)).skip(1);
    let code = below.skip_while(|line| !line.starts_with("    "));
    let lines: Vec<_> = code.take_while(|line| line.is_empty() || line.starts_with("    ")).collect();
    assert!(!lines.is_empty(), "no example below {heading}");
    lines.join("\n")
}

/// Sends an echo request with so many zeros.
fn ping(lab: &Lab, source: IpAddr, size: usize) {
    let server = if source.is_ipv4() { SERVER4 } else { SERVER6 };
    let (source, server) = (source.to_string(), server.to_string());
    lab.client_exec(&["python3", "-c", PING, &source, &server, &size.to_string()]);
}

/// Sends a datagram that carries this.
fn tell(lab: &Lab, source: IpAddr, port: u16, text: &str) {
    let server = if source.is_ipv4() { SERVER4 } else { SERVER6 };
    let socket = lab.client().run(|| UdpSocket::bind((source, 0))).expect("an address of the client");
    socket.send_to(text.as_bytes(), (server, port)).expect("a datagram can be sent");
}

/// How far clocks are ahead where it is noon now.
fn offset_of_noon() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    match now / 3600 % 24 {
        hour @ 0..=12 => format!("+{:02}:00", 12 - hour),
        hour => format!("-{:02}:00", hour - 12),
    }
}

fn of(client: IpAddr) -> impl Fn(&Entry) -> bool {
    move |entry| entry.text("src") == client.to_string()
}

#[test]
fn what_hits_decoys_is_dropped_and_knocks_go_on() {
    let Some(lab) = Lab::if_possible() else { return };
    let Some(module) = examples::recipe("decoy") else { return };
    let services = [22, 80].map(|port| lab.tcp_service(port));
    lab.firewall(&format!("table inet filter {{\n{}\n}}", example(DECOY, "and in the ruleset")));
    // Room for the two strangers.
    let tenant = example(DECOY, "In `postern.toml`:").replace("4096", "2");
    let rule = DECOY_RULE.replace("192.0.2.0/24", "10.77.0.2").replace("2001:db8::/32", "fd77::2");
    let daemon = posternd(&lab)
        .config(&format!("{}\n{tenant}", SSH_2S.replace("2s", "2m")))
        .rule("knock", KNOCK)
        .file("tenants/decoy/decoy.toml", rule)
        .file("tenants/decoy/decoy.wasm", module)
        .start();

    for stranger in [STRANGER4, STRANGER6] {
        let mut before = greeted(lab.tcp(stranger, 80, SOON).connected());
        lab.knock(stranger, "23/tcp 23/tcp 445/tcp");
        assert!(lab.tcp_connects(stranger, 80, SOON), "two ports are no scan");
        lab.knock(stranger, "3389/tcp");
        daemon.wait_for("open", of(stranger));
        assert!(lab.tcp(stranger, 80, A_WHILE).is_silence(), "{stranger}");
        assert!(is_alive(&mut before), "{stranger}: what was established lives on");
    }
    // As many as the tenant may have; a source may be made up.
    let made_up = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 9));
    let mut wire = lab.injector();
    for port in [23, 445, 3389] {
        wire.send(&frame::tcp((made_up, 4000).into(), SocketAddr::new(SERVER4, port), frame::SYN));
    }
    let refused = daemon.wait_for("refuse", of(made_up));
    assert_eq!(refused.text("drop"), "openings-full", "{refused}");

    // Those whom the rule must not lock out, and whose knocks need openings.
    for client in [CLIENT4, CLIENT6] {
        lab.knock(client, SCAN);
        lab.knock(client, STEPS);
        daemon.expect_story(client, &STORY);
        assert!(lab.tcp_connects(client, 22, SOON) && lab.tcp_connects(client, 80, SOON), "{client}");
    }
    drop(services);
    daemon.stop();
}

#[test]
fn a_syn_with_the_right_number_opens_once_and_for_its_sender_alone() {
    let Some(lab) = Lab::if_possible() else { return };
    let Some(module) = examples::recipe("syn-sequence") else { return };
    let _ssh = lab.tcp_service(22);
    let rule = SYN_RULE.replacen("\"\"", &format!("\"{KEY}\""), 1);
    let daemon = posternd(&lab)
        .config(&SSH_2S.replace("2s", "2m"))
        .rule("syn-sequence", &rule)
        .file("rules/syn-sequence.wasm", module)
        .start();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let keys = [("right", KEY), ("wrong", "0123456789abcdef0123456789abcdee")];
    for (name, key) in keys {
        fs::write(dir.path().join(name), format!("{key}\n")).expect("the folder is ours");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/recipes/syn-sequence/knock.py");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let send = |source: IpAddr, key: &str, seen_as: IpAddr, seconds_ago: u64| {
        let server = if source.is_ipv4() { SERVER4 } else { SERVER6 };
        let (script, server, source) = (script.to_str(), server.to_string(), source.to_string());
        let (key, seen_as) = (dir.path().join(key), seen_as.to_string());
        let at = (now - seconds_ago).to_string();
        let script = script.expect("a path in UTF-8");
        let first = ["python3", script, &server, "7000", key.to_str().expect("a path in UTF-8")];
        lab.client_exec(&[&first[..], &["--source", &source, "--seen-as", &seen_as, "--at", &at]].concat());
    };
    for (client, stranger) in BOTH_KINDS {
        // A key that differs in its last bit, a number that is three minutes old, and one that is another's.
        send(client, "wrong", client, 0);
        send(client, "right", client, 180);
        send(stranger, "right", client, 0);
        send(client, "right", client, 0);
        daemon.wait_for("open", of(client));
        assert!(lab.tcp_connects(client, 22, SOON), "{client}");
        send(client, "right", client, 0);
        let refused = daemon.wait_for("refuse", of(client));
        assert_eq!(refused.text("drop"), "already-used", "{refused}");
        assert_eq!(daemon.story(client)[0], "open ssh", "nothing came before it");
        assert_eq!(daemon.story(stranger), [""; 0]);
        assert!(lab.tcp(stranger, 22, A_WHILE).is_silence(), "{stranger}");
    }
    daemon.stop();
}

#[test]
fn pings_secrets_networks_and_hours_open_to_what_is_right() {
    let Some(lab) = Lab::if_possible() else { return };
    let rules = [
        ("ping-length", PING_RULE.to_owned()),
        ("payload-match", PAYLOAD_RULE.replacen("\"\"", &format!("\"{KEY}\""), 1).replace("7000", "7100")),
        (
            "networks",
            NETWORKS_RULE
                .replace("[\"192.0.2.0/24\", \"2001:db8::/32\"]", "[\"10.77.0.0/16\", \"fd77::/64\"]")
                .replace("[\"192.0.2.128/25\"]", "[\"10.77.0.3\", \"fd77::3\"]"),
        ),
        (
            "office-hours",
            OFFICE_RULE
                .replace("mon tue wed thu fri", "mon tue wed thu fri sat sun")
                .replace("+01:00", &offset_of_noon())
                .replace("7000", "7200"),
        ),
    ];
    let mut config = "interfaces = [\"eth0\"]\n".to_owned();
    let mut setup = posternd(&lab);
    let mut doors = Vec::new();
    for ((name, rule), port) in rules.into_iter().zip(2201..) {
        let Some(module) = examples::recipe(name) else { return };
        config += &format!("[doors.{name}]\nguard = \"tcp/{port}\"\nfor = \"2m\"\n");
        let rule = rule.replace("\"ssh\"", &format!("\"{name}\""));
        setup = setup.rule(name, &rule).file(&format!("rules/{name}.wasm"), module);
        doors.push((name, port, lab.tcp_service(port)));
    }
    let daemon = setup.config(&config).start();

    for (client, stranger) in BOTH_KINDS {
        ping(&lab, stranger, 776);
        tell(&lab, stranger, 7100, &KEY[1..]);
        lab.knock(stranger, "7000/udp 7001/tcp 7002/udp");
        ping(&lab, client, 777);
        tell(&lab, client, 7100, KEY);
        lab.knock(client, "7000/udp 7001/tcp 7002/udp");
        tell(&lab, client, 7200, "");
        for (name, port, _) in &doors {
            daemon.wait_for("open", |entry| of(client)(entry) && entry.text("door") == *name);
            assert!(lab.tcp_connects(client, *port, SOON), "{client} {name}");
            assert!(lab.tcp(stranger, *port, A_WHILE).is_silence(), "{stranger} {name}");
        }
        assert_eq!(daemon.story(stranger), [""; 0]);
    }
    daemon.expect_none("fault", |_| true);
    daemon.stop();
}

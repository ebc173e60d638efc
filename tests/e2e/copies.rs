//! One packet that shows on several interfaces: on the port of a bridge and on the bridge, with a VLAN tag and without.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use postern_tests::{CLIENT4, CLIENT6, Lab, Log, SERVER4, SERVER6, STRANGER4, frame, skip_everywhere};

use crate::{BOTH_KINDS, KNOCK, SOON, SSH_2S, STEPS, STORY, posternd};

const ANY: &str = r#""any""#;
const BOTH: &str = r#""eth0", "br0""#;

/// Makes the server's end of the wire the port of a bridge, which has its addresses from now on.
fn bridge(lab: &Lab) {
    let mut commands = "link add br0 type bridge\nlink set eth0 master br0\naddr flush dev eth0\n".to_owned();
    commands += "link set br0 addrgenmode none\nlink set br0 up\n";
    for (address, rest) in [(SERVER4, "/16"), (SERVER6, "/64 nodad")] {
        writeln!(commands, "addr add {address}{rest} dev br0").expect("memory");
    }
    lab.server().feed(&["ip", "-batch", "-"], &commands);
}

/// A guarded port, and captures there.
fn ssh_on(interfaces: &str) -> String {
    SSH_2S.replace(r#""eth0""#, interfaces)
}

/// How many packets were dropped because they were copies.
#[track_caller]
fn copies(log: &Log) -> u64 {
    let entries = log.entries();
    let stopped = entries.iter().find(|entry| entry.event() == "stop").expect("it stopped");
    stopped.count("dropped", "same-packet")
}

fn datagram(source: IpAddr, server: IpAddr, port: u16) -> Vec<u8> {
    frame::udp(SocketAddr::new(source, 4000), SocketAddr::new(server, port), b"knock")
}

#[test]
fn one_packet_on_a_port_and_on_its_bridge_counts_once() {
    for interfaces in [ANY, BOTH] {
        for workers in [1, 2] {
            let Some(lab) = Lab::if_possible() else { return };
            bridge(&lab);
            let _ssh = lab.tcp_service(22);
            let config = format!("workers = {workers}\n{}", ssh_on(interfaces));
            let daemon = posternd(&lab).config(&config).rule("knock", KNOCK).start();
            for (client, _) in BOTH_KINDS {
                lab.knock(client, STEPS);
                daemon.expect_story(client, &STORY);
                assert!(lab.tcp_connects(client, 22, SOON), "{client} by {interfaces}");
            }
            // Some copies may not have come yet when the daemon is stopped, but the last ones.
            let (_, log) = daemon.stop();
            assert!(copies(&log) >= 4, "{} copies by {interfaces}", copies(&log));
        }
    }
}

#[test]
fn equal_datagrams_are_as_many_as_were_sent() {
    let rule = KNOCK.replace("8000/tcp", "7000/udp");
    for (interfaces, is_bridged) in [(r#""eth0""#, false), (ANY, false), (ANY, true), (BOTH, true)] {
        let Some(lab) = Lab::if_possible() else { return };
        if is_bridged {
            bridge(&lab);
        }
        let daemon = posternd(&lab).config(&ssh_on(interfaces)).rule("knock", &rule).start();
        let mut wire = lab.injector();
        for (source, server) in [(CLIENT4, SERVER4), (CLIENT6, SERVER6)] {
            for port in [7000, 7000, 9000] {
                wire.send(&datagram(source, server, port));
            }
            daemon.expect_story(source, &STORY);
        }
        // One too many: the third is wrong where a last step is due.
        for port in [7000, 7000, 7000, 9000] {
            wire.send(&datagram(STRANGER4, SERVER4, port));
        }
        wire.send(&datagram(CLIENT4, SERVER4, 7000));
        daemon.wait_for("stage", |entry| entry.text("src") == STRANGER4.to_string());
        daemon.expect_story(STRANGER4, &STORY[..2]);
        daemon.stop();
    }
}

#[test]
fn a_tagged_frame_and_the_packet_on_its_vlan_are_one() {
    let rule = KNOCK.replace("8000/tcp", "8000/udp");
    for interfaces in [ANY, r#""eth0", "in0""#] {
        let Some(lab) = Lab::if_possible() else { return };
        // Whatever is sent on the one end comes in at the other, as if from a device for the VLAN.
        let wire = "link add in0 type veth peer name in1\nlink set in0 up\nlink set in1 up\n";
        lab.server().feed(&["ip", "-batch", "-"], wire);
        let daemon = posternd(&lab).config(&ssh_on(interfaces)).rule("knock", &rule).start();
        let (mut port, mut vlan) = (lab.injector(), lab.injector_on_server("in1"));
        for (source, server) in [(CLIENT4, SERVER4), (CLIENT6, SERVER6)] {
            for step in [7000, 8000, 9000] {
                let packet = datagram(source, server, step);
                let tagged = frame::tagged(&packet, 7);
                vlan.send(&packet);
                port.send(&tagged);
            }
            daemon.expect_story(source, &STORY);
        }
        daemon.stop();
    }
}

#[test]
fn a_vlan_over_a_port_is_heard_with_it() {
    let rule = KNOCK.replace("8000/tcp", "8000/udp");
    for interfaces in [ANY, r#""eth0", "eth0.7""#] {
        let Some(lab) = Lab::if_possible() else { return };
        let vlan = ["ip", "link", "add", "link", "eth0", "name", "eth0.7", "type", "vlan", "id", "7"];
        let made = lab.server_exec(&vlan);
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr).into_owned();
            return skip_everywhere(&format!("this kernel has no VLANs: {}", why.trim()));
        }
        lab.server().feed(&["ip", "-batch", "-"], "link set eth0.7 up\n");
        let daemon = posternd(&lab).config(&ssh_on(interfaces)).rule("knock", &rule).start();
        let mut wire = lab.injector();
        for port in [7000, 8000, 9000] {
            wire.send(&frame::tagged(&datagram(CLIENT4, SERVER4, port), 7));
        }
        daemon.expect_story(CLIENT4, &STORY);
        daemon.stop();
    }
}

#[test]
fn a_rule_with_interfaces_of_its_own_is_shown_what_comes_there() {
    let Some(lab) = Lab::if_possible() else { return };
    bridge(&lab);
    let doors = format!("{}\n[doors.web]\nguard = \"tcp/80\"\nfor = \"2s\"\n", ssh_on(BOTH));
    let on_bridge = format!("interfaces = [\"br0\"]\n{}", KNOCK.replace("\"ssh\"", "\"web\""));
    let daemon = posternd(&lab).config(&doors).rule("all", KNOCK).rule("bridge", &on_bridge).start();
    for (client, _) in BOTH_KINDS {
        lab.knock(client, STEPS);
        for door in ["ssh", "web"] {
            daemon.wait_for("open", |entry| {
                entry.text("src") == client.to_string() && entry.text("door") == door
            });
        }
    }
    daemon.stop();
}

#[test]
fn interfaces_that_come_and_go_with_a_reload_count_once_too() {
    let Some(lab) = Lab::if_possible() else { return };
    bridge(&lab);
    let daemon = posternd(&lab).config(&ssh_on(r#""br0""#)).rule("knock", KNOCK).start();
    lab.knock(CLIENT4, "7000/udp");
    daemon.expect_story(CLIENT4, &STORY[..1]);
    for (interfaces, step, stage) in [(BOTH, "8000/tcp", 2), (r#""br0""#, "9000/udp", 3)] {
        let mark = daemon.log().mark();
        daemon.write("postern.toml", ssh_on(interfaces));
        daemon.wait_since(mark, "reload", |_| true);
        lab.knock(CLIENT4, step);
        daemon.expect_story(CLIENT4, &STORY[..stage]);
    }
    daemon.stop();
}

#[test]
fn a_link_local_client_is_on_the_bridge_whichever_copy_came_first() {
    let server = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
    let client = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2));
    let rule = KNOCK.replace("8000/tcp", "8000/udp");
    for interfaces in [ANY, BOTH] {
        let Some(lab) = Lab::if_possible() else { return };
        bridge(&lab);
        lab.server().feed(&["ip", "-batch", "-"], &format!("addr add {server}/64 dev br0 nodad\n"));
        let daemon = posternd(&lab).config(&ssh_on(interfaces)).rule("knock", &rule).start();
        let mut wire = lab.injector();
        for port in [7000, 8000, 9000] {
            wire.send(&datagram(client, server, port));
        }
        daemon.wait_for("open", |entry| entry.text("src") == format!("{client}%br0"));
        daemon.expect_none("stage", |entry| entry.text("src") != format!("{client}%br0"));
        daemon.stop();
    }
}

//! Where knocks are heard.

use std::net::SocketAddr;

use postern_tests::{CLIENT4, CLIENT6, Lab, SERVER4, SERVER6, frame};

use crate::{BOTH_KINDS, KNOCK, SOON, SSH_2S, STEPS, STORY, posternd};

#[test]
fn any_interface_will_do() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(&SSH_2S.replace("eth0", "any")).rule("knock", KNOCK).start();
    for (client, _) in BOTH_KINDS {
        lab.knock(client, STEPS);
        daemon.expect_story(client, &STORY);
        assert!(lab.tcp_connects(client, 22, SOON), "{client}");
    }
    daemon.stop();
}

#[test]
fn a_knock_with_a_vlan_tag_counts() {
    let Some(lab) = Lab::if_possible() else { return };
    let rule = KNOCK.replace("8000/tcp", "8000/udp");
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", &rule).start();
    let mut wire = lab.injector();
    for (source, server) in [(CLIENT4, SERVER4), (CLIENT6, SERVER6)] {
        for port in [7000, 8000, 9000] {
            let plain = frame::udp(SocketAddr::new(source, 4000), SocketAddr::new(server, port), b"");
            wire.send(&frame::tagged(&plain, 7));
        }
        daemon.expect_story(source, &STORY);
    }
    daemon.stop();
}

#[test]
fn a_packet_to_somebody_else_is_no_knock() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    let mut wire = lab.injector();
    for elsewhere in ["10.77.0.99", "192.0.2.1"] {
        for port in [7000, 8000, 9000] {
            let to = SocketAddr::new(elsewhere.parse().expect("an address"), port);
            wire.send(&frame::udp(SocketAddr::new(CLIENT4, 4000), to, b""));
        }
    }
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}

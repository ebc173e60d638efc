//! What counts as a right knock, and which clients may send it.

use std::net::SocketAddr;
use std::time::Duration;

use postern_tests::frame::{ACK, FIN, RST, SYN};
use postern_tests::{CLIENT4, CLIENT6, Lab, SERVER4, SERVER6, STRANGER4, frame, sleep_until};

use crate::{A_WHILE, KNOCK, SOON, SSH_2S, STEPS, STORY, posternd};

#[test]
fn a_wrong_order_opens_nothing_and_a_right_knock_after_it_does() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    lab.knock(CLIENT4, "7000/udp 9000/udp 8000/tcp 9000/udp 8000/tcp 7000/udp");
    daemon.expect_story(CLIENT4, &["stage 1", "stage 1"]);
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    // The last wrong one was a right first one.
    lab.knock(CLIENT4, "8000/tcp 9000/udp");
    daemon.expect_story(CLIENT4, &["stage 1", "stage 1", "stage 2", "open ssh"]);
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    daemon.stop();
}

#[test]
fn the_right_port_by_the_wrong_transport_is_no_step() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    lab.knock(CLIENT4, "7000/tcp 8000/udp 9000/tcp");
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}

#[test]
fn a_knock_that_is_too_slow_opens_nothing() {
    let Some(lab) = Lab::if_possible() else { return };
    let rule = KNOCK.replace("10s", "1s");
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", &rule).start();
    lab.knock(CLIENT4, "7000/udp 8000/tcp");
    let stage = daemon.wait_for("stage", |entry| entry.number("stage") == Some(2.0));
    sleep_until(stage.read_at + Duration::from_millis(1050));
    lab.knock(CLIENT4, "9000/udp");
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &["stage 1", "stage 2", "stage 1", "stage 2", "open ssh"]);
    daemon.stop();
}

#[test]
fn clients_do_not_share_a_knock() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    let clients = [CLIENT4, STRANGER4, CLIENT6];
    for step in STEPS.split(' ') {
        for client in clients {
            lab.knock(client, step);
        }
    }
    for client in clients {
        daemon.expect_story(client, &STORY);
    }
    daemon.stop();
}

#[test]
fn only_a_syn_counts_where_the_rule_wants_one() {
    let Some(lab) = Lab::if_possible() else { return };
    let rule = r#"
        module = "sequence"
        door = "ssh"
        [settings]
        sequence = ["7000/tcp", "8000/tcp"]
        tcp_flags = ["syn", "!ack"]
    "#;
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", rule).start();
    let mut wire = lab.injector();
    for (source, server) in [(CLIENT4, SERVER4), (CLIENT6, SERVER6)] {
        let mut send = |port: u16, flags| {
            wire.send(&frame::tcp(SocketAddr::new(source, 40000), SocketAddr::new(server, port), flags));
        };
        for flags in [ACK, SYN | ACK, FIN, RST, 0, FIN | ACK] {
            send(7000, flags);
            send(8000, flags);
        }
        send(7000, SYN);
        // No step at all, so no wrong one either.
        for flags in [ACK, SYN | ACK, RST] {
            send(7000, flags);
            send(8000, flags);
        }
        send(8000, SYN);
        daemon.expect_story(source, &["stage 1", "open ssh"]);
    }
    daemon.stop();
}

#[test]
fn the_knock_client_of_debian_gets_in() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    for (kind, server, client) in [("-4", SERVER4, CLIENT4), ("-6", SERVER6, CLIENT6)] {
        let server = server.to_string();
        let knock = lab.client_exec(&["knock", kind, "-d", "5", &server, "7000:udp", "8000:tcp", "9000:udp"]);
        assert!(knock.status.success(), "{knock:?}");
        daemon.expect_story(client, &STORY);
        assert!(lab.tcp_connects(client, 22, SOON), "{client}");
    }
    daemon.stop();
}
